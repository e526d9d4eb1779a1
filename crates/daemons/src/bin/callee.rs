//! callee
fn main() {}
