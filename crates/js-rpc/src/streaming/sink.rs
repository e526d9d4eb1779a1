//! Where a peer writes a stream to.

use std::cell::Cell;
use std::rc::Rc;

use binding_span_schema::call_capnp::watched_stream;
use binding_span_schema::js_rpc_capnp::byte_stream;
use bytes::Bytes;
use capnp::Error;
use capnp::capability::FromClientHook;
use tokio::sync::{mpsc, oneshot};

use super::substream::Substream;
use crate::object::Part;

/// What it writes becomes the parts of a pipe, in the order in which it came.
pub(super) struct Sink(Writer);

/// The writing end of a pipe, and how much was written to it.
#[derive(Clone)]
pub(super) struct Writer {
    parts: mpsc::UnboundedSender<Part>,
    bytes: Rc<Cell<u64>>,
}

impl Writer {
    /// Completes when the bytes were read.
    pub(super) fn write(&self, bytes: Bytes) -> Result<oneshot::Receiver<()>, Error> {
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
        let (read, is_read) = oneshot::channel();
        let sent = self.parts.send(Part::Bytes(bytes, read));
        sent.map_err(|_| canceled())?;
        Ok(is_read)
    }
}

/// Waits until what was written was read.
pub(super) async fn written(write: Result<oneshot::Receiver<()>, Error>) -> Result<(), Error> {
    write?.await.map_err(|_| canceled())
}

impl Sink {
    pub(super) fn client(
        parts: mpsc::UnboundedSender<Part>,
        bytes: Rc<Cell<u64>>,
    ) -> byte_stream::Client {
        let sink: watched_stream::Client = capnp_rpc::new_client(Self(Writer { parts, bytes }));
        sink.cast_to()
    }
}

fn canceled() -> Error {
    Error::failed("the stream is not read any more".into())
}

impl byte_stream::Server for Sink {
    /// Returns when the bytes were read.
    fn write(
        self: Rc<Self>,
        params: byte_stream::WriteParams,
        _results: byte_stream::WriteResults,
    ) -> impl Future<Output = Result<(), Error>> + 'static {
        let write = || -> Result<_, Error> {
            let bytes = Bytes::copy_from_slice(params.get()?.get_bytes()?);
            self.0.write(bytes)
        };
        written(write())
    }

    /// Returns when the end was read.
    fn end(
        self: Rc<Self>,
        _params: byte_stream::EndParams,
        _results: byte_stream::EndResults,
    ) -> impl Future<Output = Result<(), Error>> + 'static {
        let (read, is_read) = oneshot::channel();
        let _ = self.0.parts.send(Part::End(read));
        async move {
            // Whoever read no further, because it knew the length for instance, misses nothing.
            let _ = is_read.await;
            Ok(())
        }
    }

    async fn get_substream(
        self: Rc<Self>,
        params: byte_stream::GetSubstreamParams,
        mut results: byte_stream::GetSubstreamResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let (callback, limit) = (params.get_callback()?, params.get_limit());
        let substream = Substream::client(self.0.clone(), callback, limit);
        results.get().set_substream(substream);
        Ok(())
    }
}

impl watched_stream::Server for Sink {
    async fn cancelled(
        self: Rc<Self>,
        _params: watched_stream::CancelledParams,
        _results: watched_stream::CancelledResults,
    ) -> Result<(), Error> {
        self.0.parts.closed().await;
        Ok(())
    }
}
