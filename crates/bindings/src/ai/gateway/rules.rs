//! The rules that one request is handled by: its gateway's, then what its headers or options say.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};
use serde_json::{Map, Value};

use super::attempts::Attempts;
use super::error::{GatewayError, quoted};
use super::metadata::{Metadata, metadata};
use super::universal::Step;
use crate::ai::account::Usage;
use crate::ai::options::{Backoff, GatewayOptions};

/// How long answers are kept for a request that has a key of its own and whose gateway caches nothing: Cloudflare's.
const TTL_OF_KEY: Duration = Duration::from_secs(5 * 60);

/// Seconds that a request may ask an answer to be kept for: Cloudflare's minute to month.
const TTL: RangeInclusive<u64> = 60..=31 * 24 * 3600;
const TIMEOUT_MS: RangeInclusive<u64> = 1..=3_600_000;
const ATTEMPTS: RangeInclusive<u64> = 1..=5;
const DELAY_MS: RangeInclusive<u64> = 0..=5000;

/// Bytes of a cache key, and of an event's id.
const MAX_KEY: usize = 1024;
const MAX_EVENT: usize = 256;

/// What one request is handled by.
///
/// Where Cloudflare documents nothing: `cacheTtl` 0 means that the answer is neither looked for nor kept.
/// `skipCache` means the same; the next request is then answered with what was kept before, if anything was. A
/// request's timeout holds for its last attempt as well, which Cloudflare waits for without an end.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ai) struct Rules {
    /// Whether the cache is bypassed.
    pub(in crate::ai) skip_cache: bool,
    /// For how long the answer is kept, if anybody said so.
    pub(in crate::ai) cache_ttl: Option<Duration>,
    /// What it is kept under, instead of all of the request.
    pub(in crate::ai) cache_key: Option<String>,
    /// What is written on its log entry.
    pub(in crate::ai) metadata: Metadata,
    /// Whether it is logged.
    pub(in crate::ai) collect_log: bool,
    /// Whether its prompt and answer are. A request may turn that off, and never on.
    pub(in crate::ai) log_content: bool,
    /// Its maker's id for it, which comes back in the response.
    pub(in crate::ai) event_id: Option<String>,
    /// How long an answer may take to begin.
    pub(in crate::ai) request_timeout: Option<Duration>,
    /// How often each provider is asked.
    pub(in crate::ai) attempts: Attempts,
    /// What it costs, instead of by the table of prices.
    pub(in crate::ai) custom_cost: Option<CustomCost>,
}

/// What a request costs, by its maker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::ai) enum CustomCost {
    /// US dollars a token.
    PerToken {
        /// That is read.
        input: f64,
        /// That is written.
        output: f64,
    },
    /// US dollars.
    Total(f64),
}

impl CustomCost {
    /// What it cost. By the token nothing is known of a request whose provider counted none.
    pub(in crate::ai) fn of(self, usage: &Usage) -> Option<f64> {
        match self {
            Self::Total(total) => Some(total),
            Self::PerToken { input, output } => {
                if usage.input.is_none() && usage.output.is_none() {
                    return None;
                }
                let tokens = |count: Option<u64>| count.unwrap_or(0) as f64;
                Some(tokens(usage.input) * input + tokens(usage.output) * output)
            }
        }
    }
}

impl Rules {
    /// A gateway's rules, for a request that says nothing.
    pub(in crate::ai) fn of_gateway(options: &GatewayOptions) -> Self {
        Self {
            skip_cache: false,
            cache_ttl: Some(options.cache_ttl).filter(|ttl| !ttl.is_zero()),
            cache_key: None,
            metadata: Metadata::new(),
            collect_log: options.collect_log,
            log_content: options.log_content,
            event_id: None,
            request_timeout: options.request_timeout,
            attempts: Attempts {
                max: options.max_attempts.clamp(1, 5),
                delay: options.retry_delay,
                backoff: options.backoff,
            },
            custom_cost: None,
        }
    }

