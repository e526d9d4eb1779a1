//! Plain HTTP on the listener of a server: what a Worker's `env.SVC.fetch()` sends, and what a stranger may.

#[path = "../common/mod.rs"]
mod common;

mod called;
mod hostile;
mod http;
mod served;
mod site;
