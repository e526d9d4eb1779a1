//! Models and AI gateways over real sockets: calls by the RPC library's client and plain HTTP on one side, a stand-in for
//! a provider on the other, which answers as a test says. What runs models itself is tested elsewhere.

mod failures;
mod gateway;
mod hostile;
mod http;
mod rpc;
#[path = "../../../js-rpc/tests/common/spans.rs"]
mod spans;
mod streams;
mod upstream;
mod world;
