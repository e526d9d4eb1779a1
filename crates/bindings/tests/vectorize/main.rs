//! An index in a file over real sockets: calls by the RPC library's client, and plain HTTP as a wrapped binding sends it.

mod hostile;
mod http;
#[path = "../../../js-rpc/tests/common/spans.rs"]
mod recorder;
mod rpc;
mod spans;
mod world;
