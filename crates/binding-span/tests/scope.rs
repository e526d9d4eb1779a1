//! Who hears what is said, and when: nesting, panics, threads, tasks, the seal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};

use binding_span::{CallScope, Enrichment, current, current_span, enrich};

fn tag(key: &'static str) -> Enrichment {
    Enrichment::new().attribute(key, true)
}

fn heard(call: &CallScope) -> Vec<String> {
    call.drain().iter().map(|a| a.key.to_string()).collect()
}

#[test]
fn outside_of_a_call_nobody_hears() {
    assert!(!enrich(tag("a")));
    assert!(!current().enrich(tag("a")));
    assert!(current().drain().is_silent());
    assert!(current_span().is_none());
}

#[test]
fn what_is_said_after_the_call_returned_is_not_heard() {
    let call = CallScope::detached();
    assert!(call.enrich(tag("a")));
    assert_eq!(heard(&call), ["a"]);
    assert!(!call.enrich(tag("b")));
    assert!(!call.in_scope(|| enrich(tag("c"))));
    assert!(call.drain().is_silent(), "drained once");
}

#[test]
fn nested_calls_hear_their_own_and_the_outer_one_comes_back() {
    let (outer, inner) = (CallScope::detached(), CallScope::detached());
    outer.in_scope(|| {
        enrich(tag("before"));
        inner.in_scope(|| enrich(tag("inner")));
        CallScope::outside().in_scope(|| assert!(!enrich(tag("nobody"))));
        enrich(tag("after"));
    });
    assert_eq!(heard(&outer), ["before", "after"]);
    assert_eq!(heard(&inner), ["inner"]);
}

#[test]
fn a_panic_puts_the_outer_scope_back_and_keeps_what_was_said() {
    let (outer, inner) = (CallScope::detached(), CallScope::detached());
    outer.in_scope(|| {
        let method = || {
            inner.in_scope(|| {
                enrich(tag("inner"));
                panic!("as planned");
            })
        };
        catch_unwind(AssertUnwindSafe(method)).unwrap_err();
        enrich(tag("outer"));
    });
    assert_eq!(heard(&outer), ["outer"]);
    assert_eq!(heard(&inner), ["inner"]);
    assert!(!enrich(tag("nobody")));
}

#[test]
fn futures_that_take_turns_on_one_thread_are_not_mixed() {
    let calls: [CallScope; 64] = std::array::from_fn(|_| CallScope::detached());
    let mut cx = Context::from_waker(Waker::noop());
    let mut methods: Vec<_> = (0..64)
        .map(|i| {
            Box::pin(calls[i].scope(async move {
                for turn in 0..3 {
                    enrich(Enrichment::new().attribute(format!("{i}.{turn}"), true));
                    tokio::task::yield_now().await;
                }
            }))
        })
        .collect();
    for _ in 0..4 {
        for method in &mut methods {
            let _ = method.as_mut().poll(&mut cx);
        }
    }
    for (i, call) in calls.iter().enumerate() {
        let expected: Vec<String> = (0..3).map(|turn| format!("{i}.{turn}")).collect();
        assert_eq!(heard(call), expected);
    }
}

/// Says something when it is dropped, as a guard that measures would.
struct SaysOnDrop(&'static str);

impl Drop for SaysOnDrop {
    fn drop(&mut self) {
        enrich(tag(self.0));
    }
}

#[test]
fn a_call_that_is_canceled_within_another_does_not_speak_for_it() {
    let (outer, canceled) = (CallScope::detached(), CallScope::detached());
    let mut method = Box::pin(canceled.scope(async {
        let _guard = SaysOnDrop("canceled");
        std::future::pending::<()>().await;
    }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(method.as_mut().poll(&mut cx).is_pending());
    outer.in_scope(|| drop(method));
    assert!(heard(&outer).is_empty());
    assert_eq!(heard(&canceled), ["canceled"]);
}

#[test]
fn a_future_that_panics_leaves_no_scope_behind() {
    let call = CallScope::detached();
    let mut cx = Context::from_waker(Waker::noop());
    let mut method = pin!(call.scope(async { panic!("as planned") }));
    let poll = AssertUnwindSafe(|| method.as_mut().poll(&mut cx).is_ready());
    catch_unwind(poll).unwrap_err();
    assert!(!enrich(tag("nobody")));
}

#[test]
fn a_thread_that_ends_may_still_ask() {
    thread_local! {
        static LAST: SaysOnDrop = const { SaysOnDrop("last") };
    }
    let call = CallScope::detached();
    let here = call.clone();
    let thread = std::thread::spawn(move || {
        LAST.with(|_| {});
        here.in_scope(|| enrich(tag("first")))
    });
    assert!(thread.join().expect("no panic while it ends"));
    assert_eq!(heard(&call), ["first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_goes_along_to_tasks_and_blocking_threads() {
    let call = CallScope::detached();
    let method = async {
        tokio::spawn(async { assert!(!enrich(tag("lost"))) })
            .await
            .unwrap();
        let task = current().scope(async {
            tokio::task::yield_now().await;
            enrich(tag("task"))
        });
        assert!(tokio::spawn(task).await.unwrap());
        let here = current();
        let blocking = move || here.in_scope(|| enrich(tag("blocking")));
        assert!(tokio::task::spawn_blocking(blocking).await.unwrap());
    };
    call.scope(method).await;
    assert_eq!(heard(&call), ["task", "blocking"]);
    assert!(!enrich(tag("nobody")));
}

#[test]
fn a_handle_can_be_sent_and_shared() {
    fn assert<T: Send + Sync + Clone + 'static>() {}
    assert::<CallScope>();
}