    /// The same with what a request's headers say.
    ///
    /// # Errors
    /// The header whose value is none, and what is accepted.
    pub(in crate::ai) fn with_headers(mut self, headers: &HeaderMap) -> Result<Self, GatewayError> {
        for (rule, name) in HEADERS {
            if let Some(value) = headers.get(name) {
                let text = std::str::from_utf8(value.as_bytes())
                    .map_err(|_| GatewayError::invalid(format!("{name} is not text in UTF-8")))?;
                self.set(rule, name, Given::Text(text.trim()))?;
            }
        }
        Ok(self)
    }

    /// The same with the options that JavaScript gives to a gateway: `{cacheTtl, retries: {maxAttempts}}`. Members
    /// that are none of them are ignored, as Cloudflare does.
    ///
    /// # Errors
    /// The option whose value is none, and what is accepted.
    pub(in crate::ai) fn with_options(mut self, options: &Value) -> Result<Self, GatewayError> {
        let Some(options) = object("the gateway's options", options)? else {
            return Ok(self);
        };
        self.set_members(OPTIONS, "", options)?;
        if let Some(retries) = options.get("retries")
            && let Some(retries) = object("retries", retries)?
        {
            self.set_members(RETRIES, "retries.", retries)?;
        }
        Ok(self)
    }

    /// The rules for one request of a list, which may have headers and a `config` of its own.
    ///
    /// # Errors
    /// As [`with_headers`](Self::with_headers), with the request's index.
    pub(in crate::ai) fn for_step(&self, step: &Step) -> Result<Self, GatewayError> {
        let mut rules = self.clone();
        let config = match &step.config {
            Some(config) => rules.set_members(CONFIG, "config.", config),
            None => Ok(()),
        };
        config
            .and_then(|()| rules.with_headers(&step.headers))
            .map_err(|error| error.at(&step.place()))
    }

    /// For how long the answer is kept, or `None` when the cache is bypassed.
    pub(in crate::ai) fn caches(&self) -> Option<Duration> {
        if self.skip_cache {
            return None;
        }
        let of_key = self.cache_key.as_ref().map(|_| TTL_OF_KEY);
        self.cache_ttl.or(of_key).filter(|ttl| !ttl.is_zero())
    }

    fn set_members(
        &mut self,
        rules: &[(Rule, &str)],
        place: &str,
        members: &Map<String, Value>,
    ) -> Result<(), GatewayError> {
        for (rule, name) in rules {
            match members.get(*name) {
                None | Some(Value::Null) => {}
                Some(value) => self.set(*rule, &format!("{place}{name}"), Given::of(value))?,
            }
        }
        Ok(())
    }

