//! The admin port of the real programs.

mod door;
mod health;
mod hostile;
mod http;
mod metrics;
mod openmetrics;
#[path = "../util.rs"]
mod util;
