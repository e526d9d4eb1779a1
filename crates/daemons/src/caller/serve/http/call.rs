//! From a request to a call, and from its outcome to an answer.

use std::error::Error;

use http::header::HeaderName;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use js_rpc::{Args, Value};
use js_value::json_text;
use serde_json::Value as Json;

use super::Calls;
use super::answer::{self, Refusal};
use super::body::{self, bad};
use super::gate::{self, Wanted};
use crate::http::gate::single;
use crate::http::{Answer, Handler};
use binding_span::{SpanContext, StatedError};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Handler for Calls {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match self.call(request).await {
            Ok((json, stated)) => answer::result(json, stated.as_ref()),
            Err(refusal) => refusal.answer(),
        }
    }
}

impl Calls {
    async fn call(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Vec<u8>, Option<StatedError>), Refusal> {
        let (head, body) = request.into_parts();
        let Wanted { binding, method } = gate::pass(&head, &self.hosts)?;
        let Some(binding) = self.bindings.proxied(&binding) else {
            return Err(self.unknown(&binding));
        };
        let args = arguments(&self.bodies.receive(body).await?)?;
        let mut call = binding.call(&method, args);
        if let Some(parent) = parent(&head.headers) {
            call = call.parent(parent);
        }
        let reply = call.await.map_err(|error| Refusal::failed(&error))?;
        let json = reply.to_json().map_err(|error| unwritable(&error))?;
        Ok((json_text(&json).into_bytes(), reply.stated_error().cloned()))
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

fn unwritable(error: &dyn Error) -> Refusal {
    // Neither the callee's fault nor that of the way there.
    let message = format!("the call returned, but its result cannot be written as JSON: {error}");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "json", message)
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
