//! Lines between those who log and the stream: whoever logs never waits for whoever reads.
//!
//! A bounded buffer of whole lines and a thread that writes them. What does not fit, and what cannot be
//! written, is lost and counted; the log itself says so at the place where the lines are missing, at most
//! once a minute.
//! `tracing_appender::non_blocking` was looked at: it bounds lines and not bytes, cannot say what it lost,
//! prints to the standard output at the end of a program whose log nobody reads, and panics where it gets
//! no thread.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that may wait; as many again may be on their way.
const QUEUED: usize = 1024 * 1024;
/// Memory that is kept between batches.
const KEPT: usize = 16 * 1024;
/// How often losses are told of.
const TELL: Duration = Duration::from_secs(60);

/// Lines that are not in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The queue was full: the stream was not read in time.
    pub(crate) slow: u64,
    /// The stream did not take them.
    pub(crate) failed: u64,
}

impl Lost {
    fn since(self, before: Self) -> Self {
        Self {
            slow: self.slow - before.slow,
            failed: self.failed - before.failed,
        }
    }
}

/// The lines that wait. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// For the thread that writes.
    ready: Condvar,
    /// For those who wait until it has.
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines, each with its end.
    text: Vec<u8>,
    /// How often something was put, and how much of that is written or lost since.
    put: u64,
    done: u64,
    lost: Lost,
    told: Lost,
    tried: Option<Instant>,
    end: End,
    /// Somebody waited in vain, and nothing happened since.
    stuck: bool,
}

/// Whether the program ends: then what was lost is told without waiting for its minute.
#[derive(Default, PartialEq)]
enum End {
    #[default]
    No,
    Wanted,
    Done,
}

impl State {
    /// How long until losses may be told of, if there are any.
    fn due(&self) -> Option<Duration> {
        if self.lost == self.told {
            return None;
        }
        let waited = self.tried.map_or(TELL, |tried| tried.elapsed());
        Some(match self.end {
            End::Wanted => Duration::ZERO,
            _ => TELL.saturating_sub(waited),
        })
    }
}

/// What the thread took to write.
struct Batch {
    put: u64,
    /// What is lost by now, behind these lines; and how much of it is to be told.
    lost: Lost,
    tell: Option<Lost>,
}

impl Queue {
    /// A queue with a thread that writes to `out`, and tells of losses in a line that `tell` makes.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        tell: impl Fn(Lost) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Self::default();
        let source = queue.clone();
        let mut out = Lines {
            out,
            mid_line: false,
        };
        let thread = thread::Builder::new().name("log".into());
        thread.spawn(move || source.run(&mut out, &tell))?;
        Ok(queue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts whole lines in, or loses them.
    fn put(&self, lines: &[u8]) {
        let mut state = self.lock();
        if state.text.len() + lines.len() > QUEUED {
            state.lost.slow += ends(lines);
            return;
        }
        state.text.extend_from_slice(lines);
        state.put += 1;
        drop(state);
        self.0.ready.notify_one();
    }

    /// Waits until what is there is written or lost; whether that was in time. Where somebody waited in
    /// vain before, nobody does again until something moves.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let state = self.lock();
        !state.stuck && self.wait(state, timeout)
    }

    /// The same at the end of the program: what was lost is told, too.
    pub(super) fn end(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        state.end = End::Wanted;
        self.0.ready.notify_one();
        self.wait(state, timeout)
    }

    fn wait(&self, state: MutexGuard<'_, State>, timeout: Duration) -> bool {
        let until = state.put;
        let waiting = |state: &mut State| state.done < until || state.end == End::Wanted;
        let waited = self.0.done.wait_timeout_while(state, timeout, waiting);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state.stuck = waited.timed_out();
        !state.stuck
    }

    /// Lines that were lost.
    pub(super) fn lost(&self) -> Lost {
        self.lock().lost
    }

    /// Bytes that wait.
    pub(super) fn queued(&self) -> usize {
        self.lock().text.len()
    }

    fn run(&self, out: &mut Lines<impl Write>, tell: &impl Fn(Lost) -> Vec<u8>) {
        let mut text = Vec::new();
        loop {
            let batch = self.take(&mut text);
            let lost = out.write(&text);
            let tried = batch.tell.map(|more| {
                let line = tell(more);
                lost == 0 && out.write(&line) == 0
            });
            self.finish(&batch, lost, tried);
            text.clear();
            text.shrink_to(KEPT);
        }
    }

    /// Waits for something to do, and takes all of it.
    fn take(&self, text: &mut Vec<u8>) -> Batch {
        let mut state = self.lock();
        loop {
            let due = state.due();
            let is_due = due.is_some_and(|due| due.is_zero());
            if is_due || !state.text.is_empty() || state.end == End::Wanted {
                std::mem::swap(&mut state.text, text);
                return Batch {
                    put: state.put,
                    lost: state.lost,
                    tell: is_due.then(|| state.lost.since(state.told)),
                };
            }
            let most = due.unwrap_or(Duration::MAX);
            let waited = self.0.ready.wait_timeout(state, most);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn finish(&self, batch: &Batch, lost: u64, told: Option<bool>) {
        let mut state = self.lock();
        state.done = batch.put;
        state.lost.failed += lost;
        state.stuck = false;
        if let Some(told) = told {
            state.tried = Some(Instant::now());
            if told {
                state.told = batch.lost;
            }
        }
        if state.end == End::Wanted && state.text.is_empty() {
            state.end = End::Done;
        }
        drop(state);
        self.0.done.notify_all();
    }
}

/// A piece that is written is whole lines.
impl Write for Queue {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.put(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The stream.
struct Lines<W> {
    out: W,
    /// The last write broke off within a line.
    mid_line: bool,
}

impl<W: Write> Lines<W> {
    /// Writes whole lines; how many of them are lost.
    fn write(&mut self, text: &[u8]) -> u64 {
        if text.is_empty() {
            return 0;
        }
        if self.mid_line {
            match self.out.write_all(b"\n") {
                Ok(()) => self.mid_line = false,
                Err(_) => return ends(text),
            }
        }
        let mut written = 0;
        while written < text.len() {
            match self.out.write(&text[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.mid_line = written > 0 && text[written - 1] != b'\n';
        ends(&text[written..])
    }
}

fn ends(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}
