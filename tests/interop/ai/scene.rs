//! What stands between the clients and the servers: a callee whose AI binding asks them, and a caller in front of it.

use std::sync::Arc;
use std::time::Duration;

use js_rpc::{Binding, ByteStream, CallError, ConnectOptions, Connection, Stub};
use serde_json::Value;
use tail::{FinishedSpan, Recorder};

use crate::harness::{LiteLlm, LlamaCpp};
use crate::util::{Daemon, LIMIT, World, callee, caller};

/// The name of Workers AI that the tests have for llama.cpp's model, with its price.
pub const LLAMA: &str = "@cf/meta/llama-3.1-8b-instruct";

/// Its name where LiteLLM stands between.
pub const PROXIED: &str = "litellm/tiny";

/// What a million tokens of [`LLAMA`] cost, read and written.
pub const PRICE: (f64, f64) = (250.0, 1000.0);

/// Bytes that an answer may have.
const ANSWER: usize = 1 << 20;

/// The running programs, in a folder of their own.
pub struct Scene {
    pub world: World,
    pub callee: Daemon,
    pub caller: Daemon,
    /// Where the callee speaks HTTP.
    pub callee_url: String,
    /// Where the caller does.
    pub caller_url: String,
}

impl Scene {
    /// With the servers that all tests share, and `more` tables.
    pub fn start(more: &str) -> Self {
        Self::with(&LlamaCpp::shared().chat, more, &[], &[])
    }

    /// With this server for chats; with `more` tables, and options of the callee and of the caller.
    pub fn with(chat: &str, more: &str, of_callee: &[&str], of_caller: &[&str]) -> Self {
        let world = World::new();
        let (embeddings, litellm) = (&LlamaCpp::shared().embeddings, &LiteLlm::shared().base);
        let (input, output) = PRICE;
        let text = format!(
            "listen = ['unix:callee.sock', '127.0.0.1:0']\n\
             admin = 'unix:callee-admin.sock'\n\
             tail = 'callee.jsonl'\n\
             [ai.AI]\n\
             log = 'ai.sqlite'\n\
             [ai.AI.provider.llama]\n\
             url = '{chat}'\n\
             [ai.AI.provider.vectors]\n\
             url = '{embeddings}'\n\
             [ai.AI.provider.litellm]\n\
             url = '{litellm}'\n\
             key-file = 'litellm.key'\n\
             [ai.AI.model.'{LLAMA}']\n\
             provider = 'llama'\n\
             model = 'tiny'\n\
             input-price = {input}\n\
             output-price = {output}\n\
             [ai.AI.model.'@cf/baai/*']\n\
             provider = 'vectors'\n\
             model = 'tiny'\n\
             {more}"
        );
        std::fs::write(world.path("callee.toml"), text).unwrap();
        std::fs::write(world.path("litellm.key"), LiteLlm::KEY).unwrap();
        let mut callee = world.start(
            callee(),
            &[&["--config", "callee.toml"], of_callee].concat(),
        );
        let callee_url = url(&mut callee);
        let bind = format!("AI={}", world.unix("callee.sock"));
        let mut serve = vec!["serve", "--listen", "unix:caller.sock", "--bind", &bind];
        serve.extend(["--listen", "127.0.0.1:0", "--tail", "caller.jsonl"]);
        serve.extend(["--admin", "unix:caller-admin.sock"]);
        let mut caller = world.start(caller(), &[&serve, of_caller].concat());
        let caller_url = url(&mut caller);
        Self {
            world,
            callee,
            caller,
            callee_url,
            caller_url,
        }
    }

    /// Does something as a program that calls through the caller.
    pub fn run(&self, program: impl AsyncFnOnce(Ai)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        let address = self.world.unix("caller.sock").parse().unwrap();
        runtime.block_on(async {
            let recorder = Arc::new(Recorder::new());
            let options = ConnectOptions {
                sinks: Arc::new([Arc::clone(&recorder) as _]),
                ..ConnectOptions::default()
            };
            let connection = Connection::connect(&address, options).await.unwrap();
            let binding = connection.binding("AI");
            let done = program(Ai { binding, recorder });
            tokio::time::timeout(LIMIT, done).await.unwrap();
        });
    }

    /// Ends both; all that they said, and that there was nothing to complain about.
    pub fn stop(self) -> (World, [String; 2]) {
        let said = [self.caller, self.callee].map(|mut daemon| {
            daemon.signal(rustix::process::Signal::TERM);
            let said = daemon.rest();
            assert!(daemon.end().success(), "{said}");
            said
        });
        (self.world, said)
    }
}

fn url(daemon: &mut Daemon) -> String {
    let line = daemon.line("listening on 127.0.0.1:");
    let rest = line.split("listening on ").nth(1).unwrap();
    format!("http://{}", rest.split([',', ' ']).next().unwrap())
}

/// `env.AI` of a program, and the spans of its calls.
pub struct Ai {
    binding: Binding,
    recorder: Arc<Recorder>,
}

impl Ai {
    /// `run(model, inputs)`.
    pub async fn run(&self, model: &str, inputs: &Value) -> Result<Value, CallError> {
        let reply = self.binding.call("run", (model, inputs)).await?;
        Ok(reply.to_json().unwrap())
    }

    /// The same, of which the answer must be a stream.
    pub async fn stream(&self, model: &str, inputs: &Value) -> ByteStream {
        let reply = self.binding.call("run", (model, inputs)).await.unwrap();
        reply.readable(0).expect("a stream").clone()
    }

    pub async fn models(&self, params: &Value) -> Value {
        let reply = self.binding.call("models", (params,)).await.unwrap();
        reply.to_json().unwrap()
    }

    pub async fn gateway(&self, id: &str) -> Stub {
        let reply = self.binding.call("gateway", (id,)).await.unwrap();
        reply.parse().unwrap()
    }

    /// The span of the only call since the last time, once it has ended.
    #[track_caller]
    pub fn span(&self) -> impl Future<Output = FinishedSpan> {
        let at = std::panic::Location::caller();
        async move {
            let mut spans = self.spans().await;
            let span = spans.pop();
            assert!(spans.is_empty(), "{at}: {spans:#?}");
            span.unwrap_or_else(|| panic!("{at}: no span"))
        }
    }

    /// Those of all of them, once all have ended.
    pub async fn spans(&self) -> Vec<FinishedSpan> {
        while self.recorder.open_spans() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.recorder.take()
    }
}

/// All of a stream.
pub async fn whole(stream: ByteStream) -> String {
    let bytes = stream.read_to_end(ANSWER).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A gateway's answer: status, headers, body.
pub async fn answer(gateway: &Stub, requests: &Value, options: &Value) -> http::Response<String> {
    let reply = gateway.call("run", (requests, options)).await.unwrap();
    let (head, body) = reply.into_payload().into_response().unwrap().into_parts();
    http::Response::from_parts(head, whole(body).await)
}
