//! The admin port of the real programs.

#[path = "../../crates/js-rpc/tests/door_certs/mod.rs"]
mod certs;
mod door;
mod health;
mod hostile;
mod http;
mod metrics;
mod openmetrics;
mod several;
mod tls;
#[path = "../util.rs"]
mod util;
