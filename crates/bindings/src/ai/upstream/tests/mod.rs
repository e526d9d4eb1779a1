//! Providers against real sockets.

mod circuit;
mod keys;
mod limits;
mod requests;
pub(in crate::ai) mod server;
mod streams;
mod tls;
mod urls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderMap, HeaderValue, Method};

use super::{Provider, UpstreamAnswer, UpstreamBody, UpstreamError, UpstreamRequest};
use crate::ai::options::{Endpoint, ProviderOptions, Secret};
use server::Server;

/// A provider at a server's `/v1`.
fn options(server: &Server) -> ProviderOptions {
    ProviderOptions::new("local", Endpoint::Http(server.url("/v1")))
}

fn open(options: ProviderOptions) -> Arc<Provider> {
    Provider::open(options).expect("it can be opened")
}

fn key(text: &'static str) -> Option<Secret> {
    Some(Secret::Value(HeaderValue::from_static(text)))
}

fn chat() -> UpstreamRequest {
    UpstreamRequest {
        method: Method::POST,
        path: "chat/completions".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        timeout: None,
    }
}

fn with(name: &'static str, value: &'static str) -> UpstreamRequest {
    let mut request = chat();
    request
        .headers
        .insert(name, HeaderValue::from_static(value));
    request
}

async fn text(body: UpstreamBody) -> Result<String, UpstreamError> {
    let chunks: Vec<Bytes> = body.try_collect().await?;
    Ok(String::from_utf8(chunks.concat()).expect("it is text"))
}

async fn error(provider: &Provider, request: UpstreamRequest) -> UpstreamError {
    provider.send(request).await.err().expect("it fails")
}

async fn answer(provider: &Provider, request: UpstreamRequest) -> UpstreamAnswer {
    provider.send(request).await.expect("it is answered")
}

/// Polls until something is so.
async fn until(what: impl Fn() -> bool) {
    let polls = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let polls = tokio::time::timeout(Duration::from_secs(5), polls);
    polls.await.expect("it becomes so within 5 s");
}
