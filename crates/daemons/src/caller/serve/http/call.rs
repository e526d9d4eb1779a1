//! From a request to a call, and from its outcome to an answer.

use std::error::Error;

use http::header::HeaderName;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use js_rpc::{Args, CallError, LARGE, Value, offload};
use js_value::json_text;
use serde_json::Value as Json;

use super::Calls;
use super::answer::{self, Refusal};
use super::body::{self, bad};
use super::gate::{self, Wanted};
use crate::http::gate::single;
use crate::http::{Answer, Client, Handler};
use binding_span::{SpanContext, StatedError};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Handler for Calls {
    async fn answer(&self, request: Request<Incoming>, client: &Client) -> Answer {
        match self.call(request, client).await {
            Ok((json, stated)) => answer::result(json, stated.as_ref()),
            Err(refusal) => refusal.answer(),
        }
    }
}

impl Calls {
    async fn call(
        &self,
        request: Request<Incoming>,
        client: &Client,
    ) -> Result<(Vec<u8>, Option<StatedError>), Refusal> {
        let (head, body) = request.into_parts();
        let Wanted { binding, method } = gate::pass(&head, &self.hosts)?;
        let Some(binding) = self.bindings.proxied(&binding) else {
            return Err(self.unknown(&binding));
        };
        // From here on a shutdown waits for it.
        let begun = self.bindings.begin().ok_or_else(shutting_down)?;
        let body = self.bodies.receive(body, client.key).await?;
        let args = Args::from(body.read(values).await??);
        let call = binding.call(&method, args);
        let mut call = call.client(client.id).begun(&begun);
        if let Some(parent) = parent(&head.headers) {
            call = call.parent(parent);
        }
        let reply = call.await.map_err(|error| Refusal::failed(&error))?;
        let stated = reply.stated_error().cloned();
        Ok((written(reply.into_payload().value).await?, stated))
    }

    fn unknown(&self, binding: &str) -> Refusal {
        let links = self.bindings.links();
        let known: Vec<&str> = links.iter().map(|(name, _)| name.as_str()).collect();
        let shown: String = binding.chars().take(80).collect();
        let message = format!(
            "there is no binding {shown:?} here; there is: {}",
            known.join(", ")
        );
        Refusal::new(StatusCode::NOT_FOUND, "binding", message)
    }
}

fn shutting_down() -> Refusal {
    Refusal::failed(&CallError::Overloaded("it is shutting down".into()))
}

fn unwritable(error: &dyn Error) -> Refusal {
    // Neither the callee's fault nor that of the way there.
    let message = format!("the call returned, but its result cannot be written as JSON: {error}");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "json", message)
}

/// A result as the text that answers.
async fn written(value: Value) -> Result<Vec<u8>, Refusal> {
    let write = |value: Value| {
        let json = value.to_json().map_err(|error| unwritable(&error))?;
        Ok(json_text(&json).into_bytes())
    };
    match value.is_larger_than(LARGE) {
        true => offload(move || write(value)).await.ok_or_else(ending)?,
        false => write(value),
    }
}

/// The runtime ends before something was done.
pub(super) fn ending() -> Refusal {
    Refusal::failed(&CallError::Canceled)
}

/// The arguments that a body has.
pub(super) fn values(body: &[u8]) -> Result<Vec<Value>, Refusal> {
    body::check_values(body)?;
    let json = js_value::json_from_text(body)
        .map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    let Json::Array(arguments) = json else {
        return Err(bad("the body is a JSON array of arguments, [] for none"));
    };
    let values = arguments.into_iter().enumerate().map(|(i, json)| {
        Value::from_json(json)
            .map_err(|error| bad(format!("argument {} is not a value: {error}", i + 1)))
    });
    values.collect()
}

/// The span that the call belongs to. One that is not valid is ignored, as the standard asks.
pub(super) fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    single(headers, &TRACEPARENT)?.parse().ok()
}
