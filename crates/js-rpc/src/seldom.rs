//! Log lines that a peer can cause.

use std::time::{Duration, Instant};

/// One line a second, which says how many it stands for.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    last: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    pub(crate) fn say(&mut self, say: impl FnOnce(&str)) {
        if self
            .last
            .is_some_and(|last| last.elapsed() < Duration::from_secs(1))
        {
            self.unsaid += 1;
            return;
        }
        let more = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            n => format!(" (and {n} more that were not logged)"),
        };
        say(&more);
        self.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_second_are_one() {
        let (mut log, mut lines) = (Seldom::default(), Vec::new());
        for _ in 0..5 {
            log.say(|more| lines.push(more.to_owned()));
        }
        assert_eq!(lines, [""]);
        log.last = None;
        log.say(|more| lines.push(more.to_owned()));
        assert_eq!(lines[1], " (and 4 more that were not logged)");
    }
}
