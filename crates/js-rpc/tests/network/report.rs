//! What each input did, and whether that is allowed.

use std::sync::{Once, RwLock};
use std::time::{Duration, Instant};

use crate::peer::Sent;

/// Bytes that one input may cost.
const MEMORY: isize = 32 << 20;

/// Of those, how many for each byte that was sent, beyond [`CONNECTION`].
const AMPLIFIED: f64 = 8.0;

/// Inputs that exceed this, and by how much they may. Each of their smallest messages begins something
/// that lasts, and what it takes is capnp-rpc's: channels, shared futures, tasks and entries of hash tables,
/// while the message itself and our own tables are a tenth of it or less. So their number is the bound, by
/// the marks `in_flight`, `imports` and `promises`: at their defaults some 11 MiB for 4,096 calls (2.7 KiB
/// each), 6 for 16,000 capabilities (0.4 each), 3 for 4,000 promises (0.7 each), as this suite prints.
/// To print a panic, the standard library reads the program's symbols.
const EXCEED: [(&str, f64); 4] = [
    ("5,000 calls that wait", 18.0),
    ("20,000 capabilities passed", 18.0),
    ("5,000 promises passed", 36.0),
    ("a method that panics", f64::INFINITY),
];

/// Bytes that a connection may cost whatever is sent on it.
const CONNECTION: usize = 1 << 20;

/// What an honest peer may have to wait, in any build, without what the [`clock`](crate::clock) leaves out.
pub const WAIT: Duration = Duration::from_millis(100);

/// Attempts that an input has to keep to [`WAIT`]. What stalls us stalls us each time; a machine that has
/// other things to do does not.
const ATTEMPTS: usize = 6;

/// Held shared by a first attempt, and alone by others: then nothing else of this process is in the way.
static ALONE: RwLock<()> = RwLock::new(());

/// The most bytes that the victim held at once, and what was sent to it for that.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub memory: isize,
    pub sent: Sent,
}

impl Cost {
    fn is_allowed(self, name: &str) -> bool {
        let exceeds = EXCEED.iter().find(|(input, _)| *input == name);
        let times = exceeds.map_or(AMPLIFIED, |(_, times)| *times);
        self.memory <= MEMORY && self.amplified() <= times
    }

    /// Bytes held for each byte that was sent, beyond what the connections may cost anyway.
    fn amplified(self) -> f64 {
        let free = self.sent.connections * CONNECTION;
        let beyond = self.memory.max(0).unsigned_abs().saturating_sub(free);
        beyond as f64 / self.sent.bytes.max(1) as f64
    }
}

/// What came of an input, once.
pub struct Attempt {
    /// What was seen; an error if that is not what must happen.
    pub outcome: Result<String, String>,
    pub cost: Cost,
    /// The longest that an honest peer waited.
    pub waited: Duration,
}

#[derive(Default)]
pub struct Report {
    lines: Vec<String>,
    wrong: Vec<String>,
    memory: isize,
    amplified: f64,
    waits: Vec<Duration>,
}

impl Report {
    /// Tries an input: again, if only an honest peer waited too long.
    pub fn add(&mut self, name: &str, attempt: impl Fn() -> Attempt) {
        let mut missed = Vec::new();
        while missed.len() < ATTEMPTS {
            let (it, took) = once(missed.is_empty(), &attempt);
            let ok = it.outcome.is_ok() && it.cost.is_allowed(name);
            let waited = it.waited;
            self.note(name, it, took);
            if !ok || waited <= WAIT {
                return;
            }
            missed.push(waited);
        }
        self.wrong
            .push(format!("{name}: an honest peer waited {missed:?}"));
    }

    fn note(&mut self, name: &str, attempt: Attempt, took: Duration) {
        let Attempt {
            outcome,
            cost,
            waited,
        } = attempt;
        let ok = outcome.is_ok() && cost.is_allowed(name);
        let line = format!(
            "{name:<66} {:>6} KiB for {:>6} sent ({:>4.1}x) {:>7.1} ms {:>6.2} s  {}{}",
            cost.memory / 1024,
            cost.sent.bytes / 1024,
            cost.amplified(),
            waited.as_secs_f64() * 1e3,
            took.as_secs_f64(),
            outcome.unwrap_or_else(|said| said),
            if waited > WAIT { " (too late)" } else { "" },
        );
        if !ok {
            self.wrong.push(line.clone());
        }
        self.memory = self.memory.max(cost.memory);
        self.amplified = self.amplified.max(cost.amplified());
        self.waits.push(waited);
        self.lines.push(line);
    }

    /// What is not allowed.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Prints what was seen.
    ///
    /// # Panics
    /// If any of it is not allowed.
    pub fn finish(mut self, role: &str) {
        for line in &self.lines {
            println!("{line}");
        }
        self.waits.sort_unstable();
        let late = self.waits.iter().filter(|waited| **waited > WAIT).count();
        println!(
            "{} attempts with inputs for a {role}: at most {} KiB, and {:.2} times what was sent beyond \
             1 MiB a connection; an honest peer waited {:?} at most, {:?} in the median, more than \
             {WAIT:?} in {late}",
            self.lines.len(),
            self.memory / 1024,
            self.amplified,
            self.waits[self.waits.len() - 1],
            self.waits[self.waits.len() / 2],
        );
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}

/// One attempt, and how long it took.
fn once(first: bool, attempt: impl Fn() -> Attempt) -> (Attempt, Duration) {
    // To say where a panic is, the program's symbols are read once: not while a victim is measured.
    static SYMBOLS: Once = Once::new();
    SYMBOLS.call_once(|| {
        std::hint::black_box(std::backtrace::Backtrace::force_capture().to_string());
    });
    let (_shared, _alone) = match first {
        true => (Some(ALONE.read()), None),
        false => (None, Some(ALONE.write())),
    };
    let began = Instant::now();
    (attempt(), began.elapsed())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Tries what took so long, one after the other; how often, and whether that is wrong.
    fn tried(waits: &[Duration]) -> (usize, bool) {
        let (mut report, count) = (Report::default(), Cell::new(0));
        report.add("an input", || Attempt {
            outcome: Ok(String::new()),
            cost: Cost {
                memory: 0,
                sent: Sent::default(),
            },
            waited: waits[count.replace(count.get() + 1)],
        });
        (count.get(), !report.wrong().is_empty())
    }

    #[test]
    fn who_is_late_each_time_is_wrong() {
        let late = 2 * WAIT;
        assert_eq!(tried(&[WAIT]), (1, false));
        assert_eq!(tried(&[late, late, WAIT]), (3, false));
        assert_eq!(tried(&[late; ATTEMPTS]), (ATTEMPTS, true));
    }
}
