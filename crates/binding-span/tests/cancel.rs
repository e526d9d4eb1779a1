//! How child spans end when their call's caller stops waiting.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use binding_span::{
    Attribute, CallScope, ChildSpan, Enrichment, Sinks, SpanClose, SpanContext, SpanOpen, SpanRef,
    SpanSink, current, enrich,
};

/// How each span ended, in that order.
#[derive(Default)]
struct Ends {
    names: Mutex<HashMap<SpanRef, String>>,
    ends: Mutex<Vec<String>>,
}

impl SpanSink for Ends {
    fn open(&self, open: &SpanOpen<'_>) {
        let name = open.name.to_owned();
        self.names.lock().unwrap().insert(open.span, name);
    }

    fn close(&self, close: &SpanClose<'_>) {
        let name = self.names.lock().unwrap().remove(&close.span).unwrap();
        let kind = close.error.map(|error| format!(" {}", error.kind));
        let end = close.outcome.label();
        let end = format!("{name}: {end}{}", kind.unwrap_or_default());
        self.ends.lock().unwrap().push(end);
    }

    fn rename(&self, _span: SpanRef, _name: &str) {}
    fn attributes(&self, _span: SpanRef, _attributes: &[Attribute]) {}
}

impl Ends {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.ends.lock().unwrap())
    }
}

fn call() -> (CallScope, Arc<Ends>) {
    let ends = Arc::new(Ends::default());
    let sinks: Sinks = Arc::new([ends.clone() as Arc<dyn SpanSink>]);
    let span = SpanRef {
        context: SpanContext::root(),
        ..SpanRef::default()
    };
    (CallScope::new(span, sinks), ends)
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future once, which must not be enough for it, and drops it.
fn give_up(future: impl Future) {
    assert!(poll(pin!(future)).is_pending());
}

/// A span that is open for ever.
async fn stuck(name: &str) {
    let _span = current().child_span(name);
    std::future::pending().await
}

#[test]
fn child_spans_of_a_call_that_is_given_up_close_as_canceled_unless_they_failed() {
    let (call, ends) = call();
    give_up(call.scope(async {
        drop(current().child_span("before"));
        let mut failed = current().child_span("failed");
        failed.fail("SQLITE_BUSY", "the database is locked");
        stuck("statement").await;
    }));
    let expected = [
        "before: ok",
        "statement: canceled",
        "failed: exception SQLITE_BUSY",
    ];
    assert_eq!(ends.take(), expected);
}

/// Ready at once, and drops its span only when it is dropped itself.
struct Returns(#[expect(dead_code, reason = "to be dropped")] ChildSpan);

impl Future for Returns {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        enrich(Enrichment::new().name("returned"));
        Poll::Ready(())
    }
}

#[test]
fn a_call_that_returned_is_not_canceled() {
    let (call, ends) = call();
    let later = call.child_span("later");
    let mut method = Box::pin(call.scope(Returns(call.child_span("held"))));
    assert!(poll(method.as_mut()).is_ready());
    assert_eq!(ends.take(), ["held: ok"], "dropped as soon as it returned");
    drop(method);
    drop(later);
    assert_eq!(ends.take(), ["later: ok"]);
    assert_eq!(call.drain().span_name(), Some("returned"));
}

#[test]
fn a_future_that_was_never_polled_is_canceled_too() {
    let (call, ends) = call();
    drop(call.scope(Returns(call.child_span("argument"))));
    assert_eq!(ends.take(), ["argument: canceled"]);
}

#[test]
fn a_call_can_be_marked_as_canceled_by_hand() {
    let (call, ends) = call();
    let span = call.child_span("work");
    call.cancel();
    assert!(call.enrich(Enrichment::new().name("still heard")));
    drop(span);
    assert_eq!(ends.take(), ["work: canceled"]);
    CallScope::outside().cancel();
}

#[test]
fn a_panic_is_a_panic_and_no_cancellation() {
    let (call, ends) = call();
    let elsewhere = call.child_span("elsewhere");
    let mut method = Box::pin(call.scope(async {
        let _span = current().child_span("work");
        panic!("as planned");
    }));
    catch_unwind(AssertUnwindSafe(|| poll(method.as_mut()).is_ready())).unwrap_err();
    assert_eq!(ends.take(), ["work: exception panic"]);
    drop(method);
    drop(elsewhere);
    assert_eq!(ends.take(), ["elsewhere: ok"]);
}

#[test]
fn a_panic_of_somebody_else_that_drops_a_call_is_a_panic_to_its_spans() {
    let (call, ends) = call();
    let work = AssertUnwindSafe(|| {
        let mut method = Box::pin(call.scope(stuck("work")));
        assert!(poll(method.as_mut()).is_pending());
        panic!("as planned");
    });
    catch_unwind(work).unwrap_err();
    assert_eq!(ends.take(), ["work: exception panic"]);
}

#[test]
fn of_nested_calls_the_one_that_is_given_up_is_canceled() {
    let ((outer, outer_ends), (inner, inner_ends)) = (call(), call());
    let inner_call = inner.clone();
    let method = async move {
        let _around = current().child_span("around");
        give_up(inner_call.scope(stuck("inner")));
    };
    assert!(poll(pin!(outer.scope(method))).is_ready());
    assert_eq!(inner_ends.take(), ["inner: canceled"]);
    assert_eq!(outer_ends.take(), ["around: ok"]);

    give_up(outer.scope(async {
        let nested = inner.scope(stuck("inner"));
        let _around = current().child_span("around");
        nested.await;
    }));
    let (inner_ends, outer_ends) = (inner_ends.take(), outer_ends.take());
    assert_eq!(
        inner_ends,
        ["inner: canceled"],
        "its future was dropped, too"
    );
    assert_eq!(outer_ends, ["around: canceled"]);
}

#[test]
fn a_part_that_a_method_gives_up_cancels_its_own_spans_and_not_the_call() {
    let (call, ends) = call();
    let method = async {
        let kept = current().child_span("kept");
        give_up(current().scope(stuck("lost the race")));
        drop(kept);
        drop(current().child_span("later"));
    };
    assert!(poll(pin!(call.scope(method))).is_ready());
    assert_eq!(
        ends.take(),
        ["lost the race: canceled", "kept: ok", "later: ok"]
    );
}

#[test]
fn a_span_that_was_carried_to_another_thread_is_canceled_with_its_call() {
    for (canceled, expected) in [(true, "work: canceled"), (false, "work: ok")] {
        let (call, ends) = call();
        let (over, is_over) = mpsc::channel::<()>();
        let (handed, worker) = mpsc::channel();
        let method = async move {
            let span = current().child_span("work");
            let work = thread::spawn(move || {
                is_over.recv().unwrap_err();
                drop(span);
            });
            handed.send(work).unwrap();
            if canceled {
                std::future::pending::<()>().await;
            }
        };
        let mut method = Box::pin(call.scope(method));
        assert_eq!(poll(method.as_mut()).is_pending(), canceled);
        drop(method);
        drop(over);
        worker.recv().unwrap().join().unwrap();
        assert_eq!(ends.take(), [expected]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_its_own_that_outlives_its_canceled_call_ends_as_canceled() {
    let (call, ends) = call();
    let (over, is_over) = tokio::sync::oneshot::channel::<()>();
    let mut task = None;
    give_up(call.scope(async {
        task = Some(tokio::spawn(current().scope(async {
            let _span = current().child_span("task");
            let _ = is_over.await;
        })));
        std::future::pending::<()>().await;
    }));
    drop(over);
    task.unwrap().await.unwrap();
    assert_eq!(ends.take(), ["task: canceled"]);
}
