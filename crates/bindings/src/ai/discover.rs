//! Which servers of models are on this machine.

use std::time::Duration;

use futures::StreamExt;

use super::models;
use super::upstream::local_client;

/// How long connecting may take: on one's own machine it is done at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

/// How long the answer may take, all of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a list of models may be, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// How many models are named.
const MAX_MODELS: usize = 100;

/// Where a server of models may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What is usually there.
    pub what: &'static str,
    /// What OpenAI's paths are below.
    pub url: String,
}

/// A server of models that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is usually there.
    pub what: &'static str,
    /// What OpenAI's paths are below.
    pub url: String,
    /// Models that it lists; the first hundred, if there are more.
    pub models: Vec<String>,
}

/// Where servers of models listen on one's own machine, unless somebody set them up otherwise.
pub fn usual_servers() -> Vec<Candidate> {
    let usual = [
        ("Ollama", "http://127.0.0.1:11434/v1"),
        ("LM Studio", "http://127.0.0.1:1234/v1"),
        ("llama.cpp", "http://127.0.0.1:8080/v1"),
        ("vLLM", "http://127.0.0.1:8000/v1"),
        ("LiteLLM", "http://127.0.0.1:4000/v1"),
    ];
    let candidate = |(what, url): (_, &str)| Candidate {
        what,
        url: url.to_owned(),
    };
    usual.map(candidate).into()
}

/// Looks which of them answer, all at once; in their order. Only what lists models as OpenAI does counts, for other
/// programs listen there as well.
pub async fn discover(candidates: &[Candidate]) -> Vec<Found> {
    let Ok(client) = local_client(CONNECT_TIMEOUT, ANSWER_TIMEOUT) else {
        return Vec::new();
    };
    let looks = candidates.iter().map(|candidate| look(&client, candidate));
    let found = futures::future::join_all(looks).await;
    found.into_iter().flatten().collect()
}

async fn look(client: &reqwest::Client, candidate: &Candidate) -> Option<Found> {
    let url = format!("{}/models", candidate.url.trim_end_matches('/'));
    let answer = client.get(url).send().await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let mut bytes = Vec::new();
    let mut body = answer.bytes_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.ok()?;
        if bytes.len() + chunk.len() > MAX_BYTES {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    let listed = models::read(&bytes)?;
    Some(Found {
        what: candidate.what,
        url: candidate.url.clone(),
        models: listed
            .into_iter()
            .take(MAX_MODELS)
            .map(|it| it.id)
            .collect(),
    })
}

#[cfg(test)]
mod tests;
