//! A request's way from the caller to a provider and back: a gateway's rules, the span, the account.

mod answer;
mod asks;
mod failure;
mod gateways;
mod keeping;
mod open;
mod tap;

use std::sync::{Arc, PoisonError, RwLock};

use binding_span::{CallScope, Enrichment};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use js_rpc::ByteStream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

pub(in crate::ai) use self::answer::{Answer, Body};
use self::answer::{Got, give, is_failure, of_type, read_whole, reads_whole};
pub(in crate::ai) use self::asks::RawRequest;
pub(in crate::ai) use self::failure::{Failure, Why};
pub(in crate::ai) use self::gateways::Gateway;
use self::gateways::Gateways;
use self::open::{Failed, Open};
use self::tap::Tap;
use super::account::Operation;
use super::binding::{AccountSink, OpenError};
use super::gateway::{self, GatewayError, Next, Outcome, Rules};
use super::logs::{Keepings, Logs};
use super::models::Models;
use super::options::{AiOptions, Price};
use super::upstream::{Provider, UpstreamAnswer, UpstreamError, UpstreamRequest};
use super::workers::{self, AiError, Search, Task};

/// What a name cannot have in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'@');

/// A binding's parts.
pub(in crate::ai) struct Engine {
    pub(in crate::ai) name: String,
    pub(in crate::ai) options: AiOptions,
    pub(in crate::ai) models: Models,
    pub(in crate::ai) logs: Logs,
    gateways: Gateways,
    sink: Option<Arc<dyn AccountSink>>,
    /// Where it is reached by HTTP, as far as the options do not say.
    reached_at: RwLock<Option<String>>,
}

/// What a caller asks for: requests, of which the first good answer counts.
pub(in crate::ai) struct Job {
    /// By whose rules.
    pub(in crate::ai) gateway: Option<Arc<Gateway>>,
    /// Who is asked, in order; not empty.
    pub(in crate::ai) asks: Vec<Ask>,
}

impl Job {
    pub(in crate::ai) fn new(gateway: Option<Arc<Gateway>>, asks: Vec<Ask>) -> Self {
        Self { gateway, asks }
    }
}

/// A request to one provider.
pub(in crate::ai) struct Ask {
    pub(in crate::ai) provider: Arc<Provider>,
    pub(in crate::ai) operation: Operation,
    /// The model as it was asked for.
    pub(in crate::ai) model: String,
    pub(in crate::ai) price: Option<Price>,
    pub(in crate::ai) request: UpstreamRequest,
    /// Whether a stream is asked for.
    pub(in crate::ai) stream: bool,
    /// What the answer becomes.
    pub(in crate::ai) shape: Shape,
    /// The gateway's rules for it.
    pub(in crate::ai) rules: Option<Rules>,
    /// What the request itself says about its span.
    pub(in crate::ai) parameters: Enrichment,
}

/// What a provider's answer becomes for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ai) enum Shape {
    /// It stays. An event with nothing but usage is left out where only we asked for it.
    AsIs { drop_usage: bool },
    /// Workers AI's.
    Workers(Task),
}

