//! The accept loop: how many connections there may be, of whom, and what happens when the system has no
//! more to give.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::quota::{Quota, Refusal};
use super::{Running, connection};
use crate::stream::{Listener, Refused};

/// The first wait after the system refused a descriptor or memory; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Short enough that whoever waits for us is served soon after descriptors are free.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Accepts until it is stopped.
pub(super) async fn accept_all(
    listener: Listener,
    running: Rc<Running>,
    quota: Rc<Quota>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let mut wait = FIRST_WAIT;
    let mut log = Seldom::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let at = listener.address();
        let accepted = match accepted {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(Refused(peer))) => {
                log.say(|more| {
                    tracing::warn!(
                        "refused a connection of {peer} on {at}: its user may not connect; \
                         --allow-uid admits others{more}"
                    );
                });
                continue;
            }
            // What happened to one connection is no reason to wait with the next.
            Err(error) if !is_exhaustion(&error) => {
                tracing::debug!(%error, address = %at, "a connection was lost before it was accepted");
                continue;
            }
            Err(error) => {
                log.say(|more| {
                    tracing::warn!(
                        "cannot accept on {at}: {error}; what is open goes on, whoever connects \
                         waits; raise the limit (ulimit -n) or lower --connections{more}"
                    );
                });
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                wait = LONGEST_WAIT.min(wait * 2);
                continue;
            }
        };
        wait = FIRST_WAIT;
        let slot = match quota.admit(accepted.peer) {
            Ok(slot) => slot,
            Err(refusal) => {
                log.say(|more| refuse(&refusal, &accepted.peer, at, more));
                continue;
            }
        };
        let running = Rc::clone(&running);
        let binding = listener.fixed_binding().map(str::to_owned);
        tasks.spawn_local(async move {
            let peer = accepted.peer;
            if let Err(error) = connection(accepted, binding, running).await {
                tracing::debug!(%peer, %error, "a connection ended");
            }
            drop(slot);
        });
    }
}

fn refuse(refusal: &Refusal, peer: &impl std::fmt::Display, at: &crate::Address, more: &str) {
    tracing::warn!("refused a connection of {peer} on {at}: {refusal}{more}");
}

/// Whether the system is out of descriptors or memory, which passes.
fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
    )
}

/// Log lines that a peer can cause: one a second, which says how many it stands for.
#[derive(Default)]
struct Seldom {
    last: Option<std::time::Instant>,
    unsaid: u64,
}

impl Seldom {
    fn say(&mut self, say: impl FnOnce(&str)) {
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
        self.last = Some(std::time::Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exhaustion_is_waited_for() {
        for (errno, waits) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOMEM, true),
            (Errno::NOBUFS, true),
            (Errno::CONNABORTED, false),
            (Errno::INTR, false),
            (Errno::PROTO, false),
        ] {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(is_exhaustion(&error), waits, "{error}");
        }
    }

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
