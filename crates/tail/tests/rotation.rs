//! Files of tail events that are full, moved, removed, or shared: every event is in one of them, once.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use binding_span::{Attribute, InvocationId, SpanKind, SpanSink};
use support::{close, in_invocation, open};
use tail::{Event, Feed, JsonLines, Rotation};

const LONG: Duration = Duration::from_secs(20);

/// One invocation of `n + 3` events.
fn work(feed: &Feed, invocation: u128, n: usize) {
    let span = in_invocation(invocation as u64, InvocationId(invocation));
    open(feed, span, None, SpanKind::Server, 0);
    for i in 0..n {
        feed.attributes(span, &[Attribute::new("i", i)]);
    }
    close(feed, span, 1);
}

fn feed(lines: JsonLines) -> (Feed, Arc<JsonLines>) {
    let (feed, lines) = (Feed::new(), Arc::new(lines));
    feed.subscribe(lines.clone());
    (feed, lines)
}

/// The file's family: itself, then the older ones from the latest on.
fn family(path: &Path) -> Vec<PathBuf> {
    let older = (1..).map(|n| PathBuf::from(format!("{}.{n}", path.display())));
    let files = std::iter::once(path.to_owned()).chain(older);
    files.take_while(|path| path.exists()).collect()
}

/// All events of these files, each of which has whole lines only.
fn events(files: &[PathBuf]) -> Vec<Event> {
    let mut events = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{file:?}");
        events.extend(text.lines().map(|line| Event::from_line(line).unwrap()));
    }
    events
}

/// Every invocation has the events 0..n, and none twice.
fn assert_exactly_once(events: &[Event], invocations: usize, each: u32) {
    let keys: BTreeSet<_> = events
        .iter()
        .map(|event| (event.invocation_id, event.sequence))
        .collect();
    assert_eq!(keys.len(), events.len(), "some are there twice");
    assert_eq!(events.len(), invocations * each as usize);
    assert!(keys.iter().all(|&(_, sequence)| sequence < each));
}

#[test]
fn a_full_file_is_put_aside_between_lines_and_no_event_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    let rotation = Rotation {
        size: 16 * 1024,
        keep: 1000,
    };
    let (feed, lines) = feed(JsonLines::rotating(&path, rotation).unwrap());
    for n in 1..=500 {
        work(&feed, n, 2);
    }
    assert!(lines.flush(LONG));
    let files = family(&path);
    assert!(files.len() > 20, "{files:?}");
    for file in &files {
        let size = fs::metadata(file).unwrap().len();
        assert!(size <= rotation.size, "{file:?}: {size}");
    }
    let events = events(&files);
    assert_exactly_once(&events, 500, 5);
    assert_eq!((lines.lost(), lines.failed()), (0, 0));
}

#[test]
fn only_so_many_older_files_are_kept_and_they_are_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    let rotation = Rotation {
        size: 4096,
        keep: 3,
    };
    let (feed, lines) = feed(JsonLines::rotating(&path, rotation).unwrap());
    for n in 1..=300 {
        work(&feed, n, 2);
    }
    assert!(lines.flush(LONG));
    let files = family(&path);
    assert_eq!(files.len(), 4, "{files:?}");
    let kept = events(&files);
    let first = kept.iter().map(|e| e.invocation_id.0).min().unwrap();
    // What is kept has no hole.
    assert_eq!(kept.last().map(|e| e.invocation_id.0 <= 300), Some(true));
    let expected: BTreeSet<u128> = (first..=300).collect();
    let found: BTreeSet<u128> = kept.iter().map(|e| e.invocation_id.0).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_line_that_is_longer_than_a_file_may_be_has_one_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    let rotation = Rotation {
        size: 1000,
        keep: 50,
    };
    let (feed, lines) = feed(JsonLines::rotating(&path, rotation).unwrap());
    let span = in_invocation(1, InvocationId(1));
    open(&feed, span, None, SpanKind::Server, 0);
    feed.attributes(span, &[Attribute::new("long", "x".repeat(5000))]);
    close(&feed, span, 1);
    assert!(lines.flush(LONG));
    let files = family(&path);
    assert_exactly_once(&events(&files), 1, 4);
    let long = files
        .iter()
        .map(|f| fs::read_to_string(f).unwrap())
        .find(|text| text.contains("xxx"))
        .unwrap();
    assert_eq!(long.lines().count(), 1);
}

#[test]
fn several_writers_share_a_file_and_its_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    let rotation = Rotation {
        size: 32 * 1024,
        keep: 1000,
    };
    let writers: Vec<_> = (0..4u128)
        .map(|writer| {
            let path = path.clone();
            std::thread::spawn(move || {
                let (feed, lines) = feed(JsonLines::rotating(&path, rotation).unwrap());
                for n in 0..500 {
                    work(&feed, 1 + writer * 1000 + n, 2);
                }
                assert!(lines.flush(LONG));
                assert_eq!((lines.lost(), lines.failed()), (0, 0));
            })
        })
        .collect();
    writers.into_iter().for_each(|w| w.join().unwrap());
    let files = family(&path);
    assert!(files.len() > 30, "{}", files.len());
    assert_exactly_once(&events(&files), 2000, 5);
}

