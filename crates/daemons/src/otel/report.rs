//! What is said about lost spans: a line a minute at most.

use std::time::Duration;

use super::stats::{OtelCounts, OtelStats};

/// How long the first loss waits for others, so that the line has a number worth reading.
const GATHER: Duration = Duration::from_secs(1);
/// How long it is quiet after a line.
const QUIET: Duration = Duration::from_secs(60);

/// Says what is lost, until it is dropped.
pub(super) struct Report {
    stats: OtelStats,
    /// Where spans go.
    to: String,
    said: OtelCounts,
}

impl Report {
    pub(super) fn new(stats: OtelStats, to: String) -> Self {
        Self {
            stats,
            to,
            said: OtelCounts::default(),
        }
    }

    /// Says what is lost, whenever something is.
    pub(super) async fn run(&mut self) {
        loop {
            self.stats.loss().await;
            tokio::time::sleep(GATHER).await;
            self.say();
            tokio::time::sleep(QUIET).await;
        }
    }

    /// Says what was lost since the last line, if something was.
    pub(super) fn say(&mut self) {
        let now = self.stats.read();
        if let Some(line) = line(&self.said, &now, &self.to, self.stats.take_problem()) {
            tracing::warn!("{line}");
        }
        self.said = now;
    }
}

/// One line for people.
fn line(
    before: &OtelCounts,
    now: &OtelCounts,
    to: &str,
    problem: Option<String>,
) -> Option<String> {
    let lost = now.lost() - before.lost();
    if lost == 0 {
        return None;
    }
    let mut parts = Vec::new();
    let failed = now.failed - before.failed;
    if failed > 0 {
        let problem = problem.unwrap_or_else(|| "no reason known".to_owned());
        parts.push(format!("{failed} not taken by {to} ({problem})"));
    }
    let dropped = now.dropped - before.dropped;
    if dropped > 0 {
        parts.push(format!(
            "{dropped} for want of room (OTEL_BSP_MAX_QUEUE_SIZE makes more)"
        ));
    }
    let cut = now.cut - before.cut;
    if cut > 0 {
        parts.push(format!("{cut} left when the program ended"));
    }
    Some(format!(
        "spans were lost: {lost}, {}; exported so far: {}",
        parts.join(", "),
        now.exported
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_many_were_lost_since_the_last_one_and_why() {
        let before = OtelCounts {
            failed: 5,
            dropped: 1,
            ..OtelCounts::default()
        };
        let now = OtelCounts {
            failed: 7,
            dropped: 4,
            cut: 1,
            exported: 9,
            ..OtelCounts::default()
        };
        let said = line(&before, &now, "http://there", Some("refused".into())).unwrap();
        assert_eq!(
            said,
            "spans were lost: 6, 2 not taken by http://there (refused), 3 for want of room \
             (OTEL_BSP_MAX_QUEUE_SIZE makes more), 1 left when the program ended; exported so far: 9"
        );
        assert_eq!(line(&now, &now, "", None), None);
    }
}
