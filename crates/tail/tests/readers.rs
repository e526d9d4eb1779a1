//! Readers that are slow, broken, or gone: the program goes on, and losses are told.

mod support;

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use binding_span::{Attribute, InvocationId, SpanKind, SpanSink};
use support::{close, in_invocation, open};
use tail::{Event, EventKind, Feed, JsonLines, QueueLimits};

const LONG: Duration = Duration::from_secs(20);

/// One invocation with `n` attribute events: n + 3 events.
fn work(feed: &Feed, invocation: u128, n: usize) {
    let span = in_invocation(invocation as u64, InvocationId(invocation));
    open(feed, span, None, SpanKind::Server, 0);
    for i in 0..n {
        feed.attributes(span, &[Attribute::new("i", i)]);
    }
    close(feed, span, 1);
}

fn small() -> QueueLimits {
    QueueLimits {
        events: 10,
        bytes: 1024 * 1024,
    }
}

fn reported_loss(events: &[Arc<Event>]) -> u64 {
    let count = |event: &Arc<Event>| match &event.event {
        EventKind::StreamDiagnostic { diagnostic } => diagnostic.count,
        _ => 0,
    };
    events.iter().map(count).sum()
}

#[test]
fn a_slow_reader_loses_events_and_is_told_how_many_before_the_outcome() {
    let feed = Feed::new();
    let reader = feed.queue(small());
    work(&feed, 1, 100);
    assert_eq!(reader.lost(), 91);
    let events = reader.drain();
    assert_eq!(reported_loss(&events), 91);
    let [.., told, outcome] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(matches!(&told.event, EventKind::StreamDiagnostic { .. }));
    assert!(matches!(&outcome.event, EventKind::Outcome { .. }));
    assert_eq!(told.sequence + 1, outcome.sequence);
    let line = told.to_line();
    let shape = r#""event":{"type":"streamDiagnostic","diagnostic":{"diagnosticsType":"droppedEvents","count":91}}"#;
    assert!(line.contains(shape), "{line}");
}

#[test]
fn what_a_reader_was_not_told_is_told_with_the_next_outcome() {
    let feed = Feed::new();
    let reader = feed.queue(small());
    (1..=100).for_each(|n| work(&feed, n, 5));
    let mut events = reader.drain();
    let lost = reader.lost();
    work(&feed, 101, 1);
    events.extend(reader.drain());
    assert_eq!(reader.lost(), lost);
    assert_eq!(reported_loss(&events), lost);
}

#[test]
fn large_values_are_bounded_by_bytes() {
    let feed = Feed::new();
    let reader = feed.queue(QueueLimits::default());
    let span = in_invocation(1, InvocationId(1));
    open(&feed, span, None, SpanKind::Server, 0);
    let large = [Attribute::new("large", "x".repeat(128 * 1024))];
    (0..1_000).for_each(|_| feed.attributes(span, &large));
    let held: usize = reader.drain().iter().map(|event| event.size()).sum();
    assert!(held <= 16 * 1024 * 1024, "{held}");
    assert!(reader.lost() > 800);
}

#[test]
fn lines_are_appended_to_a_file_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    std::fs::write(&path, "earlier\n").unwrap();
    let feed = Feed::new();
    let lines = Arc::new(JsonLines::file(&path).unwrap());
    feed.subscribe(lines.clone());
    (1..=50).for_each(|n| work(&feed, n, 2));
    assert!(lines.flush(LONG));
    let text = std::fs::read_to_string(&path).unwrap();
    let (earlier, events) = text.split_once('\n').unwrap();
    assert_eq!(earlier, "earlier");
    let read: Vec<Event> = events
        .lines()
        .map(|l| Event::from_line(l).unwrap())
        .collect();
    assert_eq!(read.len(), 50 * 5);
    assert!(read.is_sorted_by_key(|event| (event.invocation_id, event.sequence)));
}

#[test]
fn dropping_writes_what_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    let feed = Feed::new();
    feed.subscribe(Arc::new(JsonLines::file(&path).unwrap()));
    work(&feed, 1, 1_000);
    drop(feed);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap().lines().count(),
        1_003
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    assert!(JsonLines::file("/nowhere/tail.jsonl").is_err());
}

#[test]
fn a_closed_pipe_costs_lines_and_is_told_once() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    let lines = Arc::new(JsonLines::with(
        writer,
        QueueLimits::default(),
        move |error| {
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            counter.fetch_add(1, Ordering::SeqCst);
        },
    ));
    let feed = Feed::new();
    feed.subscribe(lines.clone());
    for n in 1..=10 {
        work(&feed, n, 2);
        assert!(lines.flush(LONG));
    }
    assert_eq!(lines.failed(), 50);
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

/// Breaks off in the middle of its first line, then works.
struct Flaky {
    text: Arc<Mutex<Vec<u8>>>,
    left: usize,
}

impl Write for Flaky {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.left);
        if n == 0 {
            self.left = usize::MAX;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text.lock().unwrap().extend_from_slice(&bytes[..n]);
        self.left -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_a_full_disk_lines_are_whole_again() {
    let text = Arc::new(Mutex::new(Vec::new()));
    let flaky = Flaky {
        text: Arc::clone(&text),
        left: 100,
    };
    let lines = Arc::new(JsonLines::with(flaky, QueueLimits::default(), |_| {}));
    let feed = Feed::new();
    feed.subscribe(lines.clone());
    work(&feed, 1, 0);
    assert!(lines.flush(LONG));
    let failed = lines.failed();
    work(&feed, 2, 0);
    assert!(lines.flush(LONG));
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    let whole = text
        .lines()
        .filter(|line| Event::from_line(line).is_ok())
        .count() as u64;
    assert_eq!(
        text.lines().count() as u64,
        whole + 1,
        "one line broke off:\n{text}"
    );
    assert_eq!(
        (failed > 0, lines.failed(), whole),
        (true, failed, 6 - failed)
    );
}

/// Hangs until told.
struct Stuck(Receiver<()>, Sender<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.1.send(());
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_hangs_stops_neither_reports_nor_the_end() {
    let (release, stuck) = channel();
    let (entered, hangs) = channel();
    let lines = Arc::new(JsonLines::to(Stuck(stuck, entered)));
    let feed = Feed::new();
    feed.subscribe(lines.clone());
    work(&feed, 1, 1);
    hangs.recv_timeout(LONG).unwrap();
    let start = Instant::now();
    work(&feed, 2, 100_000);
    assert!(lines.lost() > 0);
    assert!(!lines.flush(Duration::from_millis(10)));
    drop((feed, lines));
    assert!(start.elapsed() < LONG);
    drop(release);
}
