//! How long something took that two threads did, without the time in which either was ready to run and
//! the machine ran something else: on Linux the kernel tells.

use std::time::{Duration, Instant};

/// A thread whose delays count.
#[derive(Debug, Clone, Copy)]
pub struct Thread(i32);

impl Thread {
    pub fn this() -> Self {
        Self(rustix::thread::gettid().as_raw_nonzero().get())
    }

    /// For how long it waited for a processor since it began. Zero where the kernel does not tell.
    fn delay(self) -> Duration {
        let path = format!("/proc/self/task/{}/schedstat", self.0);
        let read = std::fs::read_to_string(path).unwrap_or_default();
        let nanos = read.split_whitespace().nth(1);
        Duration::from_nanos(nanos.and_then(|it| it.parse().ok()).unwrap_or(0))
    }
}

/// Runs from when it is made.
pub struct Clock {
    threads: [Thread; 2],
    delays: Duration,
    began: Instant,
}

impl Clock {
    pub fn of(threads: [Thread; 2]) -> Self {
        Self {
            delays: threads.into_iter().map(Thread::delay).sum(),
            threads,
            began: Instant::now(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        let elapsed = self.began.elapsed();
        let delays: Duration = self.threads.into_iter().map(Thread::delay).sum();
        elapsed.saturating_sub(delays.saturating_sub(self.delays))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_counts_and_a_thread_that_is_not_there_does_not() {
        let clock = Clock::of([Thread::this(), Thread(0)]);
        std::thread::sleep(Duration::from_millis(50));
        // How late it was woken is not counted.
        assert!(clock.elapsed() >= Duration::from_millis(45));
    }
}
