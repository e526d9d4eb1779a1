//! From a request to a call, and from its outcome to an answer.

use std::error::Error;
use std::time::{Duration, Instant};

use http::header::HeaderName;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use js_rpc::{Args, CallError, Value};
use serde_json::Value as Json;

use super::Calls;
use super::answer::{self, Refusal};
use super::body::{self, bad};
use super::door::DoorCall;
use super::gate::{self, Wanted};
use crate::http::gate::single;
use crate::http::{Answer, Handler};
use binding_span::SpanContext;

/// How much later than where the call arrives its deadline passes here, so that its span says why.
const GRACE: Duration = Duration::from_secs(2);

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Handler for Calls {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match self.call(request).await {
            Ok(result) => answer::result(result),
            Err(refusal) => refusal.answer(),
        }
    }
}

impl Calls {
    async fn call(&self, request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
        let (head, body) = request.into_parts();
        let Wanted { binding, method } = gate::pass(&head, &self.hosts)?;
        let Some(deadline) = self.deadline(&binding) else {
            return Err(self.unknown(&binding));
        };
        let args = arguments(&self.bodies.receive(body).await?)?;
        let begun = Instant::now();
        let call = DoorCall {
            binding: &binding,
            method: &method,
            args,
            parent: parent(&head.headers),
            deadline: deadline.saturating_add(GRACE),
        };
        let outcome = self.door.call(call).await.map_err(|error| {
            match begun.elapsed() >= deadline && is_deadline(&error, deadline) {
                true => CallError::Deadline(deadline),
                false => error,
            }
        });
        let reply = outcome.map_err(|error| Refusal::failed(&error))?;
        let json = reply.to_json().map_err(|error| unwritable(&error))?;
        serde_json::to_vec(&json).map_err(|error| unwritable(&error))
    }

    fn deadline(&self, binding: &str) -> Option<Duration> {
        self.deadlines.borrow().get(binding).copied()
    }

    fn unknown(&self, binding: &str) -> Refusal {
        let deadlines = self.deadlines.borrow();
        let mut known: Vec<&str> = deadlines.keys().map(String::as_str).collect();
        known.sort_unstable();
        let shown: String = binding.chars().take(80).collect();
        let message = format!(
            "there is no binding {shown:?} here; there is: {}",
            known.join(", ")
        );
        Refusal::new(StatusCode::NOT_FOUND, "binding", message)
    }
}

/// Whether this is how the proxy passes on that its deadline passed: an exception has no place for more
/// than a text.
fn is_deadline(error: &CallError, deadline: Duration) -> bool {
    let text = CallError::Deadline(deadline).to_string();
    matches!(error, CallError::Thrown(error) if error.name == "Error" && error.message == text)
}

fn unwritable(error: &dyn Error) -> Refusal {
    let message = format!("the result cannot be written as JSON: {error}");
    Refusal::new(StatusCode::BAD_GATEWAY, "result", message)
}

pub(super) fn arguments(body: &[u8]) -> Result<Args, Refusal> {
    body::check_values(body)?;
    let json: Json = serde_json::from_slice(body)
        .map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    let Json::Array(arguments) = json else {
        return Err(bad("the body is a JSON array of arguments, [] for none"));
    };
    let values = arguments.into_iter().enumerate().map(|(i, json)| {
        Value::from_json(json)
            .map_err(|error| bad(format!("argument {} is not a value: {error}", i + 1)))
    });
    Ok(Args::from(values.collect::<Result<Vec<_>, _>>()?))
}

/// The span that the call belongs to. One that is not valid is ignored, as the standard asks.
pub(super) fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    single(headers, &TRACEPARENT)?.parse().ok()
}