    fn set(&mut self, rule: Rule, name: &str, given: Given<'_>) -> Result<(), GatewayError> {
        match rule {
            Rule::SkipCache => self.skip_cache = given.flag(name)?,
            Rule::CacheTtl => self.cache_ttl = Some(ttl(name, given)?),
            Rule::CacheKey => self.cache_key = given.text(name, MAX_KEY)?,
            Rule::Metadata => self.metadata = metadata(name, &given.json(name)?)?,
            Rule::CollectLog => self.collect_log = given.flag(name)?,
            Rule::CollectContent => self.log_content &= given.flag(name)?,
            Rule::EventId => self.event_id = given.text(name, MAX_EVENT)?,
            Rule::RequestTimeout => {
                let ms = given.whole(name, &TIMEOUT_MS, " of milliseconds")?;
                self.request_timeout = Some(Duration::from_millis(ms));
            }
            Rule::MaxAttempts => {
                let attempts = given.whole(name, &ATTEMPTS, "")?;
                self.attempts.max = u32::try_from(attempts).unwrap_or(1);
            }
            Rule::RetryDelay => {
                let ms = given.whole(name, &DELAY_MS, " of milliseconds")?;
                self.attempts.delay = Duration::from_millis(ms);
            }
            Rule::Backoff => self.attempts.backoff = backoff(name, given)?,
            Rule::CustomCost => self.custom_cost = Some(custom_cost(name, &given.json(name)?)?),
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    SkipCache,
    CacheTtl,
    CacheKey,
    Metadata,
    CollectLog,
    CollectContent,
    EventId,
    RequestTimeout,
    MaxAttempts,
    RetryDelay,
    Backoff,
    CustomCost,
}

/// The first two are the names that Cloudflare's had once, and still understands.
const HEADERS: [(Rule, &str); 14] = [
    (Rule::SkipCache, "cf-skip-cache"),
    (Rule::CacheTtl, "cf-cache-ttl"),
    (Rule::SkipCache, "cf-aig-skip-cache"),
    (Rule::CacheTtl, "cf-aig-cache-ttl"),
    (Rule::CacheKey, "cf-aig-cache-key"),
    (Rule::Metadata, "cf-aig-metadata"),
    (Rule::CollectLog, "cf-aig-collect-log"),
    (Rule::CollectContent, "cf-aig-collect-log-payload"),
    (Rule::EventId, "cf-aig-event-id"),
    (Rule::RequestTimeout, "cf-aig-request-timeout"),
    (Rule::MaxAttempts, "cf-aig-max-attempts"),
    (Rule::RetryDelay, "cf-aig-retry-delay"),
    (Rule::Backoff, "cf-aig-backoff"),
    (Rule::CustomCost, "cf-aig-custom-cost"),
];

const OPTIONS: &[(Rule, &str)] = &[
    (Rule::SkipCache, "skipCache"),
    (Rule::CacheTtl, "cacheTtl"),
    (Rule::CacheKey, "cacheKey"),
    (Rule::Metadata, "metadata"),
    (Rule::CollectLog, "collectLog"),
    (Rule::EventId, "eventId"),
    (Rule::RequestTimeout, "requestTimeoutMs"),
];

const RETRIES: &[(Rule, &str)] = &[
    (Rule::MaxAttempts, "maxAttempts"),
    (Rule::RetryDelay, "retryDelayMs"),
    (Rule::Backoff, "backoff"),
];

/// The `config` of one request of a list: Cloudflare's names.
const CONFIG: &[(Rule, &str)] = &[
    (Rule::RequestTimeout, "requestTimeout"),
    (Rule::MaxAttempts, "maxAttempts"),
    (Rule::RetryDelay, "retryDelay"),
    (Rule::Backoff, "backoff"),
    (Rule::CacheTtl, "cacheTtl"),
    (Rule::SkipCache, "skipCache"),
];

/// A header's text, or an option's value.
#[derive(Clone, Copy)]
enum Given<'a> {
    Text(&'a str),
    Json(&'a Value),
}

impl<'a> Given<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            other => Self::Json(other),
        }
    }

    fn shown(self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Json(Value::Array(_)) => "an array".to_owned(),
            Self::Json(Value::Object(_)) => "an object".to_owned(),
            Self::Json(other) => other.to_string(),
        }
    }

    fn refused(self, name: &str, accepted: &str) -> GatewayError {
        GatewayError::invalid(format!("{name} is {}; give {accepted}", self.shown()))
    }

    fn flag(self, name: &str) -> Result<bool, GatewayError> {
        match self {
            Self::Json(Value::Bool(flag)) => Ok(*flag),
            Self::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(self.refused(name, "true or false")),
            },
            Self::Json(_) => Err(self.refused(name, "true or false")),
        }
    }

    fn number(self) -> Option<u64> {
        match self {
            Self::Text(text) => text.parse().ok(),
            // JavaScript has one kind of number.
            Self::Json(Value::Number(number)) => number.as_u64().or_else(|| {
                let number = number.as_f64()?;
                let exact = number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0;
                exact.then_some(number as u64)
            }),
            Self::Json(_) => None,
        }
    }

    fn whole(
        self,
        name: &str,
        range: &RangeInclusive<u64>,
        unit: &str,
    ) -> Result<u64, GatewayError> {
        self.number()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (from, to) = (range.start(), range.end());
                self.refused(name, &format!("a whole number{unit} from {from} to {to}"))
            })
    }

    /// `None` for an empty one.
    fn text(self, name: &str, max: usize) -> Result<Option<String>, GatewayError> {
        let text = match self {
            Self::Text(text) => text,
            Self::Json(_) => return Err(self.refused(name, "text")),
        };
        match text.len() {
            0 => Ok(None),
            length if length <= max => Ok(Some(text.to_owned())),
            length => Err(GatewayError::invalid(format!(
                "{name} has {length} bytes; at most {max} are accepted"
            ))),
        }
    }

    /// An object: as it is, or as JSON text. The error does not show what may be private.
    fn json(self, name: &str) -> Result<Value, GatewayError> {
        match self {
            Self::Text(text) => serde_json::from_str(text).map_err(|error| {
                GatewayError::invalid(format!(
                    "{name} is not JSON (column {}); give an object in JSON",
                    error.column()
                ))
            }),
            Self::Json(value) => Ok(value.clone()),
        }
    }
}

