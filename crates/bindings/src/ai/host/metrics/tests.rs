//! What is counted, without a program around it.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::ai::{Endpoint, ModelRule, ProviderOptions, Reading, Usage};

/// All samples, each as a line: a name, labels, and what there is.
fn lines(models: &Models) -> Vec<String> {
    let all = catalog::ALL.iter();
    let all = all.flat_map(|metric| {
        let samples = models.samples(metric).into_iter();
        samples.map(|Sample { labels, value }| {
            let labels = labels.iter().map(|(key, value)| format!("{key}={value:?}"));
            let labels = labels.collect::<Vec<_>>().join(",");
            let value = match value {
                Value::Count(count) => count.to_string(),
                Value::Amount(amount) => amount.to_string(),
                Value::Times(took) => format!("{} in {}s", took.count, took.sum),
            };
            format!("{}{{{labels}}} {value}", metric.name)
        })
    });
    all.collect()
}

/// A request to a model that went well.
fn account(model: &str) -> Account {
    Account {
        operation: Operation::Chat,
        provider: "local".into(),
        semantic_provider: "ollama".into(),
        model: model.into(),
        stream: true,
        gateway: None,
        reading: Reading {
            usage: Usage {
                input: Some(5),
                output: Some(7),
                ..Usage::default()
            },
            ..Reading::default()
        },
        status: Some(200),
        error_type: None,
        cached: None,
        attempts: 1,
        attempts_before: 0,
        step: 0,
        log_id: None,
        cost: Some(0.25),
        custom_cost: false,
        first_chunk: Some(Duration::from_millis(300)),
        latency: Some(Duration::from_millis(200)),
        duration: Duration::from_secs(1),
    }
}

/// A sink of a binding with a provider, one named model and a pattern.
fn sink(models: &Models) -> Arc<dyn AccountSink> {
    let rule = |pattern: &str| ModelRule {
        pattern: pattern.into(),
        provider: None,
        model: None,
        price: None,
    };
    let options = AiOptions {
        providers: vec![ProviderOptions::new("local", Endpoint::Builtin)],
        models: vec![rule("named"), rule("@cf/*")],
        ..AiOptions::default()
    };
    models.sink("AI", &options).unwrap()
}

#[test]
fn requests_to_models_are_counted_with_tokens_cost_and_time() {
    let models = Models::new(true);
    let sink = sink(&models);
    sink.settled(&account("named"));
    sink.settled(&Account {
        attempts: 4,
        step: 1,
        cached: Some(Cached::Miss),
        error_type: Some("upstream_timeout".into()),
        reading: Reading::default(),
        latency: None,
        first_chunk: None,
        cost: None,
        ..account("named")
    });
    // What a cache answers costs neither tokens nor time.
    sink.settled(&Account {
        attempts: 0,
        cached: Some(Cached::Hit),
        ..account("named")
    });
    let lines = lines(&models);
    let of = "binding=\"AI\",provider=\"local\"";
    for expected in [
        format!("binding_span_ai_requests{{{of},operation=\"chat\",outcome=\"ok\"}} 2"),
        format!(
            "binding_span_ai_requests{{{of},operation=\"chat\",outcome=\"upstream_timeout\"}} 1"
        ),
        format!("binding_span_ai_tokens{{{of},model=\"named\",type=\"input\"}} 5"),
        format!("binding_span_ai_tokens{{{of},model=\"named\",type=\"output\"}} 7"),
        format!("binding_span_ai_cost_dollars{{{of},model=\"named\"}} 0.25"),
        "binding_span_ai_cache_lookups{binding=\"AI\",result=\"hit\"} 1".into(),
        "binding_span_ai_cache_lookups{binding=\"AI\",result=\"miss\"} 1".into(),
        format!("binding_span_ai_retries{{{of}}} 3"),
        format!("binding_span_ai_fallbacks{{{of}}} 1"),
        format!("binding_span_ai_upstream_latency_seconds{{{of}}} 1 in 0.2s"),
        format!("binding_span_ai_first_chunk_seconds{{{of}}} 1 in 0.3s"),
    ] {
        assert!(lines.contains(&expected), "{expected}\n{lines:#?}");
    }
    let cached = lines.iter().find(|line| line.contains("cached_input"));
    assert_eq!(cached, None);
}

#[test]
fn callers_choose_neither_how_many_models_nor_which_providers_there_are() {
    let models = Models::new(true);
    let sink = sink(&models);
    for i in 0..10_000 {
        sink.settled(&account(&format!("made up {i}")));
        sink.settled(&Account {
            provider: format!("made up {i}"),
            error_type: Some(format!("made up {i}")),
            ..account("named")
        });
    }
    sink.settled(&account("named"));
    let lines = lines(&models);
    // 64 models with three series and a rest, 32 outcomes, two histograms; and those of `_other`.
    assert!(lines.len() < 500, "{}", lines.len());
    let models: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("binding_span_ai_cost_dollars{"))
        .filter(|line| line.contains("provider=\"local\""))
        .collect();
    // One of them is configured and has its label, though it came last; the rest share one.
    assert_eq!(models.len(), MODELS + 1);
    assert!(
        models.iter().any(|line| line.contains("model=\"named\"")),
        "{models:?}"
    );
    assert!(
        models.iter().any(|line| line.contains("model=\"_other\"")),
        "{models:?}"
    );
    let made_up = lines
        .iter()
        .find(|line| line.contains("provider=\"made up"));
    assert_eq!(made_up, None);
}
