//! Real Workers on both ends: the released workerd, pinned in `package-lock.json`, calls us, is called by
//! us, and its tail Worker is the judge of our tail.
//!
//! Each test has a workerd of its own with a configuration from `workers/`, sockets in a temporary
//! folder, and a time limit. Without npm or its registry these tests fail and say so.

mod ai;
mod called;
mod calls_rust;
mod d1;
mod d1_rows;
mod errors;
mod example;
mod fetch;
mod harness;
mod retrieval;
mod sidecar;
mod streams;
mod tail_details;
mod tail_events;
mod vectorize;
