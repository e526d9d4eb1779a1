//! `traceparent`, and the identity of spans.

use binding_span::{SpanContext, SpanId, TraceId};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

#[test]
fn a_traceparent_is_read_as_w3c_asks() {
    let good = [
        (format!("00-{TRACE}-{SPAN}-01"), 1),
        (format!("00-{TRACE}-{SPAN}-00"), 0),
        (format!("00-{TRACE}-{SPAN}-ff"), 255),
        (format!("01-{TRACE}-{SPAN}-01"), 1),
        (format!("cc-{TRACE}-{SPAN}-01-what-comes-later"), 1),
    ];
    for (text, flags) in good {
        let context: SpanContext = text.parse().expect(&text);
        assert_eq!(context.trace_id.to_string(), TRACE);
        assert_eq!(context.span_id.to_string(), SPAN);
        assert_eq!(context.flags, Some(flags), "{text}");
    }
    let bad = [
        String::new(),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-+{}-{SPAN}-01", &TRACE[1..]),
        format!(" 00-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-01\n"),
        format!("00-{}é-{SPAN}-01", &TRACE[2..]),
    ];
    for text in bad {
        assert!(text.parse::<SpanContext>().is_err(), "{text:?}");
    }
}

#[test]
fn a_child_is_another_span_of_the_same_trace_and_decision() {
    let parent = SpanContext {
        flags: Some(SpanContext::SAMPLED),
        ..SpanContext::root()
    };
    let child = parent.child();
    assert_eq!(
        (child.trace_id, child.flags),
        (parent.trace_id, parent.flags)
    );
    assert_ne!(child.span_id, parent.span_id);
    assert!(child.is_valid());
}

#[test]
fn unset_flags_are_not_a_decision() {
    let flags = |flags| SpanContext {
        flags,
        ..SpanContext::root()
    };
    assert!(!flags(None).is_unsampled());
    assert!(!flags(Some(3)).is_unsampled());
    assert!(flags(Some(2)).is_unsampled());
}

#[test]
fn zero_is_no_id() {
    assert!(!SpanContext::default().is_valid());
    let trace_only = SpanContext {
        trace_id: TraceId(1),
        span_id: SpanId(0),
        flags: None,
    };
    assert!(!trace_only.is_valid());
}
