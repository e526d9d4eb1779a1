//! What each input did, and whether that is allowed.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Bytes that one input may cost.
const MEMORY: isize = 32 << 20;

/// What an honest peer may have to wait on a machine that is shared with others; 100 ms is what we aim
/// for on one of our own.
const WAIT: Duration = Duration::from_secs(1);

/// How late a thread that only sleeps was woken, and when: what the machine is to blame for.
struct Witness(Mutex<Vec<(Instant, Duration)>>);

impl Witness {
    fn get() -> &'static Self {
        static WITNESS: OnceLock<Witness> = OnceLock::new();
        static STARTED: OnceLock<()> = OnceLock::new();
        let witness = WITNESS.get_or_init(|| Self(Mutex::default()));
        STARTED.get_or_init(|| {
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

pub struct Report {
    lines: Vec<String>,
    wrong: Vec<String>,
    memory: isize,
    waits: Vec<Duration>,
}

impl Default for Report {
    fn default() -> Self {
        Witness::get();
        Self {
            lines: Vec::new(),
            wrong: Vec::new(),
            memory: 0,
            waits: Vec::new(),
        }
    }
}

impl Report {
    pub fn add(
        &mut self,
        name: &str,
        outcome: Result<String, String>,
        memory: isize,
        wait: Duration,
        began: Instant,
    ) {
        let (said, ok) = match outcome {
            Ok(said) => (said, true),
            Err(said) => (said, false),
        };
        let line = format!(
            "{name:<58} {:>8} KiB {:>7.1} ms {:>6.2} s  {said}",
            memory / 1024,
            wait.as_secs_f64() * 1e3,
            began.elapsed().as_secs_f64(),
        );
        // A call takes several turns of several threads.
        let late = Witness::get().late(began) * 4;
        if !ok || memory > MEMORY || wait > WAIT + late {
            self.wrong.push(format!("{line} (late: {late:?})"));
        }
        self.memory = self.memory.max(memory);
        self.waits.push(wait);
        self.lines.push(line);
    }

    pub fn finish(mut self, role: &str) {
        for line in &self.lines {
            println!("{line}");
        }
        self.waits.sort_unstable();
        println!(
            "{} inputs for a {role}: at most {} KiB; an honest peer waited {:?} at most, {:?} in the median",
            self.lines.len(),
            self.memory / 1024,
            self.waits[self.waits.len() - 1],
            self.waits[self.waits.len() / 2],
        );
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}
