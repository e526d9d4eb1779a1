//! A provider: one pooled client, with what may be asked of it and how.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::admission::Admission;
use super::body::Body;
use super::breaker::{Attempt, Breaker};
use super::key::Key;
use super::url::Base;
use super::{UpstreamAnswer, UpstreamError, UpstreamRequest, failure, headers, tls, url};
use crate::ai::binding::{OpenError, ProviderStatus};
use crate::ai::builtin;
use crate::ai::options::{Endpoint, ProviderOptions};

/// What the client calls itself.
const OWN_NAME: HeaderValue =
    HeaderValue::from_static(concat!("binding-span/", env!("CARGO_PKG_VERSION")));

/// How long a connection is kept that nobody uses. Servers in Python close theirs after 5 s by default, and a request
/// that crosses with the closing would fail.
const KEPT: Duration = Duration::from_secs(4);

/// The same under TLS, where a new one takes longer, and servers wait longer.
const KEPT_TLS: Duration = Duration::from_secs(50);

/// How many connections are kept that nobody uses.
const MAX_KEPT: usize = 64;

/// Somebody who runs models, ready to be asked.
pub(in crate::ai) struct Provider {
    options: ProviderOptions,
    admission: Admission,
    breaker: Option<Arc<Breaker>>,
    target: Target,
}

enum Target {
    Http(Box<Http>),
    Builtin,
}

struct Http {
    client: reqwest::Client,
    base: Base,
    key: Option<Key>,
    /// Those that every request has.
    headers: HeaderMap,
    keep_credentials: bool,
}

/// An answer that has begun.
struct Begun {
    status: StatusCode,
    headers: HeaderMap,
    head_at: Instant,
    first: Option<Bytes>,
    rest: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

/// Why none has.
struct Failed {
    error: UpstreamError,
    /// Whether that is the provider's fault, and not the request's.
    counts: bool,
}

impl Provider {
    /// Gets ready. The provider is not asked for anything.
    ///
    /// # Errors
    /// When an option is invalid, or files that they name cannot be read.
    pub(in crate::ai) fn open(options: ProviderOptions) -> Result<Arc<Self>, OpenError> {
        let wrong =
            |reason: String| OpenError::Options(format!("provider {:?}: {reason}", options.name));
        check(&options).map_err(wrong)?;
        let target = match &options.endpoint {
            Endpoint::Builtin => Target::Builtin,
            Endpoint::Http(uri) => {
                let base = Base::new(uri).map_err(|reason| wrong(format!("its URL: {reason}")))?;
                Target::Http(Box::new(Http::new(&options, base).map_err(wrong)?))
            }
        };
        let breaker = match (options.break_after, &target) {
            (0, _) | (_, Target::Builtin) => None,
            (failures, _) => Some(Breaker::new(&options.name, failures, options.break_for)),
        };
        Ok(Arc::new(Self {
            admission: Admission::new(options.max_in_flight, options.max_waiting),
            breaker,
            target,
            options,
        }))
    }

    /// What it was opened with.
    pub(in crate::ai) fn options(&self) -> &ProviderOptions {
        &self.options
    }

    /// What it is called here.
    pub(in crate::ai) fn name(&self) -> &str {
        &self.options.name
    }

    /// `gen_ai.provider.name`.
    pub(in crate::ai) fn semantic_name(&self) -> &str {
        let given = self.options.semantic_name.as_deref();
        given.unwrap_or(&self.options.name)
    }

    /// How it is doing.
    pub(in crate::ai) fn status(&self) -> ProviderStatus {
        ProviderStatus {
            name: self.options.name.clone(),
            in_flight: self.admission.in_flight(),
            waiting: self.admission.waiting(),
            circuit_open: self.breaker.as_ref().is_some_and(|it| it.is_open()),
        }
    }