impl Engine {
    pub(in crate::ai) fn open(
        name: String,
        options: AiOptions,
        sink: Option<Arc<dyn AccountSink>>,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            models: Models::new(&options)?,
            gateways: Gateways::new(&options)?,
            logs: Logs::open(options.log.as_deref(), Keepings::new(&options.gateways))?,
            name,
            options,
            sink,
            reached_at: RwLock::default(),
        })
    }

    /// The gateway of this id.
    pub(in crate::ai) fn gateway(&self, id: &str) -> Result<Arc<Gateway>, GatewayError> {
        self.gateways.get(id)
    }

    /// Workers AI's `run`, by a gateway's rules if its options name one.
    pub(in crate::ai) fn run(
        &self,
        model: &str,
        inputs: &Value,
        gateway: Option<(&str, &Value)>,
        headers: &HeaderMap,
    ) -> Result<Job, Failure> {
        let gateway = gateway.map(|(id, options)| -> Result<_, Failure> {
            let gateway = self.gateway(id)?;
            let rules = Rules::of_gateway(&gateway.options).with_headers(headers)?;
            Ok((gateway, rules.with_options(options)?))
        });
        let gateway = gateway.transpose()?;
        let (gateway, rules) = gateway.unzip();
        let ask = self.ask_workers(model, inputs, rules);
        Ok(Job::new(gateway, vec![ask?]))
    }

    /// A gateway's list of requests.
    pub(in crate::ai) fn universal(
        &self,
        gateway: Arc<Gateway>,
        steps: Vec<gateway::Step>,
        rules: &Rules,
    ) -> Result<Job, Failure> {
        let asks = steps.into_iter().map(|step| self.ask_step(step, rules));
        let asks = asks.collect::<Result<_, _>>()?;
        Ok(Job::new(Some(gateway), asks))
    }

    /// Where clients of a gateway reach a provider of it; without one, all of them.
    pub(in crate::ai) fn url(
        &self,
        gateway: &str,
        provider: Option<&str>,
    ) -> Result<String, GatewayError> {
        let id = &self.gateway(gateway)?.options.id;
        let reached_at = self.reached_at.read();
        let reached_at = reached_at.unwrap_or_else(PoisonError::into_inner);
        let Some(base) = self.options.public_url.as_ref().or(reached_at.as_ref()) else {
            return Err(GatewayError::internal(
                "it is not known where this binding is reached by HTTP; configure its public URL",
            ));
        };
        let named = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
        let mut url = format!(
            "{}/v1/{}/{}",
            base.trim_end_matches('/'),
            named(&self.name),
            named(id)
        );
        if let Some(provider) = provider {
            url.push('/');
            url.push_str(&named(provider));
        }
        Ok(url)
    }

    /// Sets where it is reached by HTTP, where the options do not say.
    pub(in crate::ai) fn reached_at(&self, url: Option<String>) {
        *self
            .reached_at
            .write()
            .unwrap_or_else(PoisonError::into_inner) = url;
    }

    /// The models there are, in Workers AI's form.
    pub(in crate::ai) async fn search(&self, search: &Search) -> Vec<Value> {
        let listing = self.models.list().await;
        let listed = listing.models.iter().map(|model| workers::Listed {
            id: model.id.clone(),
            provider: model.provider.clone(),
        });
        workers::models(&listed.collect::<Vec<_>>(), search)
    }

    /// Answers a request.
    pub(in crate::ai) async fn answer(
        self: &Arc<Self>,
        job: Job,
        call: &CallScope,
    ) -> Result<Answer, Failure> {
        let Job { gateway, asks } = job;
        let last = asks.len().saturating_sub(1);
        let mut before = 0;
        let limited = gateway.as_ref().map(|gateway| gateway.limit.check());
        for (step, ask) in asks.into_iter().enumerate() {
            let mut open = Open::new(self, gateway.as_ref(), &ask, call);
            open.account.step = u32::try_from(step).unwrap_or(u32::MAX);
            open.account.attempts_before = before;
            open.begin(&ask.parameters);
            if let Some(Err(after)) = limited {
                let error = GatewayError::rate_limited(after);
                let failed = Failed::of_gateway(&error);
                return Err(open.refuse(failed, error.into()));
            }
            if let Some(kept) = open.look_up() {
                return self.deliver(Got::kept(&kept), open, &ask);
            }
            let got = self.attempts(&mut open, &ask).await;
            before += open.account.attempts;
            match got {
                Ok(got) if step == last || !is_failure(got.status()) => {
                    return self.deliver(got, open, &ask);
                }
                Ok(got) => open.fall_back(got.status(), got.headers(), got.body()),
                Err(error) if step == last => {
                    let why = match ask.shape {
                        Shape::Workers(_) => Why::Ai(AiError::from(&error)),
                        Shape::AsIs { .. } => Why::Gateway(GatewayError::from(&error)),
                    };
                    return Err(open.refuse(Failed::of_upstream(&error), why.into()));
                }
                Err(error) => open.fall_back_after(&error),
            }
        }
        Err(GatewayError::invalid("the list has no request").into())
    }

    /// Asks one provider, as often as the rules have it.
    async fn attempts(&self, open: &mut Open, ask: &Ask) -> Result<Got, UpstreamError> {
        let mut tries = ask.rules.as_ref().map(|rules| rules.attempts.begin());
        loop {
            open.account.attempts += 1;
            open.sent();
            let got = self.attempt(open, ask).await;
            let outcome = match &got {
                Ok(got) => Outcome::Answer(got.status(), got.headers()),
                Err(error) => Outcome::Error(error),
            };
            match tries.as_mut().map(|tries| tries.after(outcome)) {
                Some(Next::Again(pause)) => {
                    drop(got);
                    tokio::time::sleep(pause).await;
                }
                Some(Next::Done | Next::GiveUp) | None => return got,
            }
        }
    }

    async fn attempt(&self, open: &mut Open, ask: &Ask) -> Result<Got, UpstreamError> {
        let mut span = open.child_span(ask);
        let sent = ask.provider.send(ask.request.clone()).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                span.fail(error.error_type(), &error.to_string());
                return Err(error);
            }
        };
        span.attribute(
            "http.response.status_code",
            i64::from(answer.status.as_u16()),
        );
        if is_failure(answer.status) {
            span.fail(&answer.status.as_u16().to_string(), answer.status.as_str());
        }
        open.answered(answer.head_at);
        // Errors are read too: whether they are tried again is decided without their body, but the next request on the
        // connection is not.
        if !is_failure(answer.status) && !reads_whole(ask, answer.status, &answer.headers) {
            return Ok(Got::Stream(answer));
        }
        let most = self.options.max_answer_bytes;
        let whole = read_whole(ask.provider.name(), answer.body, most).await;
        match whole {
            Ok(whole) => Ok(Got::Whole(answer.status, answer.headers, whole)),
            Err(error) => {
                span.fail(error.error_type(), &error.to_string());
                Err(error)
            }
        }
    }

    /// Passes an answer on, in the shape that is wanted.
    fn deliver(&self, got: Got, mut open: Open, ask: &Ask) -> Result<Answer, Failure> {
        open.head(got.status());
        match got {
            Got::Stream(answer) => Ok(self.pass_on(answer, open, ask)),
            Got::Whole(status, headers, body) => give(status, headers, body, open, ask),
        }
    }

    fn pass_on(&self, answer: UpstreamAnswer, open: Open, ask: &Ask) -> Answer {
        let UpstreamAnswer {
            status,
            headers,
            head_at: _,
            body,
        } = answer;
        open.streams();
        let name = ask.provider.name();
        let most = self.options.max_answer_bytes;
        let mut shown = match ask.shape {
            Shape::AsIs { .. } => headers.clone(),
            Shape::Workers(_) => of_type("text/event-stream"),
        };
        if open::is_stream(&headers) {
            shown.remove(CONTENT_LENGTH);
        }
        open.annotate(&mut shown);
        let tap = Tap::new(name, body, headers, ask.shape, open, most);
        Answer {
            status,
            headers: shown,
            body: Body::Stream(ByteStream::new(tap)),
        }
    }
}
