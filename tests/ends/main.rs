//! How calls end: every end over every way, between the real programs. Who is told what, with which code, on
//! whose span, and what is counted.
//!
//! The table is printed with `--nocapture`.

mod callee;
mod d1;
mod deadline;
mod live;
mod load;
mod older;
mod scene;
mod spans;
mod table;
#[path = "../util.rs"]
mod util;
mod words;

#[allow(dead_code, unused_imports, reason = "a part of it is used")]
#[path = "../interop/workerd/harness/mod.rs"]
mod harness;