    /// Asks it, and waits until its answer has begun: its head, and the first byte of its body. Dropped before that, the
    /// connection is closed.
    ///
    /// Waiting for a permit may take as long as the answer's beginning, and does not count for that.
    ///
    /// # Errors
    /// When it was not asked, or did not answer. Any status is an answer, except that it lies elsewhere.
    pub(in crate::ai) async fn send(
        &self,
        request: UpstreamRequest,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        check_request(&request)?;
        let limit = request.timeout.unwrap_or(self.options.timeout);
        if let Some(breaker) = &self.breaker {
            breaker.check().map_err(|wait| self.left_alone(wait))?;
        }
        let permit = self.admission.permit(self.name(), limit).await?;
        let mut attempt = match &self.breaker {
            Some(breaker) => breaker.begin().map_err(|wait| self.left_alone(wait))?,
            None => Attempt::uncounted(),
        };
        let begun = match &self.target {
            Target::Http(http) => self.ask(http, request, limit).await,
            Target::Builtin => ask_builtin(request).await,
        };
        match begun {
            Ok(begun) => Ok(self.pass_on(begun, attempt, permit)),
            Err(failed) => {
                if failed.counts {
                    attempt.failed();
                }
                Err(failed.error)
            }
        }
    }

    fn pass_on(
        &self,
        begun: Begun,
        mut attempt: Attempt,
        permit: OwnedSemaphorePermit,
    ) -> UpstreamAnswer {
        let Begun {
            status,
            headers,
            head_at,
            first,
            rest,
        } = begun;
        match status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            true => attempt.failed(),
            false => attempt.began(),
        }
        let idle = self.options.idle_timeout;
        let body = Body::new(self.name(), first, rest, idle, attempt, permit);
        UpstreamAnswer {
            status,
            headers,
            head_at,
            body: Box::pin(body),
        }
    }

    async fn ask(
        &self,
        http: &Http,
        request: UpstreamRequest,
        limit: Duration,
    ) -> Result<Begun, Failed> {
        let request = http.request(self.name(), request).map_err(Failed::ours)?;
        match tokio::time::timeout(limit, self.exchange(http, request)).await {
            Ok(answer) => answer,
            // Who wants an answer sooner than the provider has to give it says nothing about the provider.
            Err(_) => Err(Failed {
                error: UpstreamError::Timeout {
                    name: self.name().to_owned(),
                    after: limit,
                },
                counts: limit >= self.options.timeout,
            }),
        }
    }

    async fn exchange(&self, http: &Http, request: reqwest::Request) -> Result<Begun, Failed> {
        let (name, connect_timeout) = (self.name().to_owned(), self.options.connect_timeout);
        let broken = move |error| failure::of(&name, connect_timeout, error);
        let answer = http.client.execute(request).await;
        let answer = answer.map_err(|error| Failed::theirs(broken(error)))?;
        let head_at = Instant::now();
        let status = answer.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(Failed::ours(UpstreamError::Broken {
                name: self.name().to_owned(),
                reason: format!(
                    "it redirects ({}), which is not followed, for that would take keys elsewhere; use the URL that it \
                     redirects to",
                    status.as_u16()
                ),
            }));
        }
        if status.is_informational() {
            return Err(Failed::theirs(UpstreamError::Broken {
                name: self.name().to_owned(),
                reason: format!("it answers with {}, and no more", status.as_u16()),
            }));
        }
        let headers = headers::from_provider(answer.headers().clone());
        let mut rest = answer.bytes_stream().map_err(broken).boxed();
        let first = rest.try_next().await.map_err(Failed::theirs)?;
        Ok(Begun {
            status,
            headers,
            head_at,
            first,
            rest,
        })
    }

    fn left_alone(&self, wait: Duration) -> UpstreamError {
        UpstreamError::Open {
            name: self.name().to_owned(),
            retry_after: wait,
        }
    }
}

async fn ask_builtin(request: UpstreamRequest) -> Result<Begun, Failed> {
    let answer = builtin::answer(&request).map_err(Failed::ours)?;
    let mut rest = answer.body;
    let first = rest.try_next().await.map_err(Failed::ours)?;
    Ok(Begun {
        status: answer.status,
        headers: answer.headers,
        head_at: answer.head_at,
        first,
        rest,
    })
}

impl Failed {
    fn ours(error: UpstreamError) -> Self {
        let counts = false;
        Self { error, counts }
    }

    fn theirs(error: UpstreamError) -> Self {
        let counts = true;
        Self { error, counts }
    }
}

