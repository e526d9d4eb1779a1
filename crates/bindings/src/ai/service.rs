//! The binding as a Worker calls it that has it as a service: the same methods, by JavaScript RPC.

use std::sync::Arc;

use binding_span::Enrichment;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use js_rpc::{
    Args, ByteStream, Context, Payload, Service, ServiceResult, Stub, async_trait, nothing, reply,
    unknown_method,
};
use js_value::JsError;
use serde_json::{Map, Value};

use super::binding::Ai;
use super::engine::{Body, Engine, Failure, Gateway, Job};
use super::gateway::{self, GatewayError, Rules};
use super::logs::Patch;
use super::refusal::Refusal;
use super::workers::{AiError, Search};
use super::{http as plain, spans};

#[async_trait(?Send)]
impl Service for Ai {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        match method {
            "run" => run(self.engine(), args, cx).await,
            "models" => models(self.engine(), args, cx).await,
            "gateway" => gateway(self.engine(), args, cx),
            "toMarkdown" | "autorag" | "aiSearch" => Err(AiError::not_served(method).into()),
            other => unknown_method(other),
        }
    }

    async fn fetch(
        &self,
        request: Request<ByteStream>,
        cx: &Context,
    ) -> Result<Response<ByteStream>, JsError> {
        Ok(plain::answer(self.engine(), request, cx.scope()).await)
    }
}

/// `run(model, inputs, options?)`.
async fn run(engine: &Arc<Engine>, args: Args, cx: &Context) -> ServiceResult {
    let streams = args.externals.iter().any(|it| it.as_readable().is_some());
    if streams {
        return Err(AiError::task_not_served("an input that is a stream").into());
    }
    let [model, inputs, options] = json(&args)?;
    let Value::String(model) = model else {
        return Err(JsError::type_error(
            "run(model, inputs, options?): the model is a text",
        ));
    };
    let options = object("the options", options)?;
    if options.get("websocket") == Some(&Value::Bool(true)) {
        return Err(AiError::not_served("websocket").into());
    }
    let gateway = options.get("gateway").filter(|it| it.is_object());
    let id = gateway.and_then(|gateway| gateway.get("id")?.as_str());
    let raw = options.get("returnRawResponse") == Some(&Value::Bool(true));
    let headers = extra_headers(&options)?;
    let job = engine.run(&model, &inputs, id.zip(gateway), &headers);
    let answer = match job {
        Ok(job) => engine.answer(job, cx.scope()).await,
        Err(failure) => Err(failure),
    };
    match (answer, raw) {
        (Ok(answer), true) => Ok(Payload::from_response(answer.into())),
        (Ok(answer), false) => match answer.body {
            Body::Stream(stream) => Ok(stream.into()),
            Body::Whole(body) => {
                let value: Value = serde_json::from_slice(&body)
                    .map_err(|_| AiError::unreadable("it is not JSON"))?;
                reply(&value)
            }
        },
        (Err(failure), raw) => {
            let refusal = Refusal::from(failure);
            refusal.enrich(cx.scope());
            match raw {
                true => Ok(Payload::from_response(refusal.into_response())),
                false => Err(refusal.for_worker()),
            }
        }
    }
}

/// `models(params?)`.
async fn models(engine: &Arc<Engine>, args: Args, cx: &Context) -> ServiceResult {
    cx.enrich(Enrichment::new().name("ai.models"));
    let [params] = json(&args)?;
    let search = Search::of_value(&params)?;
    reply(&engine.search(&search).await)
}

/// `gateway(id)`. Its session's span is `ai_gateway.open`; what is called on the handle has spans of its own below that.
fn gateway(engine: &Arc<Engine>, args: Args, cx: &Context) -> ServiceResult {
    let id: String = args.first()?;
    let gateway = engine.gateway(&id)?;
    let enrichment = Enrichment::new().name("ai_gateway.open");
    cx.enrich(enrichment.attribute("ai_gateway.id", id));
    Ok(Stub::new(GatewayService {
        engine: Arc::clone(engine),
        gateway,
    })
    .into())
}

