//! What a daemon tells the service manager that started it, and what that hands over: readiness, status,
//! signs of life, sockets. Without a service manager (no `NOTIFY_SOCKET`) nothing happens.

pub mod sockets;

use std::time::Duration;

use sd_notify::NotifyState;

/// Says that the daemon listens, and what it does.
pub(crate) fn ready(status: &str) {
    tell(&[
        NotifyState::Ready,
        NotifyState::Status(&tail::escape(status)),
    ]);
}

/// Says that the daemon reads its configuration again; [`ready`] ends that.
pub(crate) fn reloading() {
    // Newer managers need the time as well: it tells this reload from an earlier one.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Says that the daemon finishes what is in flight, and how long that may take.
pub(crate) fn stopping(within: Duration) {
    let status = format!(
        "finishing the calls in flight, within {}",
        humantime::format_duration(within)
    );
    tell(&[NotifyState::Stopping, NotifyState::Status(&status)]);
}

/// Signs of life, if somebody waits for them. They come from the thread that serves: one that hangs is
/// found out. It has to be spawned there, and ends with the process.
pub async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return;
    };
    let mut beat = tokio::time::interval(limit / 2);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot tell the service manager (NOTIFY_SOCKET): {error}");
    }
}