impl Http {
    fn new(options: &ProviderOptions, base: Base) -> Result<Self, String> {
        let key = match &options.key {
            None => None,
            Some(secret) => Some(
                Key::open(secret, &options.key_header)
                    .map_err(|reason| format!("its key cannot be used: {reason}"))?,
            ),
        };
        let mut own = options.headers.clone();
        for value in own.values_mut() {
            value.set_sensitive(true);
        }
        let keep_credentials = key.is_none() && !own.keys().any(headers::is_credential);
        own.entry(USER_AGENT).or_insert(OWN_NAME);
        Ok(Self {
            client: client(options, &base)?,
            base,
            key,
            headers: own,
            keep_credentials,
        })
    }

    fn request(
        &self,
        name: &str,
        request: UpstreamRequest,
    ) -> Result<reqwest::Request, UpstreamError> {
        let url = self.base.join(&request.path)?;
        let mut headers = headers::to_provider(request.headers, self.keep_credentials);
        for name in self.headers.keys() {
            headers.remove(name);
            for value in self.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        if let Some(key) = &self.key {
            let value = key.value().map_err(|reason| UpstreamError::Key {
                name: name.to_owned(),
                reason,
            })?;
            headers.insert(key.header(), value);
        }
        let wants_body = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
        if wants_body && request.body.is_empty() {
            // The client leaves it out, and servers wait for a body or refuse the request (RFC 9110, 8.6).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut to_send = reqwest::Request::new(request.method, url);
        *to_send.headers_mut() = headers;
        if !request.body.is_empty() {
            *to_send.body_mut() = Some(request.body.into());
        }
        Ok(to_send)
    }
}

/// A client for what is on this machine: without keys, TLS and proxies.
pub(in crate::ai) fn local_client(
    connect_timeout: Duration,
    timeout: Duration,
) -> Result<reqwest::Client, String> {
    let builder = plain(tls::unused()?)
        .no_proxy()
        .user_agent(OWN_NAME)
        .connect_timeout(connect_timeout)
        .timeout(timeout);
    builder
        .build()
        .map_err(|error| format!("no client: {}", failure::reason(&error)))
}

/// One that asks for what it is asked for, once, and keeps nothing.
fn plain(tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
}

fn client(options: &ProviderOptions, base: &Base) -> Result<reqwest::Client, String> {
    let tls = match base.is_tls() {
        true => tls::config(options.certificate_authorities.as_deref())?,
        false => tls::unused()?,
    };
    let kept = if base.is_tls() { KEPT_TLS } else { KEPT };
    let mut builder = plain(tls)
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(kept)
        .pool_max_idle_per_host(options.max_in_flight.min(MAX_KEPT));
    // A proxy would not find what is on this machine.
    if base.is_local() {
        builder = builder.no_proxy();
    }
    let wrong = |error| format!("no client: {}", failure::reason(&error));
    builder.build().map_err(wrong)
}

/// What no provider can have.
fn check(options: &ProviderOptions) -> Result<(), String> {
    let wrong_name = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    if options.name.is_empty() || options.name.contains(wrong_name) {
        return Err("its name must have a character, and no `/` or space".to_owned());
    }
    if options.max_in_flight == 0 {
        return Err("it may have no request in flight; it takes at least 1".to_owned());
    }
    let times = [
        ("connecting", options.connect_timeout),
        ("an answer", options.timeout),
        ("a silent stream", options.idle_timeout),
    ];
    if let Some((what, _)) = times.iter().find(|(_, time)| time.is_zero()) {
        return Err(format!("it gives no time for {what}; it takes more than 0"));
    }
    let mut names = options.headers.keys().chain([&options.key_header]);
    match names.find(|name| !headers::can_be_set(name)) {
        Some(name) => Err(format!("the header {name} is set by the connection itself")),
        None => Ok(()),
    }
}

/// What no provider is asked, whoever wants it.
fn check_request(request: &UpstreamRequest) -> Result<(), UpstreamError> {
    let refused = |reason| UpstreamError::Request { reason };
    // TRACE would show the key to the caller, and CONNECT would give it the connection.
    if matches!(request.method, Method::TRACE | Method::CONNECT) {
        return Err(refused("its method is TRACE or CONNECT"));
    }
    url::check(&request.path).map_err(refused)
}
