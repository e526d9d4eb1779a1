//! What a process holds, over time: memory, descriptors, threads, and whether they have a slope.
#![allow(dead_code, reason = "each program uses a part of it")]

use std::fmt::Write as _;
use std::time::Instant;

/// What may be added to it over all of a run, as the fitted line has it.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    pub memory_kib: f64,
    pub descriptors: f64,
    pub threads: f64,
}

/// What a process holds at one time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub seconds: f64,
    pub memory_kib: f64,
    pub descriptors: f64,
    pub threads: f64,
}

/// A process that is watched, and what it held so far.
pub struct Watched {
    pub name: &'static str,
    pid: u32,
    began: Instant,
    pub samples: Vec<Sample>,
}

impl Watched {
    pub fn new(name: &'static str, pid: u32) -> Self {
        Self {
            name,
            pid,
            began: Instant::now(),
            samples: Vec::new(),
        }
    }

    pub fn sample(&mut self) -> Sample {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.expect("it runs");
        let number = |key: &str| -> f64 {
            let line = status.lines().find(|line| line.starts_with(key));
            let word = line.and_then(|line| line.split_whitespace().nth(1));
            word.and_then(|word| word.parse().ok()).expect("a number")
        };
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("it runs");
        let sample = Sample {
            seconds: self.began.elapsed().as_secs_f64(),
            memory_kib: number("VmRSS:"),
            descriptors: open.count() as f64,
            threads: number("Threads:"),
        };
        self.samples.push(sample);
        sample
    }

    /// What it came to hold more over the samples from `first` on, by least squares.
    pub fn growth(&self, first: usize, what: impl Fn(&Sample) -> f64) -> f64 {
        let samples = &self.samples[first.min(self.samples.len())..];
        let (Some(start), Some(end)) = (samples.first(), samples.last()) else {
            return 0.0;
        };
        let points: Vec<_> = samples.iter().map(|s| (s.seconds, what(s))).collect();
        slope(&points) * (end.seconds - start.seconds)
    }

    /// A line for people, and whether nothing grew by more than is allowed. The first third of the samples
    /// is not looked at: buffers and pools grow to what the load needs.
    pub fn judge(&self, allowed: Allowed) -> (String, bool) {
        let first = self.samples.len() / 3;
        let figures = [
            (
                "KiB",
                self.growth(first, |s| s.memory_kib),
                allowed.memory_kib,
            ),
            (
                "descriptors",
                self.growth(first, |s| s.descriptors),
                allowed.descriptors,
            ),
            (
                "threads",
                self.growth(first, |s| s.threads),
                allowed.threads,
            ),
        ];
        let window = self.samples.last().map_or(0.0, |s| s.seconds)
            - self.samples.get(first).map_or(0.0, |s| s.seconds);
        let mut line = format!("{:<14}", self.name);
        for (unit, growth, most) in figures {
            let a_minute = growth / window.max(1.0) * 60.0;
            let _ = write!(
                line,
                " {growth:+9.1} {unit} ({a_minute:+.1} a minute, at most {most:+.0})"
            );
        }
        (line, figures.iter().all(|(_, growth, most)| growth <= most))
    }
}

/// The slope of the line that fits best.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (sx, sy) = points
        .iter()
        .fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mx, my) = (sx / n, sy / n);
    let (above, below) = points.iter().fold((0.0, 0.0), |(a, b), (x, y)| {
        (a + (x - mx) * (y - my), b + (x - mx) * (x - mx))
    });
    if below > 0.0 { above / below } else { 0.0 }
}
