//! Doors for this crate's own benchmarks, tests and fuzz targets. No part of the interface.

use std::rc::Rc;

use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use tokio::net::UnixStream;

use super::frame;
use super::guard::{self, Guard, Verdict};
use super::{Network, OpenSessions, split};
use crate::NetworkLimits;
use crate::opening;
use crate::stream::Stream;

/// An RPC system on our network, with any bootstrap.
pub fn system(
    stream: UnixStream,
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
    limits: &NetworkLimits,
) -> RpcSystem<Side> {
    let (read, write) = split(Stream::Unix(stream));
    let (network, _) = Network::new(read, write, side, OpenSessions::default(), None, limits);
    RpcSystem::new(Box::new(network), bootstrap)
}

/// The frame reader and the guard, without a socket.
pub struct Judge {
    guard: Guard,
    limits: NetworkLimits,
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(limits: NetworkLimits) -> Self {
        let guard = Guard::new(Rc::new(limits.clone()), OpenSessions::default(), None);
        Self { guard, limits }
    }

    /// Reads what a peer sent until it is refused or at its end; how many messages went through.
    pub async fn receive(&mut self, mut bytes: &[u8]) -> Result<usize, String> {
        let mut passed = 0;
        while let Some(frame) = frame::read(&mut bytes, &self.limits, None)
            .await
            .map_err(|broken| format!("{broken:?}"))?
        {
            let bytes = frame.bytes();
            let glance = guard::glance(frame.first());
            let message = frame.reader(&self.limits);
            let verdict = self.guard.receive(glance, &message, bytes, 0, |_| {});
            match verdict.map_err(|violation| violation.detail)? {
                Verdict::Pass => passed += 1,
                Verdict::Replace(frame) => {
                    let message = frame.reader(&self.limits);
                    message
                        .get_root::<capnp_rpc::rpc_capnp::message::Reader<'_>>()
                        .map_err(|error| error.to_string())?;
                    passed += 1;
                }
                Verdict::Keep => {}
            }
        }
        Ok(passed)
    }

    /// Takes note of a message of ours.
    pub fn send(&mut self, message: &capnp::message::Builder<capnp::message::HeapAllocator>) {
        let usual = match &*message.get_segments_for_output() {
            [first, ..] => guard::glance(first),
            [] => None,
        };
        self.guard.send(usual, message);
    }
}

/// Reads the opening of a connection, as a server does; the binding that it asks for, if it does.
pub async fn opening(bytes: &[u8]) -> std::io::Result<Option<String>> {
    let (near, far) = UnixStream::pair()?;
    let (mut read, mut write) = split(Stream::Unix(near));
    let send = async move {
        use tokio::io::AsyncWriteExt;
        let mut far = far;
        let _ = far.write_all(bytes).await;
        let _ = far.shutdown().await;
        // What is answered must not break the pipe.
        far
    };
    let (far, opened) = tokio::join!(send, opening::accept(&mut read, &mut write));
    drop(far);
    Ok(match opened? {
        opening::Opening::Connect(name) => Some(name),
        opening::Opening::Bare | opening::Opening::Http(_) => None,
    })
}