/// Absent where JavaScript has `null` or `undefined`.
fn object<'a>(
    name: &str,
    value: &'a Value,
) -> Result<Option<&'a Map<String, Value>>, GatewayError> {
    match value {
        Value::Null => Ok(None),
        Value::Object(object) => Ok(Some(object)),
        other => Err(GatewayError::invalid(format!(
            "{name}: {}; give an object",
            Given::of(other).shown()
        ))),
    }
}

fn ttl(name: &str, given: Given<'_>) -> Result<Duration, GatewayError> {
    let seconds = given.number().filter(|ttl| *ttl == 0 || TTL.contains(ttl));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let (from, to) = (TTL.start(), TTL.end());
        given.refused(
            name,
            &format!("a whole number of seconds from {from} to {to}, or 0 for no caching"),
        )
    })
}

fn backoff(name: &str, given: Given<'_>) -> Result<Backoff, GatewayError> {
    let text = given.text(name, MAX_KEY)?.unwrap_or_default();
    match text.to_ascii_lowercase().as_str() {
        "constant" => Ok(Backoff::Constant),
        "linear" => Ok(Backoff::Linear),
        "exponential" => Ok(Backoff::Exponential),
        _ => Err(given.refused(name, "constant, linear or exponential")),
    }
}

fn custom_cost(name: &str, given: &Value) -> Result<CustomCost, GatewayError> {
    let wrong = || {
        GatewayError::invalid(format!(
            "{name} is not a cost; give {{\"per_token_in\": 0.000001, \"per_token_out\": 0.000002}} or \
             {{\"total_cost\": 0.01}}, in US dollars and not below 0"
        ))
    };
    let given = given.as_object().ok_or_else(wrong)?;
    let dollars = |member: &str| match given.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let dollars = value.as_f64().filter(|dollars| *dollars >= 0.0);
            dollars.map(Some).ok_or_else(wrong)
        }
    };
    if let Some(total) = dollars("total_cost")? {
        return Ok(CustomCost::Total(total));
    }
    match (dollars("per_token_in")?, dollars("per_token_out")?) {
        (None, None) => Err(wrong()),
        (input, output) => Ok(CustomCost::PerToken {
            input: input.unwrap_or(0.0),
            output: output.unwrap_or(0.0),
        }),
    }
}

/// The headers that a provider gets of a request's: not those for the gateway, for Cloudflare, for this connection, of
/// a browser, or of the caller's trace. An encoding is not asked for, since a compressed answer could not be read.
pub(in crate::ai) fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let named = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect::<Vec<_>>();
    headers
        .iter()
        .filter(|(name, _)| is_forwarded(name) && !named.iter().any(|named| named == name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn is_forwarded(name: &HeaderName) -> bool {
    const OURS: [&str; 28] = [
        "accept-encoding",
        "baggage",
        "cdn-loop",
        "connection",
        "content-length",
        "cookie",
        "cookie2",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "origin",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "referer",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "true-client-ip",
        "upgrade",
        "upgrade-insecure-requests",
        "via",
        "x-real-ip",
        "x-requested-with",
    ];
    let name = name.as_str();
    let ours = ["cf-", "x-forwarded-", "sec-", "access-control-"];
    !OURS.contains(&name) && !ours.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests;
