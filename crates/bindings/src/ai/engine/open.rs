//! A request to a model that has begun. However it ends, it is settled once: on the span, in the sink and in the log.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use binding_span::{CallScope, ChildSpan, ERROR_MESSAGE, Enrichment};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::{Method, StatusCode};
use serde_json::Value;

use super::super::account::{Account, Cached, Operation};
use super::super::content::Output;
use super::super::gateway::{GatewayError, Kept, Marks, Recording, kept_headers};
use super::super::logs::{Head, Logs};
use super::super::options::{Endpoint, Price};
use super::super::upstream::UpstreamError;
use super::super::{openai, spans};
use super::gateways::Gateway;
use super::keeping::{Keeping, text_of};
use super::{Ask, Engine, Failure};

/// A request that has begun.
pub(super) struct Open {
    engine: Arc<Engine>,
    call: CallScope,
    pub(super) account: Account,
    price: Option<Price>,
    arrived: SystemTime,
    begun: Instant,
    sent: Instant,
    gateway: Option<Keeping>,
    /// What the answer says, where that goes to the span.
    output: Option<Output>,
    /// What went wrong, for the span: never what the provider said.
    message: Option<String>,
    /// The status that the caller gets, if the provider gave none.
    own_status: Option<StatusCode>,
    settled: bool,
}

/// Why a request was not answered, or not to its end.
pub(super) struct Failed {
    kind: &'static str,
    message: String,
    status: StatusCode,
}

impl Failed {
    pub(super) fn of_upstream(error: &UpstreamError) -> Self {
        Self {
            kind: error.error_type(),
            message: error.to_string(),
            status: error.status(),
        }
    }

    pub(super) fn of_gateway(error: &GatewayError) -> Self {
        Self {
            kind: error.error_type,
            message: error.message.clone(),
            status: error.status,
        }
    }

    /// A stream in which the provider reported an error.
    pub(super) fn in_stream(kind: &'static str) -> Self {
        Self {
            kind,
            message: "the provider's stream ended with an error".to_owned(),
            status: StatusCode::BAD_GATEWAY,
        }
    }

