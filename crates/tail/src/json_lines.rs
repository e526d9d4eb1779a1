//! Tail events as JSON lines: a thread of its own writes them to a file, a terminal, or any writer.
//!
//! Each line stands for itself. Whole lines are handed to the writer in one piece, so that several
//! processes may append to one file. A write that fails costs lines, which are counted, and is warned
//! about once a minute; it costs nothing else, and later lines are tried again. How files are rotated,
//! and opened again when they were moved, is in `json_lines/file.rs`.

mod file;
mod rotate;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::file::TailFile;
use crate::queue::{Queue, QueueLimits};
use crate::{Event, EventSink};

pub use self::rotate::Rotation;

/// Events that are written in one piece.
const BATCH: usize = 256;
/// How long the writer waits for more, so that a busy feed does not wake it for each event.
const LINGER: Duration = Duration::from_millis(5);
/// How long dropping waits for what is queued.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);
/// Memory that is kept between batches.
const KEPT: usize = 64 * 1024;
/// How often a writer that keeps failing is told of.
const TELL: Duration = Duration::from_secs(60);

/// Called on the writer's thread, at most once a minute, with an error.
type OnError = Box<dyn FnMut(&io::Error) + Send>;

/// Writes the events of a feed as JSON lines.
///
/// Give it to [`Feed::subscribe`](crate::Feed::subscribe) in an `Arc`, and keep one: dropping the last
/// one (the feed's included) waits up to two seconds for what is queued.
pub struct JsonLines {
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer's thread and the others know.
#[derive(Default)]
struct Shared {
    failed: AtomicU64,
    reopen: AtomicBool,
}

impl JsonLines {
    /// Appends to a file, which is made if it is not there, and again when it was moved or removed: that
    /// is noticed within a second of the next event, or when [`reopen`](Self::reopen) says so. A problem
    /// with it is warned about as a `tracing` event.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn file(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open(path.as_ref(), None)
    }

    /// The same, and puts the file aside when it is full. Several processes may write to one file if all
    /// of them rotate it, by the same limits; a file system without `flock` makes that one process.
    ///
    /// # Errors
    /// When the file cannot be opened, or is not a regular one.
    pub fn rotating(path: impl AsRef<Path>, rotation: Rotation) -> io::Result<Self> {
        Self::open(path.as_ref(), Some(rotation))
    }

    fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let file = TailFile::open(path, rotation)?;
        let name = path.display().to_string();
        Ok(Self::start(file, QueueLimits::default(), warn(name)))
    }

    /// Writes to the standard error stream.
    pub fn stderr() -> Self {
        let name = "the standard error stream".to_owned();
        Self::with(io::stderr(), QueueLimits::default(), warn(name))
    }

    /// Writes to any writer; a problem with it is warned about as a `tracing` event.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        let name = "the tail's writer".to_owned();
        Self::with(writer, QueueLimits::default(), warn(name))
    }

    /// Writes to any writer, with a queue of your own size. The writer's errors go to `on_error`, on the
    /// thread that writes, the first at once and others at most once a minute.
    pub fn with(
        writer: impl Write + Send + 'static,
        limits: QueueLimits,
        on_error: impl FnMut(&io::Error) + Send + 'static,
    ) -> Self {
        let plain = Plain {
            out: writer,
            mid_line: false,
        };
        Self::start(plain, limits, on_error)
    }

    fn start(
        target: impl Target + Send + 'static,
        limits: QueueLimits,
        on_error: impl FnMut(&io::Error) + Send + 'static,
    ) -> Self {
        let queue = Arc::new(Queue::new(limits));
        let shared = Arc::new(Shared::default());
        let mut lines = Lines {
            target,
            shared: Arc::clone(&shared),
            on_error: Box::new(on_error),
            told: None,
        };
        let source = Arc::clone(&queue);
        let spawned = thread::Builder::new()
            .name("tail".to_owned())
            .spawn(move || lines.run(&source));
        if spawned.is_err() {
            queue.close();
        }
        Self {
            queue,
            shared,
            writer: spawned.ok(),
        }
    }

    /// Opens the file by its path again, soon and on the thread that writes: somebody moved it away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.queue.poke();
    }

    /// Waits until everything reported before is written, or tried; whether that was in time.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.queue.flush(timeout)
    }

    /// Events that wait to be written.
    pub fn queued(&self) -> usize {
        self.queue.queued()
    }

    /// Events lost because the writer was slower than the feed.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Lines lost because writing failed.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }
}

fn warn(name: String) -> impl FnMut(&io::Error) + Send + 'static {
    move |error| {
        tracing::warn!(%error, "cannot write tail events to {name}; events are lost until it works again");
    }
}

impl EventSink for JsonLines {
    fn event(&self, event: &Arc<Event>) -> bool {
        self.queue.event(event)
    }
}

impl Drop for JsonLines {
    fn drop(&mut self) {
        let in_time = self.queue.flush(DROP_TIMEOUT);
        self.queue.close();
        // A writer that hangs keeps its thread; joining it would hang the program.
        if let Some(writer) = self.writer.take().filter(|_| in_time) {
            let _ = writer.join();
        }
    }
}

/// What lines are written to.
trait Target {
    /// Writes whole lines; `written` counts what arrived, also of what failed.
    fn write(&mut self, text: &[u8], written: &mut usize) -> io::Result<()>;

    /// The file was moved.
    fn reopen(&mut self) {}
}

/// Any writer.
struct Plain<W> {
    out: W,
    /// The last write broke off within a line.
    mid_line: bool,
}

impl<W: Write> Target for Plain<W> {
    fn write(&mut self, text: &[u8], written: &mut usize) -> io::Result<()> {
        if self.mid_line {
            self.out.write_all(b"\n")?;
            self.mid_line = false;
        }
        let done = write_some(&mut self.out, text, written);
        self.mid_line = *written > 0 && text[*written - 1] != b'\n';
        done
    }
}

/// Writes all of a text, and counts what was written of it when that fails.
fn write_some(out: &mut impl Write, text: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < text.len() {
        match out.write(&text[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => *written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

/// The thread that writes.
struct Lines<T> {
    target: T,
    shared: Arc<Shared>,
    on_error: OnError,
    told: Option<Instant>,
}

impl<T: Target> Lines<T> {
    fn run(&mut self, queue: &Queue) {
        let (mut batch, mut text) = (Vec::with_capacity(BATCH), Vec::new());
        while queue.take_batch(&mut batch, BATCH, LINGER) {
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.target.reopen();
            }
            let n = batch.len();
            for event in batch.drain(..) {
                let whole = text.len();
                match event.write_line(&mut text) {
                    Ok(()) => text.push(b'\n'),
                    Err(_) => text.truncate(whole),
                }
            }
            self.write(&text);
            text.clear();
            text.shrink_to(KEPT);
            queue.finish(n);
        }
    }

    fn write(&mut self, text: &[u8]) {
        let mut written = 0;
        let Err(error) = self.target.write(text, &mut written) else {
            return;
        };
        let lost = text[written..].iter().filter(|&&b| b == b'\n').count();
        self.shared.failed.fetch_add(lost as u64, Ordering::Relaxed);
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            self.told = Some(Instant::now());
            (self.on_error)(&error);
        }
    }
}
