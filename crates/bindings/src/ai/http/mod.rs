//! Plain HTTP: what a Worker's `env.AI` sends, what clients of a gateway send, and OpenAI's own.

mod route;

use std::sync::Arc;

use binding_span::{CallScope, Enrichment};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response};
use js_rpc::{ByteStream, StreamError};
use serde::Deserialize;
use serde_json::{Value, json};

use self::route::{NoRoute, Route};
use super::engine::{Engine, Job, RawRequest};
use super::gateway::{self, GatewayError, Rules};
use super::logs::{Logs, Patch};
use super::refusal::{Refusal, ok};
use super::workers::{AiError, Search};

/// The model, in a Worker's request.
const MODEL: &str = "cf-consn-model-id";
/// The request's id, in the answer to a Worker.
const REQUEST_ID: &str = "cf-ai-req-id";

/// Answers a request. It never fails: what is wrong is in the answer.
pub(super) async fn answer(
    engine: &Arc<Engine>,
    request: Request<ByteStream>,
    call: &CallScope,
) -> Response<ByteStream> {
    let (head, body) = request.into_parts();
    let route = Route::of(
        &head.method,
        head.uri.path(),
        head.uri.query(),
        &engine.name,
    );
    let answered = match route {
        Ok(route) => Call { engine, head, call }.answer(route, body).await,
        Err(NoRoute::NotServed(what)) => Err(AiError::not_served(what).into()),
        Err(NoRoute::Method(allowed)) => Err(Refusal::method(allowed)),
        Err(NoRoute::Path) => Err(Refusal::path()),
    };
    answered.unwrap_or_else(|refusal| {
        refusal.enrich(call);
        refusal.into_response()
    })
}

/// A request, without its body.
struct Call<'a> {
    engine: &'a Arc<Engine>,
    head: Parts,
    call: &'a CallScope,
}

/// What a Worker's `run` sends.
#[derive(Deserialize)]
struct RunBody {
    #[serde(default)]
    inputs: Value,
    #[serde(default)]
    options: Value,
}

type Answered = Result<Response<ByteStream>, Refusal>;

