//! What sinks get to see, and in which order.

use std::sync::{Arc, Mutex};

use binding_span::{
    Attribute, CallScope, Dropped, Enrichment, NewSpan, Outcome, Sinks, SpanClose, SpanContext,
    SpanKind, SpanOpen, SpanRef, SpanSink, apply, current_span,
};

/// Writes down what it is told.
#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl SpanSink for Diary {
    fn open(&self, open: &SpanOpen<'_>) {
        assert_eq!((open.kind, open.root), (SpanKind::Internal, false));
        let parent = open.parent.expect("it has one");
        self.note(format!("open {} below {parent}", open.name));
    }

    fn rename(&self, _span: SpanRef, name: &str) {
        self.note(format!("rename {name}"));
    }

    fn attributes(&self, _span: SpanRef, attributes: &[Attribute]) {
        for Attribute { key, value } in attributes {
            self.note(format!("{key}={value}"));
        }
    }

    fn dropped(&self, _span: SpanRef, dropped: &Dropped) {
        self.note(format!("dropped {dropped}"));
    }

    fn close(&self, close: &SpanClose<'_>) {
        let error = close.error.map(|error| error.kind.to_owned());
        self.note(format!("close {} {error:?}", close.outcome.label()));
    }
}

#[test]
fn an_enrichment_is_reported_as_rename_then_attributes_then_drops() {
    let diary = Diary::default();
    let said = Enrichment::new()
        .attribute("b", 1)
        .attribute("", 1)
        .attribute("a", true)
        .name("d1.query");
    apply(&said, SpanRef::default(), &diary);
    let expected = ["rename d1.query", "b=1", "a=true", "dropped key_empty=1"];
    assert_eq!(diary.lines(), expected);
}

#[test]
fn nothing_said_is_not_reported() {
    let diary = Diary::default();
    apply(&Enrichment::new(), SpanRef::default(), &diary);
    assert!(diary.lines().is_empty());
}

/// A call whose spans go to two diaries.
fn call() -> (CallScope, SpanRef, [Arc<Diary>; 2]) {
    let span = SpanRef {
        context: SpanContext::root(),
        ..SpanRef::default()
    };
    let diaries: [Arc<Diary>; 2] = Default::default();
    let sinks: Sinks = Arc::new(diaries.clone().map(|diary| diary as Arc<dyn SpanSink>));
    (CallScope::new(span, sinks), span, diaries)
}

#[test]
fn a_callees_own_span_is_a_child_and_every_sink_sees_it_open_and_close() {
    let (call, span, diaries) = call();
    assert_eq!(call.in_scope(current_span), Some(span));
    {
        let mut child = call.child_span("sqlite.step");
        let context = child.context().unwrap();
        assert_eq!(context.trace_id, span.context.trace_id);
        assert_ne!(context.span_id, span.context.span_id);
        child.attribute("rows", 3);
        child.fail("SQLITE_BUSY", "the database is locked");
    }
    drop(call.child_span("second"));
    let id = span.context.span_id;
    for diary in diaries {
        let expected = [
            format!("open sqlite.step below {id}"),
            "rows=3".into(),
            format!("close {} Some(\"SQLITE_BUSY\")", Outcome::Exception.label()),
            format!("open second below {id}"),
            "close ok None".into(),
        ];
        assert_eq!(diary.lines(), expected);
    }
}

#[test]
fn a_span_is_closed_as_failed_when_the_work_panics() {
    let (call, _, [diary, _]) = call();
    let work = std::panic::AssertUnwindSafe(|| {
        let _child = call.child_span("work");
        panic!("as planned");
    });
    std::panic::catch_unwind(work).unwrap_err();
    let last = diary.lines().pop().unwrap();
    assert_eq!(last, "close exception Some(\"panic\")");
}

#[test]
fn without_sinks_or_a_call_a_child_span_is_inert() {
    for scope in [CallScope::detached(), CallScope::outside()] {
        let child = scope.child_span("work");
        child.attribute("rows", 3);
        assert_eq!(child.context(), None);
        assert!(scope.in_scope(current_span).is_none());
    }
}

/// Decides who spans are, and wants those of its own decision.
struct Decider(SpanContext);

impl SpanSink for Decider {
    fn identify(&self, new: &NewSpan) -> Option<SpanContext> {
        new.remote.then_some(self.0)
    }

    fn wants(&self, span: SpanContext) -> bool {
        span == self.0
    }

    fn hides(&self) -> bool {
        self.0.is_unsampled()
    }

    fn rename(&self, _span: SpanRef, _name: &str) {}
    fn attributes(&self, _span: SpanRef, _attributes: &[Attribute]) {}
}

#[test]
fn of_several_sinks_the_first_that_answers_decides_who_a_span_is_and_each_what_it_wants() {
    let decided = |flags| SpanContext {
        flags: Some(flags),
        ..SpanContext::root()
    };
    let (first, second) = (decided(1), decided(0));
    let sinks: Sinks = Arc::new([
        Arc::new(Decider(first)) as Arc<dyn SpanSink>,
        Arc::new(Decider(second)),
    ]);
    let parent = Some(SpanContext::root());
    let new = |remote| NewSpan {
        parent,
        remote,
        kind: SpanKind::Server,
    };
    assert_eq!(sinks.identify(&new(true)), Some(first));
    assert_eq!(sinks.identify(&new(false)), None);
    let child = new(false).by_default();
    assert_eq!(Some(child.trace_id), parent.map(|p| p.trace_id));
    assert!(sinks.wants(first) && sinks.wants(second) && !sinks.wants(child));
    assert!(sinks.hides(), "one of them does");
    let diary: Sinks = Arc::new([Arc::new(Diary::default()) as Arc<dyn SpanSink>]);
    assert_eq!(diary.identify(&new(true)), None);
    assert!(
        diary.wants(child) && !diary.hides(),
        "what a sink does that only looks"
    );
}

/// Has somebody who looks, or not.
struct View(bool);

impl SpanSink for View {
    fn live(&self) -> bool {
        self.0
    }

    fn rename(&self, _span: SpanRef, _name: &str) {}
    fn attributes(&self, _span: SpanRef, _attributes: &[Attribute]) {}
}

#[test]
fn enrichment_is_wanted_early_when_one_sink_has_somebody_who_looks() {
    let cases = [
        (&[][..], false),
        (&[false, false], false),
        (&[false, true], true),
    ];
    for (views, live) in cases {
        let sinks: Sinks = views
            .iter()
            .map(|&live| Arc::new(View(live)) as Arc<dyn SpanSink>)
            .collect();
        assert_eq!(sinks.live(), live, "{views:?}");
    }
    assert!(!Diary::default().live(), "unless it says so");
}
