//! Following a call while it runs: what is told, when, how often, and when it ends.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use binding_span::{CallScope, Enrichment, Limits, SpanRef, Updates, no_sinks};

fn tag(key: &'static str, value: i64) -> Enrichment {
    Enrichment::new().attribute(key, value)
}

/// One drop, and nothing else.
fn drop_one() -> Enrichment {
    tag("", 1)
}

/// What the next update has by now, or how it has none.
fn next(updates: &mut Updates) -> String {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(updates.next()).poll(&mut cx) {
        Poll::Pending => "nothing yet".to_owned(),
        Poll::Ready(None) => "the end".to_owned(),
        Poll::Ready(Some(update)) => shown(&update),
    }
}

fn shown(said: &Enrichment) -> String {
    let values = said.iter().map(|a| format!("{}={}", a.key, a.value));
    let name = said.span_name().map(str::to_owned);
    let dropped = (!said.dropped().is_empty()).then(|| format!("[{}]", said.dropped()));
    let parts = name.into_iter().chain(values).chain(dropped);
    parts.collect::<Vec<_>>().join(" ")
}

/// Counts how often a follower is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_update_is_everything_that_changed_since_the_last_one() {
    let call = CallScope::detached();
    let mut updates = call.updates();
    let name = |name: &'static str| Enrichment::new().name(name);
    let cases = [
        (vec![], "nothing yet"),
        (vec![name("d1.query"), tag("a", 1)], "d1.query a=1"),
        (vec![], "nothing yet"),
        (vec![name("d1.query"), tag("a", 1)], "nothing yet"),
        (
            vec![tag("b", 1), name("x"), tag("a", 2), tag("b", 2), name("y")],
            "y b=2 a=2",
        ),
        (vec![drop_one()], "nothing yet"),
    ];
    for (said, expected) in cases {
        said.into_iter().for_each(|said| assert!(call.enrich(said)));
        assert_eq!(next(&mut updates), expected);
    }
    let all = call.drain();
    assert_eq!(shown(&all), "y a=2 b=2 [key_empty=1]", "taken by none");
}

#[test]
fn a_follower_hears_what_is_said_from_then_on() {
    let call = CallScope::detached();
    call.enrich(tag("before", 1));
    let mut updates = call.updates();
    assert_eq!(next(&mut updates), "nothing yet");
    call.enrich(tag("before", 1).attribute("after", 2));
    assert_eq!(next(&mut updates), "after=2");
    assert_eq!(shown(&call.said()), "before=1 after=2");
}

#[test]
fn drops_are_told_by_what_was_said_and_after_that_by_updates() {
    let call = CallScope::detached();
    let mut updates = call.updates();
    call.enrich(drop_one().attribute("a", 1));
    assert_eq!(next(&mut updates), "a=1");
    call.enrich(drop_one().attribute("b", 1));
    assert_eq!(shown(&call.said()), "a=1 b=1 [key_empty=2]");
    assert_eq!(next(&mut updates), "b=1");
    call.enrich(drop_one());
    assert_eq!(next(&mut updates), "[key_empty=1]");
    call.enrich(drop_one());
    assert_eq!(shown(&call.said()), "a=1 b=1 [key_empty=4]");
    assert_eq!(next(&mut updates), "nothing yet", "told already");
    assert_eq!(shown(&call.drain()), "a=1 b=1 [key_empty=4]", "all of it");
}

#[test]
fn the_calls_limits_hold_for_updates_and_what_they_reject_is_told_once() {
    let limits = Limits {
        attributes: 2,
        ..Limits::DEFAULT
    };
    let call = CallScope::with_limits(SpanRef::default(), no_sinks(), limits);
    let mut updates = call.updates();
    assert!(call.said().is_silent());
    call.enrich(tag("a", 1).attribute("b", 1).attribute("c", 1));
    assert_eq!(next(&mut updates), "a=1 b=1 [too_many_attributes=1]");
    call.enrich(tag("c", 1).attribute("b", 2));
    assert_eq!(next(&mut updates), "b=2 [too_many_attributes=1]");
}

#[test]
fn saying_what_was_said_does_not_seal() {
    let call = CallScope::detached();
    call.enrich(tag("a", 1));
    assert_eq!(shown(&call.said()), "a=1");
    assert!(call.enrich(tag("b", 1)));
    assert_eq!(shown(&call.said()), "a=1 b=1");
    assert_eq!(shown(&call.drain()), "a=1 b=1");
    assert!(call.said().is_silent(), "drained");
    assert!(CallScope::outside().said().is_silent());
}

#[test]
fn updates_end_with_the_call_after_what_is_still_to_be_told() {
    type End = fn(CallScope);
    let cases: [(&str, End, &[&str]); 4] = [
        ("sealed", |call| call.seal(), &["a=1", "the end", "the end"]),
        (
            "sealed, then drained",
            |call| {
                call.seal();
                assert_eq!(shown(&call.drain()), "a=1");
            },
            &["the end"],
        ),
        (
            "drained",
            |call| assert_eq!(shown(&call.drain()), "a=1"),
            &["the end", "the end"],
        ),
        ("its last handle dropped", drop, &["a=1", "the end"]),
    ];
    for (how, end, expected) in cases {
        let call = CallScope::detached();
        let mut updates = call.updates();
        call.enrich(tag("a", 1));
        end(call);
        for expected in expected {
            assert_eq!(next(&mut updates), *expected, "{how}");
        }
    }
}