impl Call<'_> {
    async fn answer(&self, route: Route, body: ByteStream) -> Answered {
        match route {
            Route::Run => self.run(body).await,
            Route::SearchModels => self.search_models().await,
            Route::Universal { gateway } => self.universal(&gateway, body).await,
            Route::Url { gateway, provider } => {
                let provider = Some(provider.as_str()).filter(|name| *name != "universal");
                let url = self.engine.url(&gateway, provider)?;
                Ok(ok(&json!({"success": true, "result": {"url": url}})))
            }
            Route::Log { gateway, id } => self.log(&gateway, &id, body).await,
            Route::OpenAi { gateway, path } => {
                let asked = self.openai(gateway.as_deref(), &path, body).await;
                asked.map_err(Refusal::for_openai)
            }
            Route::Formats => Ok(ok(&json!({"success": true, "result": []}))),
            Route::ListModels => self.list_models().await,
            Route::RunModel { gateway, model } => {
                let inputs = self.whole(body).await?;
                let inputs = read(&inputs)?;
                self.run_model(&model, &inputs, Some((&gateway, &Value::Null)))
                    .await
            }
            Route::Provider {
                gateway,
                provider,
                path,
            } => self.provider(&gateway, &provider, path, body).await,
        }
    }

    async fn run(&self, body: ByteStream) -> Answered {
        if self.head.headers.contains_key(UPGRADE) {
            return Err(AiError::not_served("websocket").into());
        }
        let kind = self.head.headers.get(CONTENT_TYPE);
        if kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"application/json")) {
            // A stream, or a form: the raw body of another task.
            return Err(AiError::task_not_served("an input that is a stream").into());
        }
        let model = self.head.headers.get(MODEL);
        let model = model.and_then(|model| model.to_str().ok());
        let model = model.ok_or_else(|| AiError::missing(MODEL))?;
        let body = self.whole(body).await?;
        let body: RunBody = serde_json::from_slice(&body).map_err(not_json)?;
        let gateway = body.options.get("gateway").filter(|it| it.is_object());
        let id = gateway.and_then(|gateway| gateway.get("id")?.as_str());
        let gateway = id.zip(gateway);
        self.run_model(model, &body.inputs, gateway).await
    }

    async fn run_model(
        &self,
        model: &str,
        inputs: &Value,
        gateway: Option<(&str, &Value)>,
    ) -> Answered {
        let job = self.engine.run(model, inputs, gateway, &self.head.headers);
        let answer = self.engine.answer(job?, self.call).await?;
        let mut response = Response::from(answer);
        if let Ok(id) = Logs::new_id().parse() {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        Ok(response)
    }

    async fn search_models(&self) -> Answered {
        self.call.enrich(Enrichment::new().name("ai.models"));
        let mut search = Search::default();
        let query = self.head.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            search.take(&name, &value)?;
        }
        let models = self.engine.search(&search).await;
        Ok(ok(&json!({"success": true, "result": models})))
    }

    async fn list_models(&self) -> Answered {
        self.call.enrich(Enrichment::new().name("ai.models"));
        let listing = self.engine.models.list().await;
        let models = listing.models.iter();
        let data: Vec<Value> = models
            .map(|model| {
                json!({
                    "id": model.id,
                    "object": "model",
                    "created": model.created.unwrap_or_default(),
                    "owned_by": model.owned_by.as_deref().unwrap_or(&model.provider),
                })
            })
            .collect();
        Ok(ok(&json!({"object": "list", "data": data})))
    }

    async fn universal(&self, gateway: &str, body: ByteStream) -> Answered {
        let body = self.whole(body).await.map_err(gateway_error)?;
        let steps = gateway::steps(&body)?;
        let gateway = self.engine.gateway(gateway)?;
        let rules = Rules::of_gateway(&gateway.options).with_headers(&self.head.headers)?;
        let job = self.engine.universal(gateway, steps, &rules);
        self.gateways(job?).await
    }

    async fn provider(
        &self,
        gateway: &str,
        provider: &str,
        path: String,
        body: ByteStream,
    ) -> Answered {
        let body = self.whole(body).await.map_err(gateway_error)?;
        let path = gateway::check_endpoint(&path)?.to_owned();
        let gateway = self.engine.gateway(gateway)?;
        let rules = Rules::of_gateway(&gateway.options).with_headers(&self.head.headers)?;
        let request = RawRequest {
            method: self.head.method.clone(),
            path,
            headers: self.head.headers.clone(),
            body,
        };
        let ask = self.engine.ask_provider(provider, request, Some(rules))?;
        self.gateways(Job::new(Some(gateway), vec![ask])).await
    }

    async fn gateways(&self, job: Job) -> Answered {
        Ok(self.engine.answer(job, self.call).await?.into())
    }

    async fn openai(&self, gateway: Option<&str>, path: &str, body: ByteStream) -> Answered {
        let body = self.whole(body).await.map_err(gateway_error)?;
        let headers = &self.head.headers;
        let gateway = gateway.map(|id| self.engine.gateway(id)).transpose()?;
        let rules = gateway.as_ref().map(|gateway| {
            let rules = Rules::of_gateway(&gateway.options);
            rules.with_headers(headers)
        });
        let ask = self
            .engine
            .ask_openai(path, headers, &body, rules.transpose()?)?;
        self.gateways(Job::new(gateway, vec![ask])).await
    }

    async fn log(&self, gateway: &str, id: &str, body: ByteStream) -> Answered {
        let patches = self.head.method == Method::PATCH;
        let name = match patches {
            true => "ai_gateway.patch_log",
            false => "ai_gateway.get_log",
        };
        self.call.enrich(super::spans::of_log(name, gateway, id));
        self.engine.gateway(gateway)?;
        if patches {
            let body = self.whole(body).await.map_err(gateway_error)?;
            let patch = serde_json::from_slice(&body).map_err(|_| {
                GatewayError::invalid("the body is not JSON; give {score, feedback, metadata}")
            })?;
            let patch = Patch::from_json(&patch)?;
            let patched = self.engine.logs.patch(gateway, id, patch).await;
            patched.map_err(GatewayError::from)?;
            return Ok(ok(&json!({"success": true, "result": {}})));
        }
        let entry = self.engine.logs.get(gateway, id).await;
        let entry = entry.map_err(GatewayError::from)?;
        Ok(ok(&json!({"success": true, "result": entry.to_json()})))
    }

    /// All of a body, of which no more is read than it may have.
    async fn whole(&self, body: ByteStream) -> Result<Bytes, AiError> {
        let most = self.engine.options.max_request_bytes;
        body.read_to_end(most).await.map_err(|error| match error {
            StreamError::TooLong(most) => AiError::too_large(most),
            error => AiError::invalid_json(format!("the body cannot be read: {error}")),
        })
    }
}

fn read(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(not_json)
}

/// serde_json's own text may show what is private.
fn not_json(error: serde_json::Error) -> Refusal {
    AiError::invalid_json(format!(
        "the body is not JSON (line {}, column {})",
        error.line(),
        error.column()
    ))
    .into()
}

/// The same in a gateway's terms.
fn gateway_error(error: AiError) -> GatewayError {
    GatewayError {
        status: error.status(),
        ..GatewayError::invalid(error.description())
    }
}
