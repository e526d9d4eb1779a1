//! What travels beside a value: the capabilities of its stubs and streams.

use std::rc::Rc;

use binding_span_schema::js_rpc_capnp::external_pusher::{self, byte_source};
use binding_span_schema::js_rpc_capnp::js_value::{self as wire_value, external};
use binding_span_schema::js_rpc_capnp::{byte_stream, js_rpc_target};
use capnp::Error;
use js_value::ExternalKind;

use crate::object::{ByteSink, ByteStream, External, Stub};
use crate::streaming::{Flow, Streams, Transfer};
use crate::wire::{self, Wire};

/// Externals of one value that we read. Honest callers use a handful.
const MOST: u32 = 1024;

/// What came beside a value.
pub(crate) enum Beside {
    Stub(js_rpc_target::Client),
    /// What its bytes are encoded with, as workerd numbers it.
    Readable(byte_source::Client, u16),
    Writable(byte_stream::Client),
}

impl Beside {
    /// Those of a value, in the order in which it takes them.
    pub(crate) fn of(value: wire_value::Reader<'_>) -> Result<Vec<Self>, Error> {
        if !value.has_externals() {
            return Ok(Vec::new());
        }
        let externals = value.get_externals()?;
        if externals.len() > MOST {
            return Err(wire::refused(
                "a value with more than 1024 stubs and streams",
            ));
        }
        externals.iter().map(Self::read).collect()
    }

    fn read(external: external::Reader<'_>) -> Result<Self, Error> {
        Ok(match external.which() {
            Ok(external::RpcTarget(target)) => Self::Stub(target.get_cap()?),
            Ok(external::ReadableStream(stream)) if stream.has_stream() => {
                Self::Readable(stream.get_stream()?, stream.get_encoding())
            }
            Ok(external::WritableStream(stream)) if stream.has_byte_stream() => {
                Self::Writable(stream.get_byte_stream()?)
            }
            other => {
                let name = name(&other);
                return Err(wire::refused(&format!("{name}, which is not supported")));
            }
        })
    }

    const fn kind(&self) -> ExternalKind {
        match self {
            Self::Stub(_) => ExternalKind::Stub,
            Self::Readable(..) => ExternalKind::ReadableStream,
            Self::Writable(_) => ExternalKind::WritableStream,
        }
    }

    /// Refuses a value that refers to what did not come with it.
    pub(crate) fn check(
        all: &[Self],
        wanted: impl IntoIterator<Item = (u32, ExternalKind)>,
    ) -> Result<(), Error> {
        let is_there = |(n, kind)| all.get(n as usize).is_some_and(|it| it.kind() == kind);
        match wanted.into_iter().all(is_there) {
            true => Ok(()),
            false => Err(wire::refused(
                "a value whose stubs and streams are not all there",
            )),
        }
    }
}

fn name(external: &Result<external::WhichReader<'_>, capnp::NotInSchema>) -> &'static str {
    match external {
        Ok(external::RpcTarget(_)) => "a stub",
        Ok(external::WritableStream(_)) => "a WritableStream without an end to write to",
        Ok(external::ReadableStream(_)) => "a ReadableStream that was not pushed",
        Ok(external::AbortSignal(_)) => "an AbortSignal",
        Ok(external::SubrequestChannelToken(_) | external::ActorClassChannelToken(_)) => {
            "a service or class binding"
        }
        Ok(external::Invalid(()) | external::Obsolete7(())) => "an external that is not set",
        Err(_) => "an external of a kind that is not known here",
    }
}

/// Streams that come beside values on one connection.
pub(crate) struct Inward<'a> {
    pub(crate) streams: &'a Streams,
    /// How the peer is called.
    pub(crate) wire: Wire,
    /// What lasts as long as they do, asked for if there are any.
    pub(crate) transfer: &'a dyn Fn() -> Rc<Transfer>,
}

impl Inward<'_> {
    /// What came, as values refer to it.
    pub(crate) fn import(
        &self,
        beside: Beside,
        stub: impl FnOnce(js_rpc_target::Client) -> Stub,
    ) -> External {
        match beside {
            Beside::Stub(target) => External::Stub(stub(target)),
            Beside::Readable(source, encoding) => {
                External::Readable(self.readable(source, encoding))
            }
            Beside::Writable(to) => External::Writable(self.writable(to)),
        }
    }

    pub(crate) fn readable(&self, source: byte_source::Client, encoding: u16) -> ByteStream {
        let stream = self.streams.receive(source, (self.transfer)());
        stream.with_encoding(encoding)
    }

    pub(crate) fn writable(&self, to: byte_stream::Client) -> ByteSink {
        self.streams.import(to, self.wire, (self.transfer)())
    }
}

/// Streams that go beside values on one connection.
pub(crate) struct Outward<'a> {
    pub(crate) streams: &'a Streams,
    pub(crate) wire: Wire,
    /// What takes them there, asked for if there are any.
    pub(crate) pusher: &'a dyn Fn() -> Option<external_pusher::Client>,
    pub(crate) transfer: &'a dyn Fn() -> Rc<Transfer>,
    /// As which their bytes count.
    pub(crate) flow: Flow,
}

impl Outward<'_> {
    /// What a value refers to, as it goes.
    pub(crate) fn export(
        &self,
        external: &External,
        to: external::Builder<'_>,
        stub: impl FnOnce(&Stub) -> js_rpc_target::Client,
    ) -> Result<(), Error> {
        match external {
            External::Stub(of) => {
                to.init_rpc_target().set_cap(stub(of));
                Ok(())
            }
            External::Readable(stream) => self.readable(stream, to),
            External::Writable(sink) => self.writable(sink, to),
        }
    }

    pub(crate) fn readable(
        &self,
        stream: &ByteStream,
        to: external::Builder<'_>,
    ) -> Result<(), Error> {
        let pusher = (self.pusher)().ok_or_else(|| {
            wire::refused("a ReadableStream: the peer does not say where it takes one")
        })?;
        let transfer = (self.transfer)();
        let mut to = to.init_readable_stream();
        to.set_encoding(stream.encoding());
        let streams = self.streams;
        to.set_stream(streams.send(stream, &pusher, self.wire, transfer, self.flow));
        Ok(())
    }

    pub(crate) fn writable(&self, sink: &ByteSink, to: external::Builder<'_>) -> Result<(), Error> {
        // Its bytes come the other way.
        let flow = self.flow.back();
        let sink = self.streams.export(sink, (self.transfer)(), flow);
        let sink = sink.map_err(|error| wire::refused(&error.to_string()))?;
        to.init_writable_stream().set_byte_stream(sink);
        Ok(())
    }
}