#[test]
fn a_sealed_scope_hears_nothing_and_keeps_what_was_said() {
    let call = CallScope::detached();
    call.enrich(tag("a", 1));
    call.seal();
    assert!(!call.enrich(tag("b", 1)));
    assert_eq!(shown(&call.said()), "a=1");
    assert_eq!(shown(&call.drain()), "a=1");
    CallScope::outside().seal();
}

#[test]
fn there_is_one_follower_at_a_time_and_the_updates_of_others_end_at_once() {
    let call = CallScope::detached();
    let mut first = call.updates();
    assert_eq!(next(&mut call.updates()), "the end");
    call.enrich(tag("a", 1));
    assert_eq!(next(&mut first), "a=1", "still the first one's");
    drop(first);
    assert!(call.enrich(tag("b", 1)), "with nobody to follow");
    let mut second = call.updates();
    call.enrich(tag("c", 1));
    assert_eq!(next(&mut second), "c=1");
    call.seal();
    drop(second);
    assert_eq!(next(&mut call.updates()), "the end", "sealed");
    assert_eq!(next(&mut CallScope::outside().updates()), "the end");
}

#[test]
fn a_future_that_is_given_up_loses_nothing() {
    let call = CallScope::detached();
    let mut updates = call.updates();
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut given_up = pin!(updates.next());
        assert!(given_up.as_mut().poll(&mut cx).is_pending());
        call.enrich(tag("a", 1));
    }
    assert_eq!(next(&mut updates), "a=1");
}

#[test]
fn a_follower_is_woken_once_for_what_it_does_not_know_yet() {
    let call = CallScope::detached();
    let mut updates = call.updates();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    let mut step = |act: &dyn Fn() -> bool| {
        assert!(updates.poll_next(&mut cx).is_pending());
        act();
        let times = woken.0.swap(0, Ordering::Relaxed);
        while let Poll::Ready(Some(_)) = updates.poll_next(&mut cx) {}
        times
    };
    assert_eq!(step(&|| call.enrich(tag("a", 1))), 1);
    assert_eq!(step(&|| call.enrich(tag("a", 1))), 0, "as before");
    assert_eq!(step(&|| call.enrich(drop_one())), 0, "not told yet");
    let twice = || {
        call.enrich(tag("a", 2));
        call.enrich(tag("a", 3))
    };
    assert_eq!(step(&twice), 1);
    call.said();
    assert_eq!(step(&|| call.enrich(drop_one())), 1);
    let end = || {
        call.seal();
        call.enrich(tag("a", 4))
    };
    assert_eq!(step(&end), 1);
}

/// Says something when it is woken, as an executor that runs tasks in place would.
struct SaysWhenWoken(CallScope);

impl Wake for SaysWhenWoken {
    fn wake(self: Arc<Self>) {
        self.0.enrich(tag("woken", 1));
    }
}

impl Drop for SaysWhenWoken {
    fn drop(&mut self) {
        self.0.enrich(tag("dropped", 1));
    }
}

#[test]
fn a_waker_may_say_something_itself_when_it_is_woken_and_dropped() {
    let call = CallScope::detached();
    let mut updates = call.updates();
    let mut poll = || {
        let waker = Waker::from(Arc::new(SaysWhenWoken(call.clone())));
        updates.poll_next(&mut Context::from_waker(&waker))
    };
    assert!(poll().is_pending());
    call.enrich(tag("a", 1));
    assert_eq!(shown(&call.said()), "a=1 woken=1 dropped=1");
    assert!(poll().is_ready());
    assert!(poll().is_pending());
    assert!(poll().is_pending(), "another waker takes its place");
    call.seal();
}

#[test]
fn other_threads_say_while_one_follows_and_nothing_is_lost() {
    const THREADS: usize = 4;
    const EACH: i64 = 2_000;
    let call = CallScope::detached();
    let mut updates = call.updates();
    let (told, follower) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let local = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            local.block_on(async {
                let not_send = std::rc::Rc::new(told);
                while let Some(update) = updates.next().await {
                    not_send.send(update).unwrap();
                }
            });
        });
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let call = call.clone();
                scope.spawn(move || {
                    for i in 1..=EACH {
                        call.enrich(Enrichment::new().attribute(format!("t{thread}"), i));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        call.seal();
    });
    let mut seen = Enrichment::new();
    for update in follower {
        for attribute in &update {
            assert!(
                seen.get(&attribute.key)
                    .map(|v| v.to_string().parse::<i64>().unwrap())
                    < Some(attribute.value.to_string().parse().unwrap()),
                "in order"
            );
        }
        seen.merge(update);
    }
    let said = call.drain();
    assert_eq!(said.attributes().len(), THREADS);
    for attribute in &said {
        assert_eq!(attribute.value.to_string(), EACH.to_string());
        assert_eq!(seen.get(&attribute.key), Some(&attribute.value));
    }
}

#[test]
fn updates_can_be_sent_and_shared() {
    fn assert<T: Send + Sync + 'static>() {}
    assert::<Updates>();
}
