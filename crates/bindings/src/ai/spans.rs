//! What a request to a model says about its caller's span, after OpenTelemetry's conventions for generative AI
//! (semantic-conventions-genai, `gen_ai.*`), and what those lack, as `ai_gateway.*`.

use binding_span::{Enrichment, Limits};
use serde_json::{Map, Value};

use super::account::{Account, Cached, Operation};

/// The name of a gateway's calls, whatever they ask for; the proposal's own example.
pub(super) const GATEWAY: &str = "ai_gateway.run";

/// A span's name: `ai_gateway.run` for a gateway's calls, else `{operation} {model}`. A model whose name is too long for
/// that is an attribute alone.
fn name(account: &Account) -> String {
    let model = &account.model;
    match (&account.gateway, account.operation.name()) {
        (Some(_), _) => GATEWAY.to_owned(),
        (None, Some(operation)) => match operation.len() + 1 + model.len() {
            length if length <= Limits::DEFAULT.name_bytes => format!("{operation} {model}"),
            _ => operation.to_owned(),
        },
        (None, None) => "ai.request".to_owned(),
    }
}

/// What is known before a provider is asked.
pub(super) fn before(account: &Account) -> Enrichment {
    let mut enrichment = Enrichment::new().name(name(account));
    if let Some(operation) = account.operation.name() {
        enrichment.set_attribute("gen_ai.operation.name", operation);
    }
    enrichment.set_attribute("gen_ai.provider.name", account.semantic_provider.clone());
    if !account.model.is_empty() {
        enrichment.set_attribute("gen_ai.request.model", account.model.clone());
    }
    if account.stream {
        enrichment.set_attribute("gen_ai.request.stream", true);
    }
    if let Some(gateway) = &account.gateway {
        enrichment.set_attribute("ai_gateway.id", gateway.clone());
    }
    enrichment
}

/// Efforts of reasoning that there are: anything else may be somebody's text.
const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

/// The request's parameters, those that are numbers or names: no text of anybody's.
pub(super) fn parameters(operation: Operation, body: &Map<String, Value>) -> Enrichment {
    let mut enrichment = Enrichment::new();
    let integers = [
        ("max_tokens", "gen_ai.request.max_tokens"),
        ("max_completion_tokens", "gen_ai.request.max_tokens"),
        ("max_output_tokens", "gen_ai.request.max_tokens"),
        ("seed", "gen_ai.request.seed"),
        ("top_k", "gen_ai.request.top_k"),
        ("dimensions", "gen_ai.embeddings.dimension.count"),
    ];
    for (member, key) in integers {
        if let Some(number) = body.get(member).and_then(Value::as_i64) {
            enrichment.set_attribute(key, number);
        }
    }
    let numbers = [
        ("temperature", "gen_ai.request.temperature"),
        ("top_p", "gen_ai.request.top_p"),
        ("frequency_penalty", "gen_ai.request.frequency_penalty"),
        ("presence_penalty", "gen_ai.request.presence_penalty"),
    ];
    for (member, key) in numbers {
        if let Some(number) = body.get(member).and_then(Value::as_f64) {
            enrichment.set_attribute(key, number);
        }
    }
    // One choice is the rule and not worth an attribute.
    if let Some(choices) = body.get("n").and_then(Value::as_i64).filter(|n| *n != 1) {
        enrichment.set_attribute("gen_ai.request.choice.count", choices);
    }
    if operation == Operation::Chat {
        let effort = body.get("reasoning_effort").and_then(Value::as_str);
        if let Some(effort) = EFFORTS.into_iter().find(|it| effort == Some(*it)) {
            enrichment.set_attribute("gen_ai.request.reasoning.level", effort);
        }
        let form = body
            .get("response_format")
            .and_then(|form| form.get("type"));
        match form.and_then(Value::as_str) {
            Some("json_object" | "json_schema") => {
                enrichment.set_attribute("gen_ai.output.type", "json");
            }
            Some("text") => enrichment.set_attribute("gen_ai.output.type", "text"),
            _ => {}
        }
    }
    let encoding = body.get("encoding_format").and_then(Value::as_str);
    if let (Operation::Embeddings, Some(encoding @ ("float" | "base64"))) = (operation, encoding) {
        let formats = vec![encoding.to_owned()];
        enrichment.set_attribute("gen_ai.request.encoding_formats", formats);
    }
    enrichment
}

/// What is known when the answer's first byte has come.
pub(super) fn first_chunk(account: &Account) -> Enrichment {
    let mut enrichment = Enrichment::new();
    // Of an answer in one piece it would say nothing that the span's duration does not.
    if let (true, Some(after)) = (account.stream, account.first_chunk) {
        enrichment.set_attribute("gen_ai.response.time_to_first_chunk", after.as_secs_f64());
    }
    enrichment
}

/// What is known when the answer's head has come, and belongs to the gateway.
pub(super) fn answered(account: &Account) -> Enrichment {
    let mut enrichment = Enrichment::new();
    if account.gateway.is_some() {
        if let Some(cached) = account.cached {
            let cached = match cached {
                Cached::Hit => "hit",
                Cached::Miss => "miss",
            };
            enrichment.set_attribute("ai_gateway.cache", cached);
        }
        let attempts = account.attempts_before + account.attempts;
        enrichment.set_attribute("ai_gateway.attempts", i64::from(attempts));
        if account.step > 0 {
            enrichment.set_attribute("ai_gateway.fallback", i64::from(account.step));
        }
        if let Some(id) = &account.log_id {
            enrichment.set_attribute("ai_gateway.log.id", id.clone());
        }
    }
    if let (Some(_), Some(status)) = (&account.error_type, account.status) {
        enrichment.set_attribute("http.response.status_code", i64::from(status));
    }
    enrichment
}

/// What is known when the answer has ended.
pub(super) fn after(account: &Account) -> Enrichment {
    let mut enrichment = first_chunk(account);
    enrichment.merge(answered(account));
    let reading = &account.reading;
    if let Some(id) = &reading.id {
        enrichment.set_attribute("gen_ai.response.id", id.clone());
    }
    if let Some(model) = &reading.model {
        enrichment.set_attribute("gen_ai.response.model", model.clone());
    }
    if !reading.finish_reasons.is_empty() {
        let reasons = reading.finish_reasons.clone();
        enrichment.set_attribute("gen_ai.response.finish_reasons", reasons);
    }
    let usage = &reading.usage;
    let tokens = [
        ("gen_ai.usage.input_tokens", usage.input),
        ("gen_ai.usage.output_tokens", usage.output),
        ("gen_ai.usage.cache_read.input_tokens", usage.cached_input),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
    ];
    for (key, count) in tokens {
        if let Some(count) = count {
            enrichment.set_attribute(key, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    if let Some(cost) = account.cost {
        enrichment.set_attribute("gen_ai.usage.cost", cost);
    }
    if let Some(kind) = &account.error_type {
        enrichment.set_attribute("error.type", kind.clone());
    }
    enrichment
}

/// A call about a gateway's log.
pub(super) fn of_log(name: &'static str, gateway: &str, id: &str) -> Enrichment {
    Enrichment::new()
        .name(name)
        .attribute("ai_gateway.id", gateway.to_owned())
        .attribute("ai_gateway.log.id", id.to_owned())
}
