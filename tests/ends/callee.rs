//! The callee of these tests: a service whose methods end in every way, in a process of its own, which is this
//! test binary once more.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use binding_span::SpanSink;
use js_rpc::{
    Address, Args, Context, Enrichment, JsError, Listener, Payload, RpcLimits, Server, Service,
    ServiceResult, Value, async_trait, reply, unknown_method,
};
use serde::{Deserialize, Serialize};
use tail::{Feed, JsonLines};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// Its socket and its tail, in the folder that it runs in.
pub const SOCKET: &str = "callee.sock";
pub const TAIL: &str = "callee.jsonl";
/// The binding that it serves.
pub const BINDING: &str = "SHOP";
/// What `waits` waits for: a file.
pub const GO: &str = "go";
/// A span of its own that each method opens after it said what it is, and before it goes on.
pub const BEGUN: &str = "begun";
/// What each method says: a name and an attribute.
pub const NAME: &str = "shop.run";
pub const ATTRIBUTE: (&str, &str) = ("shop.cart", "c-7");

const SETTINGS: &str = "ENDS_CALLEE";

/// What is said to the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The handler's limit.
    pub handler: Option<Duration>,
    /// Calls that are not finished.
    pub in_flight: Option<usize>,
    /// Whether it speaks our own interface.
    pub one_message: bool,
    /// What it serves.
    pub binding: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            handler: None,
            in_flight: None,
            one_message: true,
            binding: BINDING.to_owned(),
        }
    }
}

/// The process, to be started in a folder.
pub fn command(settings: &Settings) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["callee::as_a_process", "--exact", "--nocapture"])
        .env(SETTINGS, serde_json::to_string(settings).unwrap());
    command
}

#[test]
fn as_a_process() {
    let Ok(settings) = std::env::var(SETTINGS) else {
        return;
    };
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, serve(settings));
}

async fn serve(settings: Settings) {
    let lines = Arc::new(JsonLines::file(TAIL).unwrap());
    let feed = Feed::new();
    feed.subscribe(lines.clone());
    let mut limits = RpcLimits {
        drain: Duration::from_secs(50),
        one_message: settings.one_message,
        ..RpcLimits::default()
    };
    limits.handler = settings.handler.unwrap_or(limits.handler);
    limits.network.in_flight = settings.in_flight.unwrap_or(limits.network.in_flight);
    let mut stop = signal(SignalKind::terminate()).unwrap();
    let listener = Listener::bind(&Address::Unix(SOCKET.into())).await.unwrap();
    eprintln!("listening on {SOCKET}");
    let server = Server::new()
        .service(&settings.binding, Shop)
        .sinks(Arc::new([Arc::new(feed) as Arc<dyn SpanSink>]))
        .limits(limits);
    let stopped = async move {
        stop.recv().await;
    };
    server.serve([listener], stopped).await;
    lines.flush(Duration::from_secs(10));
}

struct Shop;

#[async_trait(?Send)]
impl Service for Shop {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        cx.enrich(
            Enrichment::new()
                .name(NAME)
                .attribute(ATTRIBUTE.0, ATTRIBUTE.1),
        );
        let _begun = cx.child_span(BEGUN);
        match method {
            "returns" => reply(&"done"),
            "throws" => Err(JsError::range_error("too far")),
            "panics" => panic!("on purpose"),
            "sleeps" => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                reply(&"late")
            }
            "naps" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                reply(&"rested")
            }
            "waits" => {
                while !Path::new(GO).exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                reply(&"done")
            }
            "echo" => Ok(Payload {
                value: args.values.into_iter().next().unwrap_or_default(),
                externals: args.externals,
            }),
            // An error that looks like one of the way there.
            "says" => {
                let (name, message): (String, String) = args.parse()?;
                let error = JsError::new(name, message);
                Err(["retryable", "overloaded", "remote", "durableObjectReset"]
                    .into_iter()
                    .fold(error, |error, name| {
                        error.with_property(name, Value::Bool(true))
                    }))
            }
            _ => unknown_method(method),
        }
    }
}
