//! What a gateway keeps of a request and its answer: a cached answer and a log entry.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, StatusCode};

use super::super::account::{Account, Cached};
use super::super::gateway::{Key, Recording, Rules};
use super::super::logs::{Entry, Head};
use super::Ask;
use super::gateways::Gateway;

/// What a gateway keeps of a request and its answer.
pub(super) struct Keeping {
    pub(super) gateway: Arc<Gateway>,
    pub(super) rules: Rules,
    /// Where the answer is kept, if it is.
    pub(super) key: Option<Key>,
    pub(super) recording: Recording,
    pub(super) log: Option<Logged>,
}

/// What a log entry has that the account has not.
pub(super) struct Logged {
    pub(super) path: String,
    pub(super) request_type: Option<String>,
    pub(super) request_size: u64,
    pub(super) request_head: Option<Bytes>,
    pub(super) response_type: Option<String>,
    pub(super) response_size: u64,
    pub(super) response_head: Option<Vec<u8>>,
}

impl Keeping {
    pub(super) fn new(gateway: &Arc<Gateway>, ask: &Ask) -> Self {
        let rules = ask.rules.clone();
        let rules = rules.unwrap_or_else(|| Rules::of_gateway(&gateway.options));
        let id = &gateway.options.id;
        let request = &ask.request;
        let may_keep = request.method == Method::POST && rules.caches().is_some();
        let key = may_keep.then(|| match &rules.cache_key {
            // An answer of another form would be of no use to whoever asks: OpenAI's `responses` and Anthropic's
            // `messages` are chats, too.
            Some(key) => {
                let operation = ask.operation.name().unwrap_or_default();
                let path = request.path.split('?').next().unwrap_or_default();
                let form = path
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default();
                Key::custom(id, &format!("{operation} {form} {} {key}", ask.stream))
            }
            None => Key::of(
                id,
                ask.provider.name(),
                &request.path,
                &request.headers,
                &request.body,
            ),
        });
        let log = rules.collect_log.then(|| Logged {
            // The query may have a key in it: some providers take theirs there.
            path: request
                .path
                .split('?')
                .next()
                .unwrap_or_default()
                .to_owned(),
            request_type: text_of(&request.headers, &CONTENT_TYPE),
            request_size: request.body.len() as u64,
            request_head: rules.log_content.then(|| {
                let end = request.body.len().min(Head::MAX);
                request.body.slice(..end)
            }),
            response_type: None,
            response_size: 0,
            response_head: rules.log_content.then(Vec::new),
        });
        Self {
            recording: match key {
                Some(_) => gateway.cache.record(),
                None => Recording::off(),
            },
            gateway: Arc::clone(gateway),
            rules,
            key,
            log,
        }
    }
}

impl Logged {
    pub(super) fn entry(
        self,
        account: &Account,
        rules: &Rules,
        arrived: SystemTime,
        own_status: Option<StatusCode>,
    ) -> Entry {
        let head =
            |head: Option<&[u8]>, size| head.map_or_else(Head::none, |it| Head::of(it, size));
        Entry {
            id: account.log_id.clone().unwrap_or_default(),
            gateway: account.gateway.clone().unwrap_or_default(),
            provider: account.provider.clone(),
            model: account.model.clone(),
            model_type: account.operation.name().map(str::to_owned),
            request_type: Some(if account.stream { "stream" } else { "whole" }.to_owned()),
            path: self.path,
            duration: account.duration,
            request_content_type: self.request_type,
            // The caller's, if no provider answered.
            status_code: account
                .status
                .or(own_status.map(|status| status.as_u16()))
                .unwrap_or_default(),
            response_content_type: self.response_type,
            success: account.error_type.is_none(),
            cached: account.cached == Some(Cached::Hit),
            tokens_in: account.reading.usage.input,
            tokens_out: account.reading.usage.output,
            metadata: rules.metadata.clone(),
            step: Some(account.step),
            cost: account.cost,
            custom_cost: account.custom_cost,
            request_size: self.request_size,
            request_head: head(self.request_head.as_deref(), self.request_size),
            response_size: self.response_size,
            response_head: head(self.response_head.as_deref(), self.response_size),
            created_at: arrived,
        }
    }
}

/// A header's value for the log.
pub(super) fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.chars().take(128).collect())
}
