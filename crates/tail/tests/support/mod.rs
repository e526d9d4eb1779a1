//! Spans with fixed ids and times, reported as `js-rpc` reports them.
#![allow(dead_code, missing_docs)] // each test binary uses its own part

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use binding_span::{
    Attribute, ErrorInfo, InvocationId, Outcome, SpanClose, SpanContext, SpanId, SpanKind,
    SpanOpen, SpanRef, SpanSink, TraceId,
};

pub const TRACE: TraceId = TraceId(0xffc8_0102_0304_0506_0708_090a_0b0c_0d0e);
pub const INVOCATION: InvocationId = InvocationId(0xffef_0102_0304_0506_0708_090a_0b0c_0d0e);

/// 2026-11-22T07:18:14.585Z plus microseconds.
pub fn at(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_331_894_585) + Duration::from_micros(micros)
}

pub fn span(id: u64) -> SpanRef {
    in_invocation(id, INVOCATION)
}

pub fn in_invocation(id: u64, invocation: InvocationId) -> SpanRef {
    SpanRef {
        context: SpanContext {
            trace_id: TRACE,
            span_id: SpanId(id),
            flags: None,
        },
        invocation,
    }
}

pub struct Opening<'a> {
    pub span: SpanRef,
    pub parent: Option<u64>,
    pub name: &'a str,
    pub kind: SpanKind,
    pub time: SystemTime,
    pub attributes: &'a [Attribute],
}

impl Opening<'_> {
    pub fn report(self, to: &dyn SpanSink) {
        to.open(&SpanOpen {
            span: self.span,
            parent: self.parent.map(SpanId),
            name: self.name,
            kind: self.kind,
            root: self.parent.is_none(),
            time: self.time,
            attributes: self.attributes,
        });
    }
}

pub fn open(to: &dyn SpanSink, span: SpanRef, parent: Option<u64>, kind: SpanKind, micros: u64) {
    let call = kind == SpanKind::Client && parent.is_some();
    Opening {
        span,
        parent,
        name: if call { "jsRpcCall" } else { "jsRpcSession" },
        kind,
        time: at(micros),
        attributes: &[],
    }
    .report(to);
}

pub fn close(to: &dyn SpanSink, span: SpanRef, micros: u64) {
    to.close(&SpanClose {
        span,
        outcome: Outcome::Ok,
        error: None,
        time: at(micros),
    });
}

pub fn fail(to: &dyn SpanSink, span: SpanRef, kind: &str, message: &str, micros: u64) {
    to.close(&SpanClose {
        span,
        outcome: Outcome::Exception,
        error: Some(ErrorInfo { kind, message }),
        time: at(micros),
    });
}

/// Compares with a file of `tests/golden`; `UPDATE_GOLDEN=1` writes it.
pub fn assert_golden(name: &str, actual: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "{name} differs; UPDATE_GOLDEN=1 writes it anew.\n--- expected\n{expected}\n--- actual\n{actual}"
    );
}
