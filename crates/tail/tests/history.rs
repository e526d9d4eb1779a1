//! The recent past and its readers: what each got and lost adds up, and nobody waits.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use binding_span::{Attribute, InvocationId, SpanKind, SpanSink};
use support::{at, close, in_invocation, open};
use tail::{Event, Feed, History, HistoryLimits, HistoryReader, Start};

fn history(events: usize) -> (Feed, Arc<History>) {
    let limits = HistoryLimits {
        events,
        ..HistoryLimits::default()
    };
    let (feed, history) = (Feed::new(), Arc::new(History::new(limits)));
    feed.subscribe(history.clone());
    (feed, history)
}

/// One invocation of three events, at a time.
fn work(feed: &Feed, n: u64) {
    let span = in_invocation(n, InvocationId(n.into()));
    open(feed, span, None, SpanKind::Server, n * 1000);
    close(feed, span, n * 1000 + 1);
}

fn begin(feed: &Feed, n: u64) {
    let span = in_invocation(n, InvocationId(n.into()));
    open(feed, span, None, SpanKind::Server, n * 1000);
}

fn end(feed: &Feed, n: u64) {
    let span = in_invocation(n, InvocationId(n.into()));
    close(feed, span, n * 1000 + 500);
}

fn invocations(events: &[Arc<Event>]) -> Vec<u128> {
    events.iter().map(|event| event.invocation_id.0).collect()
}

fn all(reader: &mut HistoryReader) -> (u64, Vec<Arc<Event>>) {
    let batch = reader.try_read(usize::MAX);
    (batch.lost, batch.events)
}

#[test]
fn readers_begin_now_in_the_past_and_at_a_place() {
    let (feed, history) = history(100);
    (1..=5).for_each(|n| work(&feed, n));
    for (from, expected) in [
        (Start::Now, vec![]),
        (
            Start::Oldest,
            vec![1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5],
        ),
        (Start::Time(at(4000)), vec![4, 4, 4, 5, 5, 5]),
        (Start::Time(at(4001)), vec![4, 4, 5, 5, 5]),
        (Start::Time(at(900_000)), vec![]),
        (Start::Place(13), vec![5, 5]),
        (Start::Place(99), vec![]),
    ] {
        let (lost, events) = all(&mut history.read_from(from));
        assert_eq!((lost, invocations(&events)), (0, expected), "{from:?}");
    }
}

#[test]
fn a_reader_that_is_too_slow_loses_the_oldest_and_knows_exactly_how_many() {
    let (feed, history) = history(10);
    let (mut slow, mut quick) = (history.read_from(Start::Now), history.read_from(Start::Now));
    for n in 1..=100 {
        work(&feed, n);
        assert_eq!(all(&mut quick).1.len(), 3);
    }
    let (lost, events) = all(&mut slow);
    assert_eq!((lost, events.len()), (290, 10));
    assert_eq!((slow.lost(), quick.lost()), (290, 0));
    assert_eq!(history.stats().lost, 290);
    assert_eq!(all(&mut slow).0, 0);
}

#[test]
fn bytes_are_bounded_as_well_and_the_last_event_is_kept() {
    let limits = HistoryLimits {
        events: 1000,
        bytes: 1024 * 1024,
    };
    let (feed, history) = (Feed::new(), Arc::new(History::new(limits)));
    feed.subscribe(history.clone());
    let span = in_invocation(1, InvocationId(1));
    open(&feed, span, None, SpanKind::Server, 0);
    for _ in 0..100 {
        feed.attributes(span, &[Attribute::new("large", "x".repeat(128 * 1024))]);
        assert!(history.stats().bytes <= limits.bytes);
    }
    feed.attributes(
        span,
        &[Attribute::new("larger", "x".repeat(2 * limits.bytes))],
    );
    assert_eq!((history.stats().events, history.stats().next), (1, 102));
}

#[test]
fn whoever_joins_late_is_told_how_open_invocations_began() {
    let (feed, history) = history(100);
    begin(&feed, 1);
    work(&feed, 2);
    begin(&feed, 3);
    end(&feed, 1);
    begin(&feed, 4);
    let mut reader = history.read_from(Start::Now);
    end(&feed, 4);
    assert_eq!(invocations(&reader.begun()), [3, 4]);
    assert_eq!(invocations(&all(&mut reader).1), [4, 4]);
    // From the past: those that were open then.
    let past = history.read_from(Start::Time(at(2000)));
    assert_eq!(invocations(&past.begun()), [1]);
    assert!(history.read_from(Start::Oldest).begun().is_empty());
}

#[test]
fn what_the_ring_has_forgotten_is_not_told() {
    let (feed, history) = history(6);
    begin(&feed, 1);
    (2..=5).for_each(|n| work(&feed, n));
    let reader = history.read_from(Start::Now);
    assert!(reader.begun().is_empty());
    assert_eq!(history.stats().readers, 1);
    drop(reader);
    assert_eq!(history.stats().readers, 0);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_reader_that_waits_is_woken_once_and_finds_what_came() {
    let (feed, history) = history(100);
    let mut reader = history.read_from(Start::Now);
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(reader.poll_read(&mut context, 10).is_pending());
    }
    work(&feed, 1);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Some(batch)) = reader.poll_read(&mut context, 10) else {
        panic!("nothing came");
    };
    assert_eq!(batch.events.len(), 3);

    assert!(reader.poll_read(&mut context, 10).is_pending());
    history.close();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    assert!(matches!(
        reader.poll_read(&mut context, 10),
        Poll::Ready(None)
    ));
}

#[test]
fn readers_of_other_threads_get_or_lose_every_event_of_a_burst() {
    const SPANS: u64 = 100_000;
    let (feed, history) = history(5_000);
    let mut readers: Vec<_> = [1, 100, 10_000]
        .map(|most| (most, history.read_from(Start::Now)))
        .into();
    thread::scope(|scope| {
        let burst = scope.spawn(|| (1..=SPANS).for_each(|n| work(&feed, n)));
        for (most, reader) in &mut readers {
            scope.spawn(move || {
                let (mut got, mut lost, mut seen) = (0, 0, BTreeSet::new());
                while got + lost < SPANS * 3 {
                    let batch = reader.try_read(*most);
                    got += batch.events.len() as u64;
                    lost += batch.lost;
                    let keys = batch.events.iter();
                    seen.extend(keys.map(|event| (event.invocation_id, event.sequence)));
                    thread::yield_now();
                }
                assert_eq!((got + lost, reader.lost()), (SPANS * 3, lost));
                assert_eq!(seen.len() as u64, got, "some came twice");
            });
        }
        burst.join().unwrap();
    });
}