    /// The caller cancelled.
    fn canceled() -> Self {
        Self {
            kind: "canceled",
            message: "the caller cancelled".to_owned(),
            status: StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl Open {
    pub(super) fn new(
        engine: &Arc<Engine>,
        gateway: Option<&Arc<Gateway>>,
        ask: &Ask,
        call: &CallScope,
    ) -> Self {
        let now = Instant::now();
        let gateway = gateway.map(|gateway| Keeping::new(gateway, ask));
        let log_id = gateway.as_ref().and_then(|keeping| keeping.log.as_ref());
        let account = Account {
            operation: ask.operation,
            provider: ask.provider.name().to_owned(),
            semantic_provider: ask.provider.semantic_name().to_owned(),
            model: ask.model.clone(),
            stream: ask.stream,
            gateway: gateway.as_ref().map(|it| it.gateway.options.id.clone()),
            log_id: log_id.map(|_| Logs::new_id()),
            custom_cost: gateway
                .as_ref()
                .is_some_and(|it| it.rules.custom_cost.is_some()),
            ..Account::default()
        };
        Self {
            output: engine.options.content_on_spans.then(Output::default),
            engine: Arc::clone(engine),
            call: call.clone(),
            account,
            price: ask.price,
            arrived: SystemTime::now(),
            begun: now,
            sent: now,
            gateway,
            message: None,
            own_status: None,
            settled: false,
        }
    }

    /// Says what is known before anybody is asked.
    pub(super) fn begin(&self, parameters: &Enrichment) {
        let mut enrichment = spans::before(&self.account);
        enrichment.merge(parameters.clone());
        self.call.enrich(enrichment);
    }

    /// The answer that the gateway has already.
    pub(super) fn look_up(&mut self) -> Option<Arc<Kept>> {
        let keeping = self.gateway.as_mut()?;
        let key = keeping.key.as_ref()?;
        let kept = keeping.gateway.cache.get(key);
        self.account.cached = Some(match kept {
            Some(_) => Cached::Hit,
            None => Cached::Miss,
        });
        if kept.is_some() {
            keeping.recording = Recording::off();
        }
        kept
    }

    /// An attempt begins. What an earlier one took is not what this one does.
    pub(super) fn sent(&mut self) {
        self.sent = Instant::now();
        self.account.latency = None;
        self.account.first_chunk = None;
    }

    /// The callee's own span of an attempt.
    pub(super) fn child_span(&self, ask: &Ask) -> ChildSpan {
        let span = match ask.provider.options().endpoint {
            Endpoint::Builtin => self.call.child_span("builtin"),
            Endpoint::Http(_) => {
                let method = known_method(&ask.request.method);
                let span = self.call.child_span(method);
                span.attribute("http.request.method", method);
                span
            }
        };
        span.attribute(
            "gen_ai.provider.name",
            self.account.semantic_provider.clone(),
        );
        if self.account.attempts > 1 {
            let again = i64::from(self.account.attempts - 1);
            span.attribute("http.request.resend_count", again);
        }
        span
    }

    /// The provider has begun to answer: its head came then, the first byte of its body now.
    pub(super) fn answered(&mut self, head_at: Instant) {
        self.account.latency = Some(head_at.saturating_duration_since(self.sent));
        self.account.first_chunk = Some(self.sent.elapsed());
    }

    /// The status of the caller's answer is known.
    pub(super) fn head(&mut self, status: StatusCode) {
        self.account.status = Some(status.as_u16());
        if super::is_failure(status) {
            self.account.error_type = Some(status.as_u16().to_string());
            let provider = &self.account.provider;
            self.message = Some(format!("{provider} answered {}", status.as_u16()));
        }
    }

    /// The answer is unusable for the caller.
    pub(super) fn unreadable(&mut self, kind: &str) {
        self.account.error_type = Some(kind.to_owned());
        let provider = &self.account.provider;
        self.message = Some(format!("{provider}'s answer cannot be used"));
    }

    /// The answer is not all there, though it ended as it should: it is not kept.
    pub(super) fn incomplete(&mut self) {
        if let Some(keeping) = &mut self.gateway {
            keeping.recording = Recording::off();
        }
    }

    /// What is said while a stream goes on.
    pub(super) fn streams(&self) {
        let mut enrichment = spans::first_chunk(&self.account);
        enrichment.merge(spans::answered(&self.account));
        self.call.enrich(enrichment);
    }

    /// Adds the gateway's headers to an answer's.
    pub(super) fn annotate(&self, headers: &mut HeaderMap) {
        let Some(keeping) = &self.gateway else { return };
        let account = &self.account;
        let marks = Marks {
            log_id: account.log_id.as_deref(),
            event_id: keeping.rules.event_id.as_deref(),
            cached: account.cached,
            step: Some(account.step),
        };
        marks.write(headers);
    }

    /// Reads an answer, or an event of one.
    pub(super) fn read(&mut self, value: &Value) {
        self.account.reading.read(value);
        if let Some(output) = &mut self.output {
            output.read(value);
        }
    }

    /// Takes a part of the answer as the provider sent it.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let Some(keeping) = &mut self.gateway else {
            return;
        };
        keeping.recording.push(bytes);
        if let Some(log) = &mut keeping.log {
            log.response_size += bytes.len() as u64;
            if let Some(head) = &mut log.response_head {
                let room = Head::MAX.saturating_sub(head.len());
                head.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
    }

    /// The answer has ended as it should, having had these headers.
    pub(super) fn end(mut self, headers: &HeaderMap) {
        self.keep(headers);
        self.settle(Some(headers));
    }

    /// There is no answer, or only a part of one.
    pub(super) fn fail(mut self, failed: Failed) {
        self.failed(failed);
        self.settle(None);
    }

    /// There is no answer: settles the request, and gives what the caller gets.
    pub(super) fn refuse(self, failed: Failed, failure: Failure) -> Failure {
        let mut headers = HeaderMap::new();
        self.annotate(&mut headers);
        self.fail(failed);
        Failure {
            headers: Box::new(headers),
            stated: true,
            ..failure
        }
    }

    /// The provider refused, and the next request of the list is tried.
    pub(super) fn fall_back(mut self, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
        self.head(status);
        self.pass(body);
        self.call = CallScope::outside();
        self.settle(Some(headers));
    }

    /// The same, when there was no answer. What the caller's span says is how the last one ended.
    pub(super) fn fall_back_after(mut self, error: &UpstreamError) {
        self.failed(Failed::of_upstream(error));
        self.call = CallScope::outside();
        self.settle(None);
    }

    fn failed(&mut self, failed: Failed) {
        self.account.error_type = Some(failed.kind.to_owned());
        self.message = Some(failed.message);
        self.own_status = Some(failed.status);
    }

    fn keep(&mut self, headers: &HeaderMap) {
        let account = &self.account;
        // A page of HTML, say, is no answer of a model, whatever its status.
        let is_answer = account.operation == Operation::Other
            || is_stream(headers)
            || super::answer::is_type(headers, "application/json");
        if account.error_type.is_some() || !is_answer {
            return;
        }
        let Some(keeping) = &mut self.gateway else {
            return;
        };
        let recording = std::mem::replace(&mut keeping.recording, Recording::off());
        let (Some(key), Some(ttl)) = (keeping.key, keeping.rules.caches()) else {
            return;
        };
        let (Some(body), Some(status)) = (recording.finish(), account.status) else {
            return;
        };
        let kept = Kept {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
            headers: kept_headers(headers),
            body,
            stream: is_stream(headers),
            reading: account.reading.clone(),
            provider: account.provider.clone(),
            model: account.model.clone(),
            stored_at: SystemTime::now(),
        };
        keeping.gateway.cache.put(key, kept, ttl);
    }

    fn settle(&mut self, headers: Option<&HeaderMap>) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.account.duration = self.begun.elapsed();
        self.account.cost = self.cost();
        let mut enrichment = spans::after(&self.account);
        if let Some(message) = self.message.take() {
            enrichment.set_attribute(ERROR_MESSAGE, message);
        }
        if let Some(output) = self.output.take() {
            enrichment.merge(output.enrichment());
        }
        self.call.enrich(enrichment);
        if let Some(sink) = &self.engine.sink {
            sink.settled(&self.account);
        }
        if let Some(keeping) = &mut self.gateway
            && let Some(mut log) = keeping.log.take()
        {
            log.response_type = headers.and_then(|headers| text_of(headers, &CONTENT_TYPE));
            let entry = log.entry(&self.account, &keeping.rules, self.arrived, self.own_status);
            self.engine.logs.add(entry);
        }
    }

    /// A cached answer costs nothing, whatever its price.
    fn cost(&self) -> Option<f64> {
        let usage = &self.account.reading.usage;
        let custom = self.gateway.as_ref().and_then(|it| it.rules.custom_cost);
        if self.account.cached == Some(Cached::Hit) {
            return (custom.is_some() || self.price.is_some()).then_some(0.0);
        }
        match custom {
            Some(custom) => custom.of(usage),
            None => openai::cost(self.price.as_ref()?, usage),
        }
    }
}

/// The caller cancelled, or the answer's reader did.
impl Drop for Open {
    fn drop(&mut self) {
        if !self.settled {
            self.failed(Failed::canceled());
            self.settle(None);
        }
    }
}

/// A method as an attribute: one that is known, or that it is another.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "_OTHER",
    }
}

/// Whether a body is events that can be read: those that are compressed, though nobody asked for that, cannot.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    let encoding = headers.get(CONTENT_ENCODING);
    let plain = encoding.is_none_or(|it| it.as_bytes().eq_ignore_ascii_case(b"identity"));
    plain && super::answer::is_type(headers, "text/event-stream")
}
