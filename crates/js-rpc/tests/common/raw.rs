//! Peers that speak bare Cap'n Proto, without the library.

use capnp::capability::{Client, FromClientHook};
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use js_rpc::Address;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

fn system(stream: UnixStream, side: Side, bootstrap: Option<Client>) -> RpcSystem<Side> {
    let (read, write) = stream.into_split();
    let read = tokio::io::BufReader::new(read).compat();
    let write = write.compat_write();
    let network = twoparty::VatNetwork::new(read, write, side, ReaderOptions::new());
    RpcSystem::new(Box::new(network), bootstrap)
}

/// The bootstrap capability of a callee.
pub async fn connect<C: FromClientHook>(address: &Address) -> C {
    let Address::Unix(path) = address else {
        panic!("a unix socket")
    };
    let stream = UnixStream::connect(path).await.unwrap();
    let mut system = system(stream, Side::Client, None);
    let bootstrap = system.bootstrap(Side::Server);
    tokio::task::spawn_local(system);
    bootstrap
}

/// Serves a bootstrap capability until the test ends.
pub fn serve<C: FromClientHook + Clone + 'static>(
    bootstrap: C,
    dir: &tempfile::TempDir,
) -> Address {
    let path = dir.path().join("raw");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let bootstrap = Client::new(bootstrap.clone().into_client_hook());
            tokio::task::spawn_local(system(stream, Side::Server, Some(bootstrap)));
        }
    });
    Address::Unix(path)
}
