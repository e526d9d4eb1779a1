//! A part of a stream that somebody else than its sender writes: Cap'n Proto's way to pass a stream on without its
//! bytes passing by whoever had it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use binding_span_schema::js_rpc_capnp::byte_stream::{self, substream_callback};
use bytes::Bytes;
use capnp::Error;
use futures::future::{Either, FutureExt, LocalBoxFuture};

use super::sink::{Writer, written};

pub(super) struct Substream {
    writer: Writer,
    callback: substream_callback::Client,
    /// Bytes that it still takes.
    left: Cell<u64>,
    count: Cell<u64>,
    /// Where the rest goes, once it has taken what it takes.
    next: RefCell<Option<byte_stream::Client>>,
}

type Answered = LocalBoxFuture<'static, Result<(), Error>>;

impl Substream {
    pub(super) fn client(
        writer: Writer,
        callback: substream_callback::Client,
        limit: u64,
    ) -> byte_stream::Client {
        capnp_rpc::new_client(Self {
            writer,
            callback,
            left: Cell::new(limit),
            count: Cell::new(0),
            next: RefCell::default(),
        })
    }

    /// Writes what it takes, and sends the rest on.
    fn take(&self, mut bytes: Bytes) -> Answered {
        let left = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        let own = bytes.split_to(bytes.len().min(left));
        self.left.set(self.left.get() - own.len() as u64);
        self.count.set(self.count.get() + own.len() as u64);
        let own = match own.is_empty() {
            true => Either::Left(std::future::ready(Ok(()))),
            false => Either::Right(written(self.writer.write(own))),
        };
        let over = self.left.get() == 0;
        let rest = over.then(|| self.next()).filter(|_| !bytes.is_empty());
        let rest = rest.map(|next| {
            let mut request = next.write_request();
            request.get().set_bytes(&bytes);
            request.send().promise
        });
        async move {
            own.await?;
            if let Some(rest) = rest {
                rest.await?;
            }
            Ok(())
        }
        .boxed_local()
    }

    /// Where bytes go that are beyond the limit.
    fn next(&self) -> byte_stream::Client {
        let mut next = self.next.borrow_mut();
        let ask = || {
            let asked = self.callback.reached_limit_request().send();
            asked.pipeline.get_next()
        };
        next.get_or_insert_with(ask).clone()
    }
}

impl byte_stream::Server for Substream {
    fn write(
        self: Rc<Self>,
        params: byte_stream::WriteParams,
        _results: byte_stream::WriteResults,
    ) -> impl Future<Output = Result<(), Error>> + 'static {
        let bytes =
            || -> Result<_, Error> { Ok(Bytes::copy_from_slice(params.get()?.get_bytes()?)) };
        let taken = bytes().map(|bytes| self.take(bytes));
        async move { taken?.await }
    }

    async fn end(
        self: Rc<Self>,
        _params: byte_stream::EndParams,
        _results: byte_stream::EndResults,
    ) -> Result<(), Error> {
        let next = self.next.borrow().clone();
        if let Some(next) = next {
            next.end_request().send().promise.await?;
            return Ok(());
        }
        let mut ended = self.callback.ended_request();
        ended.get().set_byte_count(self.count.get());
        ended.send().promise.await?;
        Ok(())
    }
}
