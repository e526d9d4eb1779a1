//! The log on streams that are read late, badly or not at all.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::queue::{Lost, Queue};
use super::words::Words;
use super::*;

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

fn piped() -> (Queue, BufReader<PipeReader>) {
    let (reader, writer) = io::pipe().unwrap();
    let tell = |lost| Words::missing("test", lost).line(LogFormat::Text);
    let queue = Queue::start(writer, tell).unwrap();
    (queue, BufReader::new(reader))
}

/// Puts lines until one is lost; how many were put.
fn fill(queue: &mut Queue, length: usize) -> u64 {
    let before = queue.lost();
    for count in 1.. {
        let line = format!("{count:0>length$}\n");
        queue.write_all(line.as_bytes()).unwrap();
        if queue.lost() != before {
            return count;
        }
    }
    unreachable!("nothing is lost")
}

#[test]
fn nobody_waits_for_a_stream_that_is_not_read_and_the_log_says_what_it_lost_and_where() {
    let (mut queue, reader) = piped();
    let put = fill(&mut queue, 1_000);
    assert_eq!(queue.lost(), Lost { slow: 1, failed: 0 });
    assert!(queue.queued() > 1_000_000 && queue.queued() <= 1024 * 1024);
    assert!(!queue.flush(Duration::from_millis(1)));
    // Nothing has moved, so nobody waits for it again: this would take a minute.
    assert!(!queue.flush(LONG));

    // Now it is read. What was queued is there, then that a line is missing, then what came later.
    let mut lines = reader.lines().map(Result::unwrap);
    for count in 1..put {
        assert_eq!(
            lines.next().unwrap().trim_start_matches('0'),
            count.to_string()
        );
    }
    let told = "test: lines of this log are missing: 1 that were not read in time";
    assert_eq!(lines.next().unwrap(), told);
    queue.write_all(b"later\n").unwrap();
    assert_eq!(lines.next().unwrap(), "later");

    // Within a minute it is not said again, but at the end.
    let again = usize::try_from(fill(&mut queue, 1_000)).unwrap();
    let reading = std::thread::spawn(move || {
        let some: Vec<String> = lines.by_ref().take(again).collect();
        (some, lines.next().unwrap())
    });
    assert!(queue.flush(LONG));
    queue.write_all(b"last\n").unwrap();
    // One that is longer than all that may wait.
    queue
        .write_all(&[&[b'x'; 2 << 20][..], b"\n"].concat())
        .unwrap();
    assert!(queue.end(LONG));
    let (some, told) = reading.join().unwrap();
    assert_eq!(some[again - 1], "last");
    assert!(told.contains(" missing: 2 that were"), "{told}");
    assert_eq!(queue.lost(), Lost { slow: 3, failed: 0 });
}

/// Takes nothing, or a few bytes and then nothing, or all; and says each time what it took.
struct Moody(mpsc::Receiver<usize>, mpsc::Sender<Vec<u8>>);

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.recv() {
            Ok(0) | Err(_) => {
                self.1.send(Vec::new()).unwrap();
                Err(io::ErrorKind::StorageFull.into())
            }
            Ok(most) => {
                let taken = &bytes[..most.min(bytes.len())];
                self.1.send(taken.to_vec()).unwrap();
                Ok(taken.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_cannot_be_written_are_counted_and_said_when_others_can() {
    let ((mood, moods), (taken, takes)) = (mpsc::channel(), mpsc::channel());
    let tell = |lost| Words::missing("test", lost).line(LogFormat::Text);
    let mut queue = Queue::start(Moody(moods, taken), tell).unwrap();
    // The first is cut within, and so is what would be said of it.
    for most in [3, 0, 0] {
        mood.send(most).unwrap();
    }
    queue.write_all(b"first\n").unwrap();
    assert!(queue.flush(LONG));
    assert_eq!(queue.lost(), Lost { slow: 0, failed: 1 });
    // What comes now must find both attempts over.
    let taken: Vec<_> = (0..3).map(|_| takes.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(taken, [&b"fir"[..], b"", b""]);
    for _ in 0..4 {
        mood.send(usize::MAX).unwrap();
    }
    queue.write_all(b"second\n").unwrap();
    assert!(queue.end(LONG));
    drop(queue);
    drop(mood);
    let text: Vec<u8> = std::iter::from_fn(|| takes.try_recv().ok())
        .flatten()
        .collect();
    let text = String::from_utf8(text).unwrap();
    let told = "test: lines of this log are missing: 1 that could not be written\n";
    assert_eq!(text, format!("\nsecond\n{told}"));
}

/// Tells a copy of this test that it is one.
const CHILD: &str = "BINDING_SPAN_TEST_LOG_CHILD";

/// A copy of this test program that runs only the test of that name, as a child.
fn child(test: &str, mode: &str) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([&format!("log::tests::{test}"), "--exact", "--nocapture"]);
    child.env(CHILD, mode).env_remove("RUST_LOG");
    child
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    child
}

fn panic_in_a_thread() {
    let thread = std::thread::Builder::new().name("service".into());
    let thread = thread.spawn(|| panic!("a peer said \u{1b}[2J\nand more"));
    assert!(thread.unwrap().join().is_err());
}

#[test]
fn panics_are_lines_of_the_log_in_its_format_and_wait_for_nobody() {
    let name = "panics_are_lines_of_the_log_in_its_format_and_wait_for_nobody";
    match std::env::var(CHILD).as_deref() {
        Err(_) => {}
        Ok("stuck") => {
            LogArgs::default().start("callee").unwrap();
            fill(&mut queue().unwrap().clone(), 1_000);
            let began = Instant::now();
            for _ in 0..100 {
                panic_in_a_thread();
            }
            println!("took {:?}", began.elapsed());
            // Only the first was waited for.
            assert!(began.elapsed() < Duration::from_secs(5));
            println!("went on");
            return;
        }
        Ok(format) => {
            let format = LogFormat::from_str(format, true).unwrap();
            let log_format = Some(format);
            let args = LogArgs {
                filter: Some("off".into()),
                log_format,
            };
            args.start("callee").unwrap();
            panic_in_a_thread();
            end(LONG);
            return;
        }
    }
    let said = "the thread service panicked at crates/daemons/src/log/tests.rs:";
    let done = child(name, "text")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.starts_with(&format!("callee: {said}")), "{text}");
    assert!(
        text.ends_with(": a peer said \\u{1b}[2J\\nand more\n"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");

    let traced = child(name, "text")
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(traced.stderr).unwrap();
    assert!(text.contains("panic_in_a_thread"), "{text}");

    let done = child(name, "json")
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(done.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(
        line["message"].as_str().unwrap().starts_with(said),
        "{line}"
    );
    assert!(
        line["message"].as_str().unwrap().contains("\u{1b}[2J\n"),
        "{line}"
    );
    assert!(
        line["backtrace"]
            .as_str()
            .unwrap()
            .contains("panic_in_a_thread")
    );
    assert_eq!(line["level"], "ERROR");

    let mut stuck = child(name, "stuck")
        .env("RUST_BACKTRACE", "0")
        .spawn()
        .unwrap();
    let mut stdout = String::new();
    stuck
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    assert!(stdout.contains("went on"), "{stdout}");
    assert!(stuck.wait().unwrap().success());
}
