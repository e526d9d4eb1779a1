//! The sink without a program around it.

use std::time::SystemTime;

use binding_span::{InvocationId, SpanContext, SpanKind};

use host::metrics::Form;

use super::calls::{METHODS, METHODS_CALLED};
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
    metrics.rename(span, "shop.query");
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
    call(&metrics, "OTHER", "run", Outcome::Ok);
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
        let kind = catalog::all()
            .find(|metric| metric.name == name)
            .unwrap()
            .form;
        let (suffix, says) = match (kind, what) {
            (Form::Counter, _) => ("_total", says),
            (Form::Info, "# TYPE ") => ("_info", "gauge"),
            (Form::Info, _) => ("_info", says),
            _ => ("", says),
        };
        assert_eq!(*classic, format!("{what}{name}{suffix} {says}"));
    }
}
