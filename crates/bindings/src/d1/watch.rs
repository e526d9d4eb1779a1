//! Stopping a call: its time is up, nobody waits for it any more, others wait for its connection, or it fills
//! the disk.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::{Full, QueryError};
use super::options::DatabaseOptions;

/// How many of SQLite's instructions run between two looks at the clock. Most take nanoseconds, but one can read or
/// write a value of megabytes.
const INSTRUCTIONS: i32 = 100;

/// Between two looks at whoever waits for the call, and at the files that it makes.
const ASK: Duration = Duration::from_millis(2);
const MEASURE: Duration = Duration::from_millis(20);

/// Whoever waits for a call that runs.
pub(super) trait Waiter: Send + Sync {
    /// Why the call should end now, if it should.
    fn stop(&self) -> Option<Stopped>;

    /// The call is about to be committed and cannot be stopped from then on, or it is to end instead.
    fn commit(&self) -> Result<(), Stopped>;

    /// The call was committed.
    fn committed(&self) {}
}

/// A call that runs, as it is watched.
pub(super) struct Control {
    /// When its time is up.
    pub(super) deadline: Option<Instant>,
    pub(super) waiter: Arc<dyn Waiter>,
    /// Whether the reply has the columns' names in each row.
    pub(super) names_in_rows: bool,
}

/// One connection's progress handler, and what it looks at.
pub(super) struct Watch(Mutex<Watched>);

struct Watched {
    call: Option<Call>,
    stopped: Option<Stopped>,
    files: Files,
}

struct Call {
    deadline: Option<Instant>,
    waiter: Arc<dyn Waiter>,
    /// On the [coarse clock](coarse).
    ask: Duration,
    measure: Duration,
}

/// Why a call was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    TimeIsUp,
    Cancelled,
    /// Others wait, who had less of the database's time.
    GaveWay,
    Full(Full),
}

impl Stopped {
    /// The error of a call with this much time.
    pub(super) fn error(self, limit: Duration) -> QueryError {
        match self {
            Self::TimeIsUp => QueryError::Timeout(limit),
            Self::Cancelled => QueryError::Cancelled,
            Self::GaveWay => QueryError::GaveWay,
            Self::Full(full) => QueryError::Full(full),
        }
    }
}

/// The files that a call can make grow besides the database itself, whose size SQLite bounds.
struct Files {
    /// The write-ahead log, of a connection that writes.
    log: Option<PathBuf>,
    /// How large it was when the call began. A call that was rolled back leaves it as it grew, and the next ones use
    /// it from its start again.
    log_before: u64,
    max_log: u64,
    max_temporary: u64,
}

impl Files {
    fn log_bytes(&self) -> u64 {
        let log = self.log.as_ref();
        let file = log.and_then(|log| std::fs::metadata(log).ok());
        file.map_or(0, |file| file.len())
    }

    fn full(&self) -> Option<Full> {
        if self.log_bytes() > self.max_log.max(self.log_before) {
            return Some(Full::Log(self.max_log));
        }
        (temporary_bytes() > self.max_temporary).then_some(Full::Temporary(self.max_temporary))
    }
}

/// Bytes of files of this process that have no name in any folder, as SQLite's temporary files have none.
fn temporary_bytes() -> u64 {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return 0;
    };
    let files = open
        .flatten()
        .filter_map(|entry| std::fs::metadata(entry.path()).ok());
    let temporary = files.filter(|file| file.is_file() && file.nlink() == 0);
    temporary.map(|file| file.len()).sum()
}

impl Watch {
    /// Looks at the calls of this connection, to a database at `path`, from now on.
    pub(super) fn install(
        connection: &mut Connection,
        path: &Path,
        options: &DatabaseOptions,
        writes: bool,
    ) -> rusqlite::Result<Arc<Self>> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let files = Files {
            log: writes.then(|| log.into()),
            log_before: 0,
            max_log: options.max_log_bytes,
            max_temporary: options.max_temporary_bytes,
        };
        let watch = Arc::new(Self(Mutex::new(Watched {
            call: None,
            stopped: None,
            files,
        })));
        let asked = Arc::clone(&watch);
        connection.progress_handler(INSTRUCTIONS, Some(move || asked.must_stop()))?;
        Ok(watch)
    }

    /// Watches a call from now on.
    pub(super) fn start(&self, control: &Control) {
        let now = coarse();
        let mut watched = self.watched();
        watched.stopped = None;
        watched.files.log_before = watched.files.log_bytes();
        watched.call = Some(Call {
            deadline: control.deadline,
            waiter: Arc::clone(&control.waiter),
            ask: now + ASK,
            measure: now + MEASURE,
        });
    }

    /// Stops watching: what runs from now on is not interrupted.
    pub(super) fn end(&self) {
        self.watched().call = None;
    }

    /// How large the write-ahead log is, of a connection that writes.
    pub(super) fn log_bytes(&self) -> u64 {
        self.watched().files.log_bytes()
    }

    /// Why the call was interrupted, if it was.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.watched().stopped
    }

    /// What of the call's time is left.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let watched = self.watched();
        let deadline = watched.call.as_ref()?.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Looks as SQLite does while it runs, for a call of many statements that are done at once.
    pub(super) fn check_due(&self) -> Option<Stopped> {
        self.watched().look()
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn must_stop(&self) -> bool {
        self.watched().look().is_some()
    }
}

/// A clock that is read in a few nanoseconds, and a few milliseconds late.
fn coarse() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    Duration::try_from(now).unwrap_or_default()
}

impl Watched {
    fn look(&mut self) -> Option<Stopped> {
        // What runs after a call, its rollback above all, is not stopped as the call was.
        let call = self.call.as_mut()?;
        if self.stopped.is_some() {
            return self.stopped;
        }
        let now = coarse();
        if now < call.ask {
            return None;
        }
        call.ask = now + ASK;
        if call
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            self.stopped = Some(Stopped::TimeIsUp);
            return self.stopped;
        }
        self.stopped = call.waiter.stop();
        if now >= call.measure {
            call.measure = now + MEASURE;
            self.stopped = self.stopped.or(self.files.full().map(Stopped::Full));
        }
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gone;

    impl Waiter for Gone {
        fn stop(&self) -> Option<Stopped> {
            Some(Stopped::Cancelled)
        }

        fn commit(&self) -> Result<(), Stopped> {
            Ok(())
        }
    }

    #[test]
    fn what_runs_after_a_call_that_was_stopped_is_not_stopped() {
        let mut connection = Connection::open_in_memory().unwrap();
        let options = DatabaseOptions::default();
        let watch = Watch::install(&mut connection, Path::new("none"), &options, true).unwrap();
        let run = |sql: &str| connection.prepare_cached(sql).unwrap().execute(());
        for _ in 0..100 {
            watch.start(&Control {
                deadline: Some(Instant::now()),
                waiter: Arc::new(Gone),
                names_in_rows: false,
            });
            run("begin").unwrap();
            let endless =
                "with recursive c(n) as (select 1 union select n + 1 from c) select max(n) from c";
            let read = connection.query_row(endless, (), |row| row.get::<_, i64>(0));
            assert!(read.is_err());
            assert_eq!(watch.stopped(), Some(Stopped::TimeIsUp));
            watch.end();
            run("rollback").unwrap();
            assert!(connection.is_autocommit());
        }
    }
}