#[test]
fn a_writer_that_holds_the_lock_for_ever_costs_the_rotation_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    let rotation = Rotation {
        size: 1000,
        keep: 50,
    };
    let (feed, lines) = feed(JsonLines::rotating(&path, rotation).unwrap());
    let stopped = fs::File::open(&path).unwrap();
    stopped.lock().unwrap();
    for n in 1..=50 {
        work(&feed, n, 2);
    }
    assert!(lines.flush(LONG));
    assert_eq!(family(&path).len(), 1);
    assert_exactly_once(&events(&family(&path)), 50, 5);
    drop(stopped);
    work(&feed, 51, 2);
    assert!(lines.flush(LONG));
    assert!(family(&path).len() > 1);
    assert_exactly_once(&events(&family(&path)), 51, 5);
}

#[test]
fn a_file_that_was_moved_is_opened_again_when_told_and_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    let (feed, lines) = feed(JsonLines::file(&path).unwrap());
    work(&feed, 1, 2);
    assert!(lines.flush(LONG));

    let first = dir.path().join("first");
    fs::rename(&path, &first).unwrap();
    lines.reopen();
    until(|| path.exists());
    work(&feed, 2, 2);
    assert!(lines.flush(LONG));
    assert_eq!(events(std::slice::from_ref(&path)).len(), 5);

    // Nobody says anything now.
    let second = dir.path().join("second");
    fs::rename(&path, &second).unwrap();
    let mut n = 2;
    until(|| {
        n += 1;
        work(&feed, n, 2);
        assert!(lines.flush(LONG));
        path.exists()
    });
    assert_exactly_once(&events(&[first, second, path]), n as usize, 5);
}

#[test]
fn a_moved_file_that_cannot_be_made_again_stays_in_use_and_a_removed_one_costs_lines_that_are_counted()
 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    let (feed, lines) = feed(JsonLines::file(&path).unwrap());
    work(&feed, 1, 2);
    assert!(lines.flush(LONG));
    let moved = dir.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    // Something is in the way that cannot be appended to, whoever we are.
    fs::create_dir(&path).unwrap();
    lines.reopen();
    work(&feed, 2, 2);
    assert!(lines.flush(LONG));
    assert_eq!(lines.failed(), 0);
    assert_exactly_once(&events(std::slice::from_ref(&moved)), 2, 5);

    fs::remove_file(&moved).unwrap();
    lines.reopen();
    work(&feed, 3, 2);
    assert!(lines.flush(LONG));
    assert_eq!(lines.failed(), 5);

    fs::remove_dir(&path).unwrap();
    lines.reopen();
    work(&feed, 4, 2);
    assert!(lines.flush(LONG));
    assert_eq!(lines.failed(), 5);
    assert_exactly_once(&events(&[path]), 1, 5);
}

#[test]
fn a_full_file_that_cannot_be_put_aside_grows_and_is_put_aside_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    let rotation = Rotation {
        size: 2000,
        keep: 1,
    };
    // A folder with something in it cannot be replaced by a file.
    let blocked = dir.path().join("tail.jsonl.1");
    fs::create_dir(&blocked).unwrap();
    fs::write(blocked.join("in the way"), "").unwrap();
    let (feed, lines) = feed(JsonLines::rotating(&path, rotation).unwrap());
    for n in 1..=20 {
        work(&feed, n, 2);
    }
    assert!(lines.flush(LONG));
    assert_exactly_once(&events(std::slice::from_ref(&path)), 20, 5);
    fs::remove_dir_all(&blocked).unwrap();
    let mut n = 20;
    until(|| {
        n += 1;
        work(&feed, n, 2);
        assert!(lines.flush(LONG));
        blocked.exists()
    });
    assert_exactly_once(&events(&family(&path)), n as usize, 5);
}

#[test]
fn a_new_file_has_the_permissions_of_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.jsonl");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let rotation = Rotation {
        size: 1000,
        keep: 9,
    };
    let (feed, lines) = feed(JsonLines::rotating(&path, rotation).unwrap());
    for n in 1..=5 {
        work(&feed, n, 2);
    }
    assert!(lines.flush(LONG));
    assert!(family(&path).len() > 1);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
}

#[test]
fn what_is_not_a_regular_file_cannot_be_rotated() {
    let rotation = Rotation {
        size: 1000,
        keep: 1,
    };
    let error = JsonLines::rotating("/dev/null", rotation).err().unwrap();
    assert!(error.to_string().contains("regular file"), "{error}");
    assert!(JsonLines::file("/dev/null").is_ok());
}

#[test]
fn a_full_device_costs_lines_that_are_counted() {
    let (feed, lines) = feed(JsonLines::file("/dev/full").unwrap());
    work(&feed, 1, 2);
    assert!(lines.flush(LONG));
    assert_eq!(lines.failed(), 5);
}

fn until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "it did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}
