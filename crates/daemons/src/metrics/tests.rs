//! The sink without a program around it.

use std::time::{Duration, SystemTime};

use binding_span::{InvocationId, SpanContext, SpanKind};
use bindings::ai::{
    Account, AccountSink, AiOptions, Cached, Endpoint, ModelRule, Operation, ProviderOptions,
    Reading, Usage,
};

use super::calls::{METHODS, METHODS_CALLED};
use super::catalog::Kind;
use super::models::MODELS;
use super::*;

/// One call, from its span's opening to its end.
fn call(metrics: &Metrics, binding: &str, method: &str, outcome: Outcome) {
    let span = SpanRef {
        context: SpanContext::root(),
        invocation: InvocationId::default(),
    };
    let attributes = [
        Attribute::new("jsrpc.binding", binding.to_owned()),
        Attribute::new("jsrpc.method", method.to_owned()),
    ];
    let time = SystemTime::now();
    metrics.open(&SpanOpen {
        span,
        parent: None,
        name: "jsRpcSession",
        kind: SpanKind::Client,
        root: true,
        time,
        attributes: &attributes,
    });
    metrics.rename(span, "d1.query");
    metrics.attributes(span, &attributes);
    let error = ErrorInfo {
        kind: "TypeError",
        message: "no",
    };
    let error = (outcome != Outcome::Ok).then_some(error);
    metrics.returned(span, outcome, error);
    metrics.close(&SpanClose {
        span,
        outcome,
        error,
        time,
    });
}

fn new() -> Arc<Metrics> {
    Metrics::new("test", &NetworkStats::default())
}

/// The lines that begin with this.
fn lines<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    text.lines()
        .filter(|line| line.starts_with(begin))
        .collect()
}

#[test]
fn ten_thousand_methods_make_as_many_series_as_a_binding_may_have() {
    let metrics = new();
    for i in 0..10_000 {
        call(&metrics, "DB", &format!("made up {i}"), Outcome::Exception);
    }
    call(&metrics, "AI", "run", Outcome::Ok);
    let calls = |text: &str| lines(text, "binding_span_calls_total{").len();
    let text = metrics.text(Format::Open).unwrap();
    assert_eq!(calls(&text), METHODS_CALLED + 1 + 1, "{text}");
    let other = "binding_span_calls_total{side=\"client\",binding=\"DB\",method=\"_other\",\
                 outcome=\"exception\"} ";
    let rest = 10_000 - METHODS_CALLED;
    assert_eq!(lines(&text, other), [format!("{other}{rest}")]);
    // Those that are there get labels, up to a bound.
    for i in 0..10_000 {
        call(&metrics, "DB", &format!("real {i}"), Outcome::Ok);
    }
    let text = metrics.text(Format::Open).unwrap();
    let ok = "binding_span_calls_total{side=\"client\",binding=\"DB\",method=\"real 0\",\
              outcome=\"ok\"} 1";
    assert_eq!(lines(&text, ok), [ok]);
    // `_other` has two by now: one for each outcome.
    assert_eq!(calls(&text), METHODS + 2 + 1);
    assert!(text.len() < 300_000, "{}", text.len());
}

#[test]
fn a_call_counts_once_however_it_ends() {
    let metrics = new();
    let span = SpanRef {
        context: SpanContext::root(),
        ..SpanRef::default()
    };
    let open = SpanOpen {
        span,
        parent: None,
        name: "jsrpc.serve",
        kind: SpanKind::Server,
        root: true,
        time: SystemTime::now(),
        attributes: &[],
    };
    let close = SpanClose {
        span,
        outcome: Outcome::Canceled,
        error: None,
        time: SystemTime::now(),
    };
    let counts = |of: &str| {
        let text = metrics.text(Format::Open).unwrap();
        let found = lines(&text, of).first().map(|line| (*line).to_owned());
        found.unwrap_or_default()
    };
    let (flying, spans) = (
        "binding_span_calls_in_flight{side=\"server\"}",
        "binding_span_spans_open{side=\"server\"}",
    );
    // Abandoned: it never returned.
    metrics.open(&open);
    assert_eq!(counts(flying), format!("{flying} 1"));
    metrics.close(&close);
    assert!(counts("binding_span_calls_total").ends_with("outcome=\"canceled\"} 1"));
    assert!(counts("binding_span_call_errors_total").ends_with("error_type=\"canceled\"} 1"));
    // Held open after it returned.
    metrics.open(&open);
    metrics.returned(span, Outcome::Ok, None);
    assert_eq!(counts(flying), format!("{flying} 0"));
    assert_eq!(counts(spans), format!("{spans} 1"));
    metrics.returned(span, Outcome::Ok, None);
    metrics.close(&close);
    assert_eq!(counts(spans), format!("{spans} 0"));
    assert!(counts("binding_span_calls_total").ends_with("outcome=\"ok\"} 1"));
    // One that is not known changes nothing.
    metrics.close(&close);
    assert_eq!(counts(spans), format!("{spans} 0"));
}