/// What `gateway(id)` gives.
struct GatewayService {
    engine: Arc<Engine>,
    gateway: Arc<Gateway>,
}

#[async_trait(?Send)]
impl Service for GatewayService {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        let id = &self.gateway.options.id;
        match method {
            "run" => self.run(args, cx).await,
            "getUrl" => {
                cx.enrich(Enrichment::new().name("ai_gateway.get_url"));
                let [provider] = json(&args)?;
                let provider = provider.as_str().filter(|name| *name != "universal");
                reply(&self.engine.url(id, provider)?)
            }
            "getLog" => {
                let log: String = args.first()?;
                cx.enrich(spans::of_log("ai_gateway.get_log", id, &log));
                let entry = self.engine.logs.get(id, &log).await;
                let entry = entry.map_err(GatewayError::from)?;
                Ok(entry.to_value().into())
            }
            "patchLog" => {
                let [log, patch] = json(&args)?;
                let Value::String(log) = log else {
                    return Err(JsError::type_error("patchLog(id, data): the id is a text"));
                };
                cx.enrich(spans::of_log("ai_gateway.patch_log", id, &log));
                let patch = Patch::from_json(&patch)?;
                let patched = self.engine.logs.patch(id, &log, patch).await;
                patched.map_err(GatewayError::from)?;
                nothing()
            }
            other => unknown_method(other),
        }
    }
}

impl GatewayService {
    /// `run(request or requests, {gateway, extraHeaders}?)`: a `Response`, whatever its status.
    async fn run(&self, args: Args, cx: &Context) -> ServiceResult {
        let [requests, options] = json(&args)?;
        let answer = match self.job(requests, options) {
            Ok(job) => self.engine.answer(job, cx.scope()).await,
            Err(failure) => Err(failure),
        };
        let response = answer.map(Response::from).unwrap_or_else(|failure| {
            let refusal = Refusal::from(failure);
            refusal.enrich(cx.scope());
            refusal.into_response()
        });
        Ok(Payload::from_response(response))
    }

    fn job(&self, requests: Value, options: Value) -> Result<Job, Failure> {
        let rules = self.rules(options)?;
        let steps = gateway::steps_of(requests)?;
        let gateway = Arc::clone(&self.gateway);
        self.engine.universal(gateway, steps, &rules)
    }

    fn rules(&self, options: Value) -> Result<Rules, GatewayError> {
        let Value::Object(options) = options else {
            return Ok(Rules::of_gateway(&self.gateway.options));
        };
        let headers =
            extra_headers(&options).map_err(|error| GatewayError::invalid(error.message))?;
        let rules = Rules::of_gateway(&self.gateway.options);
        let own = options.get("gateway").unwrap_or(&Value::Null);
        // As workerd's wrapper has it, which makes headers of both: the extra ones come last.
        rules.with_options(own)?.with_headers(&headers)
    }
}

/// The arguments as JSON; those that are not there are null.
fn json<const N: usize>(args: &Args) -> Result<[Value; N], JsError> {
    let mut read: [Value; N] = std::array::from_fn(|_| Value::Null);
    for (place, value) in read.iter_mut().zip(&args.values) {
        let json = value.to_json();
        *place = json.map_err(|error| JsError::type_error(error.to_string()))?;
    }
    Ok(read)
}

fn object(what: &str, value: Value) -> Result<Map<String, Value>, JsError> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(object) => Ok(object),
        _ => Err(JsError::type_error(format!("{what} are not an object"))),
    }
}

/// `extraHeaders`, those of them that can be headers.
fn extra_headers(options: &Map<String, Value>) -> Result<HeaderMap, JsError> {
    let mut headers = HeaderMap::new();
    let Some(Value::Object(extra)) = options.get("extraHeaders") else {
        return Ok(headers);
    };
    for (name, value) in extra {
        let known = HeaderName::from_bytes(name.as_bytes());
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (Ok(known), Ok(value)) = (known, HeaderValue::from_str(&text)) else {
            return Err(JsError::type_error(format!(
                "extraHeaders: {name:?} is not a header name"
            )));
        };
        headers.insert(known, value);
    }
    Ok(headers)
}
