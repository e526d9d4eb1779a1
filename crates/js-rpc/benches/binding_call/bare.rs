//! A bare call: a bootstrap capability over capnp-rpc, with buffered sockets and nothing of ours.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use binding_span_schema::js_rpc_capnp::{external_pusher, js_rpc_target};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::{Answer, Load};

/// The callee: answers with bytes made beforehand.
struct Bare(Vec<u8>);

impl external_pusher::Server for Bare {}

impl js_rpc_target::Server for Bare {
    async fn call(
        self: Rc<Self>,
        params: js_rpc_target::CallParams,
        mut results: js_rpc_target::CallResults,
    ) -> Result<(), capnp::Error> {
        params.get()?;
        results.get().init_result().set_v8_serialized(&self.0);
        Ok(())
    }
}

pub async fn serve(path: &Path, ready: impl FnOnce()) {
    let listener = tokio::net::UnixListener::bind(path).expect("a socket");
    ready();
    let answer = js_value::to_value(&Answer::default()).expect("a value");
    let bytes = js_value::encode(&answer).expect("bytes");
    let target: js_rpc_target::Client = capnp_rpc::new_client(Bare(bytes));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let bootstrap = capnp::capability::Client::new(
            capnp::capability::FromClientHook::into_client_hook(target.clone()),
        );
        tokio::task::spawn_local(system(stream, Side::Server, Some(bootstrap)));
    }
}

pub async fn round(path: &Path, load: Load) -> Duration {
    let stream = tokio::net::UnixStream::connect(path)
        .await
        .expect("the callee");
    let mut system = system(stream, Side::Client, None);
    let target: js_rpc_target::Client = system.bootstrap(Side::Server);
    let task = tokio::task::spawn_local(system);
    let argument = js_value::encode_args(&[3.into()]).expect("a value");
    let call = || async {
        let mut request = target.call_request();
        request.get().set_method_name("run");
        let args = request.get().init_operation().init_call_with_args();
        { args }.set_v8_serialized(&argument);
        let answer = request.send().promise.await.expect("an answer");
        let result = answer.get().and_then(|r| r.get_result()).expect("a result");
        assert!(!result.get_v8_serialized().expect("bytes").is_empty());
    };
    let elapsed = load.time(call).await;
    task.abort();
    elapsed
}

fn system(
    stream: tokio::net::UnixStream,
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
) -> RpcSystem<Side> {
    let (read, write) = stream.into_split();
    let read = futures::io::BufReader::new(read.compat());
    let write = futures::io::BufWriter::new(write.compat_write());
    let network = twoparty::VatNetwork::new(read, write, side, Default::default());
    RpcSystem::new(Box::new(network), bootstrap)
}