#[test]
fn the_classic_format_has_the_same_samples_below_families_of_their_names() {
    let metrics = new();
    // Words of a peer that look like lines of their own.
    let method = "q\n# EOF\n# TYPE binding_span_calls \"x\"";
    call(&metrics, "DB", method, Outcome::Ok);
    // Else it grows meanwhile.
    let steady = |text: String| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("process_"));
        lines.map(str::to_owned).collect()
    };
    let open = steady(metrics.text(Format::Open).unwrap());
    let classic = steady(metrics.text(Format::Classic).unwrap());
    assert_eq!(open.len(), classic.len() + 1);
    assert_eq!(open.last().unwrap(), "# EOF");
    for (open, classic) in open.iter().zip(&classic) {
        let Some((what, rest)) = open
            .split_at_checked(7)
            .filter(|(what, _)| what.starts_with("# "))
        else {
            assert_eq!(open, classic);
            continue;
        };
        let (name, says) = rest.split_once(' ').unwrap();
        let kind = catalog::ALL
            .iter()
            .find(|metric| metric.name == name)
            .unwrap()
            .kind;
        let (suffix, says) = match (kind, what) {
            (Kind::Counter, _) => ("_total", says),
            (Kind::Info, "# TYPE ") => ("_info", "gauge"),
            (Kind::Info, _) => ("_info", says),
            _ => ("", says),
        };
        assert_eq!(*classic, format!("{what}{name}{suffix} {says}"));
    }
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
fn sink(metrics: &Metrics) -> Arc<dyn AccountSink> {
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
    metrics.models.sink("AI", &options).unwrap()
}

#[test]
fn requests_to_models_are_counted_with_tokens_cost_and_time() {
    let metrics = new();
    let sink = sink(&metrics);
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
    let text = metrics.text(Format::Open).unwrap();
    let of = "binding=\"AI\",provider=\"local\"";
    for expected in [
        format!("binding_span_ai_requests_total{{{of},operation=\"chat\",outcome=\"ok\"}} 2"),
        format!(
            "binding_span_ai_requests_total{{{of},operation=\"chat\",outcome=\"upstream_timeout\"}} 1"
        ),
        format!("binding_span_ai_tokens_total{{{of},model=\"named\",type=\"input\"}} 5"),
        format!("binding_span_ai_tokens_total{{{of},model=\"named\",type=\"output\"}} 7"),
        format!("binding_span_ai_cost_dollars_total{{{of},model=\"named\"}} 0.25"),
        "binding_span_ai_cache_lookups_total{binding=\"AI\",result=\"hit\"} 1".into(),
        "binding_span_ai_cache_lookups_total{binding=\"AI\",result=\"miss\"} 1".into(),
        format!("binding_span_ai_retries_total{{{of}}} 3"),
        format!("binding_span_ai_fallbacks_total{{{of}}} 1"),
        format!("binding_span_ai_upstream_latency_seconds_bucket{{le=\"0.25\",{of}}} 1"),
        format!("binding_span_ai_upstream_latency_seconds_count{{{of}}} 1"),
        format!("binding_span_ai_first_chunk_seconds_sum{{{of}}} 0.3"),
    ] {
        assert!(
            text.lines().any(|line| line == expected),
            "{expected}\n{text}"
        );
    }
    assert!(!text.contains("cached_input"), "{text}");
    // The classic format has the same samples.
    let classic = metrics.text(Format::Classic).unwrap();
    assert_eq!(
        lines(&text, "binding_span_ai_"),
        lines(&classic, "binding_span_ai_")
    );
}

#[test]
fn callers_choose_neither_how_many_models_nor_which_providers_there_are() {
    let metrics = new();
    let sink = sink(&metrics);
    for i in 0..10_000 {
        sink.settled(&account(&format!("made up {i}")));
        sink.settled(&Account {
            provider: format!("made up {i}"),
            error_type: Some(format!("made up {i}")),
            ..account("named")
        });
    }
    sink.settled(&account("named"));
    let text = metrics.text(Format::Open).unwrap();
    let series = lines(&text, "binding_span_ai_").len();
    // 64 models with three series and a rest, 32 outcomes, two histograms; and those of `_other`.
    assert!(series < 500, "{series}");
    let models: Vec<&str> = lines(&text, "binding_span_ai_cost_dollars_total{")
        .into_iter()
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
    assert!(!text.contains("provider=\"made up"), "{text}");
}
