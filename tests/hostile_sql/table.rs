//! What the suite prints in the end, and what of it is wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::case::Done;
use crate::greedy::Came;
use crate::honest::Figures;
use crate::scene::{CALLEE_MEMORY, MEMORY, OWN_MEMORY, Peaks, Scene};

/// A theme.
pub struct Row {
    pub theme: &'static str,
    pub took: Duration,
    pub done: Done,
    pub peaks: Peaks,
    pub honest: [Figures; 2],
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            theme,
            took,
            done,
            peaks,
            honest: [reader, writer],
        } = self;
        let (slowest, which) = &done.slowest;
        write!(
            f,
            "{theme:<14} {:>4} {:>6.1} s {:>7} ms {:>5} MiB {:>5} MiB {:>5} {:>5}  p99 {:>5.1} {:>5.1} ms  {which}",
            done.cases,
            took.as_secs_f64(),
            slowest.as_millis(),
            peaks.worker,
            peaks.callee,
            peaks.ended,
            done.alone,
            reader.p99,
            writer.p99,
        )
    }
}

#[derive(Default)]
pub struct Table {
    rows: Vec<String>,
    notes: Vec<String>,
    calls: usize,
    pub wrong: Vec<String>,
}

impl Table {
    pub fn add(&mut self, row: Row) {
        let theme = row.theme;
        self.rows.push(row.to_string());
        self.calls += row.done.cases;
        let wrong = row.done.wrong;
        for figures in &row.honest {
            self.notes.push(format!("{theme}: honest {figures}"));
        }
        self.within(theme, row.peaks);
        let wrong = wrong.into_iter().map(|wrong| format!("{theme}: {wrong}"));
        self.wrong.extend(wrong);
    }

    /// An honest client did not notice.
    pub fn bounded(&mut self, beside: &str, figures: &Figures) {
        self.note(format!("{beside}: honest {figures}"));
        if !figures.is_good() {
            let failures = figures.failures.join("; ");
            let wrong = format!("{beside}: honest {figures}: {failures}");
            self.wrong.push(wrong.chars().take(1000).collect());
        }
    }

    /// What came of a greedy client's calls.
    pub fn greedy(&mut self, name: &str, came: &Came, peaks: Peaks) {
        self.note(format!(
            "{name}: {} calls, longest {:?}: {:?}; worker {} MiB, callee {} MiB, {} ended",
            came.calls, came.longest, came.by_class, peaks.worker, peaks.callee, peaks.ended
        ));
        let strange = crate::greedy::strange(came).into_iter();
        self.wrong
            .extend(strange.map(|strange| format!("{name}: {strange}")));
        self.within(name, peaks);
    }

    /// No process took more than it may.
    pub fn within(&mut self, what: &str, peaks: Peaks) {
        if peaks.worker >= MEMORY + OWN_MEMORY {
            self.wrong
                .push(format!("{what}: a worker took {} MiB", peaks.worker));
        }
        if peaks.callee >= CALLEE_MEMORY {
            self.wrong
                .push(format!("{what}: the callee took {} MiB more", peaks.callee));
        }
    }

    pub fn note(&mut self, note: String) {
        println!("{note}");
        self.notes.push(note);
    }

    pub fn wrong(&mut self, wrong: String) {
        self.wrong.push(wrong);
    }

    /// Whatever was acknowledged is there.
    pub fn check_log(&mut self, scene: &Scene, acknowledged: &[i64]) {
        let beside = scene.beside();
        let mut found = beside.prepare("select n from log").unwrap();
        let found = found.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        let found: BTreeSet<i64> = found.map(Result::unwrap).collect();
        let lost = acknowledged.iter().filter(|n| !found.contains(n)).count();
        self.note(format!(
            "honest writes: {} acknowledged, {} found, {lost} lost",
            acknowledged.len(),
            found.len()
        ));
        if lost > 0 {
            self.wrong
                .push(format!("{lost} acknowledged writes are lost"));
        }
        let sound: String = beside
            .query_row("pragma integrity_check", [], |row| row.get(0))
            .unwrap();
        if sound != "ok" {
            self.wrong.push(format!("the database is broken: {sound}"));
        }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "\ntheme         calls     took    slowest    worker    callee ended alone  honest reader, writer  slowest call"
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        writeln!(f, "{} calls", self.calls)?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}
