//! From a caller's request to a provider's.

use binding_span::Enrichment;
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};

use super::super::account::Operation;
use super::super::gateway::{GatewayError, Rules, Step, forwarded};
use super::super::models::{MAX_MODEL_NAME, Resolved};
use super::super::upstream::{Provider, UpstreamRequest};
use super::super::workers::{self, AiError, Asked};
use super::super::{content, openai, spans};
use super::{Ask, Engine, Failure, Shape};

/// The provider's name that means this binding's own models, in Workers AI's form.
pub(in crate::ai) const WORKERS_AI: &str = "workers-ai";

/// A request for a provider, as it arrived.
pub(in crate::ai) struct RawRequest {
    pub(in crate::ai) method: Method,
    /// Below the provider's URL.
    pub(in crate::ai) path: String,
    pub(in crate::ai) headers: HeaderMap,
    pub(in crate::ai) body: Bytes,
}

impl Engine {
    /// Workers AI's `run`.
    pub(in crate::ai) fn ask_workers(
        &self,
        model: &str,
        inputs: &Value,
        rules: Option<Rules>,
    ) -> Result<Ask, AiError> {
        let Asked {
            task,
            path,
            mut body,
            stream,
        } = workers::request(model, inputs)?;
        let resolved = self.models.resolve(model);
        let resolved = resolved.map_err(|error| AiError::invalid_model(&error.to_string()))?;
        body.insert("model".into(), resolved.model.clone().into());
        if resolved.provider.options().stream_usage {
            openai::ask_for_usage(&mut body);
        }
        let request = RawRequest {
            method: Method::POST,
            path: path.to_owned(),
            headers: json(),
            body: written(&body),
        };
        let shape = Shape::Workers(task);
        let ask = self.ask(model, resolved, request, shape, rules, Some(&body));
        Ok(Ask { stream, ..ask })
    }

    /// OpenAI's HTTP: the model in the body decides who is asked.
    pub(in crate::ai) fn ask_openai(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
        rules: Option<Rules>,
    ) -> Result<Ask, GatewayError> {
        let mut body = object(body)?;
        let model = match body.get("model") {
            Some(Value::String(model)) => model.clone(),
            _ => {
                return Err(GatewayError::invalid(
                    "model is missing; give the name of a model as text",
                ));
            }
        };
        let resolved = self.models.resolve(&model);
        let resolved = resolved.map_err(|error| GatewayError::invalid(error.to_string()))?;
        body.insert("model".into(), resolved.model.clone().into());
        let drop_usage = asks_for_usage(path, &resolved.provider, &mut body);
        let request = RawRequest {
            method: Method::POST,
            path: path.to_owned(),
            headers: as_json(forwarded(headers)),
            body: written(&body),
        };
        let shape = Shape::AsIs { drop_usage };
        Ok(self.ask(&model, resolved, request, shape, rules, Some(&body)))
    }

    /// A request for one provider, as it is.
    pub(in crate::ai) fn ask_provider(
        &self,
        provider: &str,
        mut request: RawRequest,
        rules: Option<Rules>,
    ) -> Result<Ask, GatewayError> {
        let Some(provider) = self.models.provider(provider) else {
            let known = self.models.providers().iter();
            let mut known: Vec<&str> = known.map(|provider| provider.name()).collect();
            known.push(WORKERS_AI);
            return Err(GatewayError::unknown_provider(provider, &known));
        };
        let is_read =
            request.method == Method::POST && Operation::of_path(&request.path) != Operation::Other;
        // What cannot be read is for the provider to refuse.
        let mut body = match is_read {
            true => object(&request.body).ok(),
            false => None,
        };
        let mut drop_usage = false;
        if let Some(body) = &mut body {
            drop_usage = asks_for_usage(&request.path, &provider, body);
            if drop_usage {
                request.body = written(body);
            }
        }
        request.headers = forwarded(&request.headers);
        let model = body.as_ref().and_then(|body| body.get("model")?.as_str());
        // What is too long is no model's name, and goes no further than to the provider.
        let model = model.filter(|model| model.len() <= MAX_MODEL_NAME);
        let model = model.unwrap_or_default().to_owned();
        let resolved = self.models.priced(provider, &model);
        let shape = Shape::AsIs { drop_usage };
        Ok(self.ask(&model, resolved, request, shape, rules, body.as_ref()))
    }

    /// One request of a gateway's list.
    pub(in crate::ai) fn ask_step(&self, step: Step, rules: &Rules) -> Result<Ask, Failure> {
        let rules = rules.for_step(&step)?;
        let place = step.place();
        if step.provider == WORKERS_AI {
            let model = step.endpoint.strip_prefix("run/").unwrap_or(&step.endpoint);
            if let Some(path) = step.endpoint.strip_prefix("v1/") {
                let body = step.body();
                let ask = self.ask_openai(path, &step.headers, &body, Some(rules));
                return Ok(ask.map_err(|error| error.at(&place))?);
            }
            let ask = self.ask_workers(model, &step.query, Some(rules));
            return Ok(ask?);
        }
        let request = RawRequest {
            method: Method::POST,
            path: step.endpoint.clone(),
            body: step.body(),
            headers: step.headers,
        };
        let ask = self.ask_provider(&step.provider, request, Some(rules));
        Ok(ask.map_err(|error| error.at(&place))?)
    }

    fn ask(
        &self,
        model: &str,
        resolved: Resolved,
        request: RawRequest,
        shape: Shape,
        rules: Option<Rules>,
        body: Option<&Map<String, Value>>,
    ) -> Ask {
        let RawRequest {
            method,
            path,
            headers,
            body: bytes,
        } = request;
        let operation = match method {
            Method::POST => Operation::of_path(&path),
            _ => Operation::Other,
        };
        let mut parameters = Enrichment::new();
        let mut stream = false;
        if let Some(body) = body {
            parameters = spans::parameters(operation, body);
            if self.options.content_on_spans {
                parameters.merge(content::input(body));
            }
            stream = body.get("stream") == Some(&Value::Bool(true));
        }
        let timeout = rules.as_ref().and_then(|rules| rules.request_timeout);
        Ask {
            provider: resolved.provider,
            operation,
            model: model.to_owned(),
            price: resolved.price,
            request: UpstreamRequest {
                method,
                path,
                headers,
                body: bytes,
                timeout,
            },
            stream,
            shape,
            rules,
            parameters,
        }
    }
}

/// Asks for a stream's usage, where its provider tells it. Whether the caller did not.
fn asks_for_usage(path: &str, provider: &Provider, body: &mut Map<String, Value>) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let has_it = path.ends_with("completions") && provider.options().stream_usage;
    has_it && openai::ask_for_usage(body)
}

/// A body as it is sent.
fn written(body: &Map<String, Value>) -> Bytes {
    // Nothing that is written can fail to be: names are texts.
    serde_json::to_vec(body).unwrap_or_default().into()
}

fn object(body: &[u8]) -> Result<Map<String, Value>, GatewayError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(GatewayError::invalid(
            "the body is not an object; give one in JSON",
        )),
        // serde_json's text may show what is private.
        Err(error) => Err(GatewayError::invalid(format!(
            "the body is not JSON (line {}, column {}); give an object",
            error.line(),
            error.column()
        ))),
    }
}

fn json() -> HeaderMap {
    as_json(HeaderMap::new())
}

/// The headers of a body that was written anew, as JSON.
fn as_json(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(CONTENT_ENCODING);
    let kind = HeaderValue::from_static("application/json");
    headers.insert(CONTENT_TYPE, kind);
    headers
}
