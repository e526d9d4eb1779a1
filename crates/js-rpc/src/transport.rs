//! Cap'n Proto RPC over a connected socket: buffered in both directions, one `RpcSystem` a socket.

use capnp::capability::FromClientHook;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use tokio::io::BufReader;
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::RpcLimits;
use crate::stream::{ReadHalf, Stream, WriteHalf};

/// Bytes of each buffer; more gains nothing, and an idle connection costs both.
const BUFFER: usize = 8 * 1024;

/// The two directions of a socket, the incoming one buffered.
pub(crate) fn split(stream: Stream) -> (BufReader<ReadHalf>, WriteHalf) {
    let (read, write) = stream.into_split();
    (BufReader::with_capacity(BUFFER, read), write)
}

/// The RPC system of an opened connection. It does nothing until it is polled.
pub(crate) fn system(
    read: BufReader<ReadHalf>,
    write: WriteHalf,
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
    limits: &RpcLimits,
) -> RpcSystem<Side> {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(limits.message_words));
    let write = futures::io::BufWriter::with_capacity(BUFFER, write.compat_write());
    let network = twoparty::VatNetwork::new(read.compat(), write, side, options);
    RpcSystem::new(Box::new(network), bootstrap)
}

/// A client of one type as an untyped one.
pub(crate) fn untyped<T: FromClientHook>(client: T) -> capnp::capability::Client {
    capnp::capability::Client::new(client.into_client_hook())
}
