//! Panics, as lines of the log. The standard library would print them on the thread that panics, which may
//! be the one that serves, to a stream that perhaps nobody reads.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing::Level;

use super::words::Words;

/// How long a thread that panics waits until that is said: what comes next may be the end of the process.
const SAY: Duration = Duration::from_millis(100);

/// Says panics in the log from now on.
pub(super) fn log(program: &'static str) {
    std::panic::set_hook(Box::new(move |info| {
        let backtrace = Backtrace::capture();
        let captured = backtrace.status() == BacktraceStatus::Captured;
        super::words(&Words {
            program,
            level: Level::ERROR,
            text: &described(info),
            backtrace: captured.then(|| backtrace.to_string()),
        });
        if let Some(queue) = super::queue() {
            queue.flush(SAY);
        }
    }));
}

fn described(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let place = info.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    let said = info.payload_as_str().unwrap_or("no text");
    format!("the thread {thread} panicked at {place}: {said}")
}
