//! What each input did, and whether that is allowed.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::peer::Sent;

/// Bytes that one input may cost.
const MEMORY: isize = 32 << 20;

/// Of those, how many for each byte that was sent, beyond [`CONNECTION`].
const AMPLIFIED: f64 = 8.0;

/// Inputs that exceed this, and by how much they may. Each of their smallest messages begins something
/// that lasts, for which capnp-rpc needs more: what bounds them is its number, by the marks `in_flight`,
/// `imports` and `promises`. And to print a panic, the standard library reads the program's symbols.
const EXCEED: [(&str, f64); 4] = [
    ("5,000 calls that wait", 24.0),
    ("20,000 capabilities passed", 20.0),
    ("5,000 promises passed", 40.0),
    ("a method that panics", f64::INFINITY),
];

/// Bytes that a connection may cost whatever is sent on it.
const CONNECTION: usize = 1 << 20;

/// What an honest peer may have to wait. A build without optimization has more time: it is for machines
/// that are shared with others.
const WAIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 });

/// How late a thread that only sleeps was woken, and when: what the machine is to blame for.
struct Witness(Mutex<Vec<(Instant, Duration)>>);

impl Witness {
    fn get() -> &'static Self {
        static WITNESS: OnceLock<Witness> = OnceLock::new();
        static STARTED: OnceLock<()> = OnceLock::new();
        let witness = WITNESS.get_or_init(|| Self(Mutex::default()));
        STARTED.get_or_init(|| {
            // To say where a panic is, the program's symbols are read once: not while a victim is measured.
            std::hint::black_box(std::backtrace::Backtrace::force_capture().to_string());
            std::thread::spawn(|| {
                loop {
                    let began = Instant::now();
                    std::thread::sleep(Duration::from_millis(2));
                    let late = began.elapsed();
                    if late > Duration::from_millis(20) {
                        witness.0.lock().expect("a witness").push((began, late));
                    }
                }
            });
        });
        witness
    }

    /// All the time that it was late since then.
    fn late(&self, since: Instant) -> Duration {
        let seen = self.0.lock().expect("a witness");
        let after = seen.iter().filter(|(at, late)| *at + *late >= since);
        after.map(|(_, late)| *late).sum()
    }
}

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

pub struct Report {
    lines: Vec<String>,
    wrong: Vec<String>,
    memory: isize,
    amplified: f64,
    waits: Vec<Duration>,
}

impl Default for Report {
    fn default() -> Self {
        Witness::get();
        Self {
            lines: Vec::new(),
            wrong: Vec::new(),
            memory: 0,
            amplified: 0.0,
            waits: Vec::new(),
        }
    }
}

impl Report {
    pub fn add(
        &mut self,
        name: &str,
        outcome: Result<String, String>,
        cost: Cost,
        wait: Duration,
        began: Instant,
    ) {
        let (said, ok) = match outcome {
            Ok(said) => (said, true),
            Err(said) => (said, false),
        };
        let line = format!(
            "{name:<66} {:>6} KiB for {:>6} sent ({:>4.1}x) {:>7.1} ms {:>6.2} s  {said}",
            cost.memory / 1024,
            cost.sent.bytes / 1024,
            cost.amplified(),
            wait.as_secs_f64() * 1e3,
            began.elapsed().as_secs_f64(),
        );
        // A call takes several turns of several threads.
        let late = Witness::get().late(began) * 4;
        if !ok || !cost.is_allowed(name) || wait > WAIT + late {
            self.wrong.push(format!("{line} (late: {late:?})"));
        }
        self.memory = self.memory.max(cost.memory);
        self.amplified = self.amplified.max(cost.amplified());
        self.waits.push(wait);
        self.lines.push(line);
    }

    pub fn finish(mut self, role: &str) {
        for line in &self.lines {
            println!("{line}");
        }
        self.waits.sort_unstable();
        println!(
            "{} inputs for a {role}: at most {} KiB, and {:.2} times what was sent beyond 1 MiB a \
             connection; an honest peer waited {:?} at most, {:?} in the median",
            self.lines.len(),
            self.memory / 1024,
            self.amplified,
            self.waits[self.waits.len() - 1],
            self.waits[self.waits.len() / 2],
        );
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}
