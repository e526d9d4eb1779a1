//! Faults between the real programs: what a network, a machine or an operator can do to a call that is on
//! its way. Each call ends within its deadline with an error that says what happened, no committed write is
//! lost, none is applied twice, and the next call works.
//!
//! Programs that are killed and ended are in `daemons_stop`, those that may not connect in `daemons_door`.

mod baseline;
mod disk;
#[path = "../http.rs"]
mod http;
mod locked;
mod network;
mod processes;
mod relay;
mod scene;
mod streams;
#[path = "../util.rs"]
mod util;
