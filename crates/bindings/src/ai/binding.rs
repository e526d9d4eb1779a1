//! The binding: its providers, models and gateways behind one handle.

use std::sync::Arc;

use ::http::{Request, Response};
use binding_span::CallScope;
use js_rpc::ByteStream;

use super::account::Account;
use super::engine::Engine;
use super::http;
use super::options::AiOptions;

/// Hears of every request to a model when it has ended. It is called on the thread that serves the call, and must not wait.
pub trait AccountSink: Send + Sync + 'static {
    /// A request has ended, whatever came of it.
    fn settled(&self, account: &Account);
}

/// Why there is no binding. The text never has a key.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option is invalid: which one, and why.
    #[error("{0}")]
    Options(String),
    /// The log cannot be opened.
    #[error("the log {path} cannot be opened: {reason}")]
    Log {
        /// Where it is.
        path: String,
        /// Why.
        reason: String,
    },
}

/// An AI binding. Clones are the same one.
#[derive(Clone)]
pub struct Ai(Arc<Engine>);

/// How a provider is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// Requests that it is answering.
    pub in_flight: usize,
    /// Requests that wait until it may be asked.
    pub waiting: usize,
    /// Whether its circuit breaker is open.
    pub circuit_open: bool,
}

impl Ai {
    /// Opens a binding. Nobody is asked for anything yet.
    ///
    /// # Errors
    /// When the options contradict each other, or the log cannot be opened.
    pub fn open(
        name: impl Into<String>,
        options: AiOptions,
        sink: Option<Arc<dyn AccountSink>>,
    ) -> Result<Self, OpenError> {
        Engine::open(name.into(), options, sink).map(|engine| Self(Arc::new(engine)))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it was opened with.
    pub fn options(&self) -> &AiOptions {
        &self.0.options
    }

    /// Says where programs that speak plain HTTP reach it, for `getUrl`, if [`AiOptions::public_url`] does not: a scheme,
    /// a host and a port.
    pub fn reached_at(&self, url: Option<String>) {
        self.0.reached_at(url);
    }

    /// How its providers are doing.
    pub fn status(&self) -> Vec<ProviderStatus> {
        let providers = self.0.models.providers().iter();
        providers.map(|provider| provider.status()).collect()
    }

    /// Log entries that were lost, because the log could not keep up or could not be written.
    pub fn lost_log_entries(&self) -> u64 {
        self.0.logs.dropped()
    }

    /// Waits until the log has what was added to it, and closes it.
    pub async fn close(&self) {
        self.0.logs.close().await;
    }

    /// Answers a plain HTTP request: a Worker's, a gateway's client's, OpenAI's. It never fails: what is wrong is in the
    /// answer. What is said of the caller's span goes to `call`, also while the answer's body is read. For those who
    /// serve requests by other means than [`Service::fetch`](js_rpc::Service::fetch).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use bindings::ai::{Ai, AiOptions, Endpoint, ProviderOptions};
    /// use js_rpc::{ByteStream, CallScope};
    ///
    /// let counter = ProviderOptions::new("builtin", Endpoint::Builtin);
    /// let options = AiOptions { providers: vec![counter], ..AiOptions::default() };
    /// let ai = Ai::open("AI", options, None).unwrap();
    /// let body = r#"{"model": "words", "messages": [{"role": "user", "content": "to be or"}]}"#;
    /// let request = http::Request::post("/v1/chat/completions").body(ByteStream::from(body)).unwrap();
    /// let call = CallScope::detached();
    /// let answer = ai.answer_http(request, &call).await;
    /// assert_eq!(answer.status(), 200);
    /// assert_eq!(call.drain().span_name(), Some("chat words"));
    /// # });
    /// ```
    pub async fn answer_http(
        &self,
        request: Request<ByteStream>,
        call: &CallScope,
    ) -> Response<ByteStream> {
        http::answer(self.engine(), request, call).await
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.0
    }
}
