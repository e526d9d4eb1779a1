//! Tail events as JSON lines: a thread of its own writes them to a file, a terminal, or any writer.
//!
//! Each line stands for itself. Whole lines are handed to the writer in one piece, so that several
//! processes may append to one file. A write that fails costs lines, which are counted, and is warned
//! about once; it costs nothing else, and later lines are tried again.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::queue::{Queue, QueueLimits};
use crate::{Event, EventSink};

/// Events that are written in one piece.
const BATCH: usize = 256;
/// How long the writer waits for more, so that a busy feed does not wake it for each event.
const LINGER: Duration = Duration::from_millis(5);
/// How long dropping waits for what is queued.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);
/// Memory that is kept between batches.
const KEPT: usize = 64 * 1024;

/// Called once, on the writer's thread, with the first error.
type OnError = Box<dyn FnOnce(&io::Error) + Send>;

/// Writes the events of a feed as JSON lines.
///
/// Give it to [`Feed::subscribe`](crate::Feed::subscribe) in an `Arc`, and keep one: dropping the last
/// one (the feed's included) waits up to two seconds for what is queued.
pub struct JsonLines {
    queue: Arc<Queue>,
    failed: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

impl JsonLines {
    /// Appends to a file, which is made if it is not there. A problem with it is warned about as a
    /// `tracing` event.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let name = path.display().to_string();
        Ok(Self::warning(file, name))
    }

    /// Writes to the standard error stream.
    pub fn stderr() -> Self {
        Self::warning(io::stderr(), "the standard error stream".to_owned())
    }

    /// Writes to any writer; a problem with it is warned about as a `tracing` event.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self::warning(writer, "the tail's writer".to_owned())
    }

    /// Writes to any writer, with a queue of your own size. The first error of the writer goes to
    /// `on_error`, on the thread that writes.
    pub fn with(
        writer: impl Write + Send + 'static,
        limits: QueueLimits,
        on_error: impl FnOnce(&io::Error) + Send + 'static,
    ) -> Self {
        let queue = Arc::new(Queue::new(limits));
        let failed = Arc::new(AtomicU64::new(0));
        let mut lines = Lines {
            out: writer,
            mid_line: false,
            failed: Arc::clone(&failed),
            on_error: Some(Box::new(on_error)),
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
            failed,
            writer: spawned.ok(),
        }
    }

    fn warning(writer: impl Write + Send + 'static, name: String) -> Self {
        Self::with(writer, QueueLimits::default(), move |error| {
            tracing::warn!(%error, "cannot write tail events to {name}; events are lost until it works again");
        })
    }

    /// Waits until everything reported before is written, or tried; whether that was in time.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.queue.flush(timeout)
    }

    /// Events lost because the writer was slower than the feed.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Lines lost because writing failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
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

/// The thread that writes.
struct Lines<W> {
    out: W,
    /// The last write broke off within a line.
    mid_line: bool,
    failed: Arc<AtomicU64>,
    on_error: Option<OnError>,
}

impl<W: Write> Lines<W> {
    fn run(&mut self, queue: &Queue) {
        let (mut batch, mut text) = (Vec::with_capacity(BATCH), Vec::new());
        while queue.take_batch(&mut batch, BATCH, LINGER) {
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
        if let Err(error) = self.try_write(text, &mut written) {
            let lost = text[written..].iter().filter(|&&b| b == b'\n').count();
            self.failed.fetch_add(lost as u64, Ordering::Relaxed);
            self.mid_line |= written > 0 && text[written - 1] != b'\n';
            if let Some(on_error) = self.on_error.take() {
                on_error(&error);
            }
        }
    }

    fn try_write(&mut self, text: &[u8], written: &mut usize) -> io::Result<()> {
        if self.mid_line {
            self.out.write_all(b"\n")?;
            self.mid_line = false;
        }
        while *written < text.len() {
            match self.out.write(&text[*written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => *written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.flush()
    }
}
