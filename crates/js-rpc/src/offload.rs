//! Work on large values, away from the thread that everybody's calls go through.
//!
//! What is small is done where it is, which costs nothing more. Little is done at a time: each is memory, and
//! takes a core from that thread.

use std::panic::resume_unwind;

use tokio::sync::Semaphore;

/// Bytes of a value from which it is large.
pub const LARGE: usize = 64 << 10;

/// At a time. More would be no faster where there are two cores, and hold more memory everywhere.
const AT_A_TIME: usize = 2;

static PERMITS: Semaphore = Semaphore::const_new(AT_A_TIME);

/// Does work on another thread, when it is its turn, in a process in which little of it is done at a time. `None`
/// when the runtime ends before it is done. Nobody waits for work whose future was dropped, but it is done and
/// keeps its turn until then.
///
/// # Panics
/// As the work does.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // The semaphore is never closed.
    let permit = PERMITS.acquire().await.ok()?;
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    match done.await {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn its_turn_is_given_back_however_work_ends() {
        for _ in 0..3 {
            assert_eq!(offload(|| 1).await, Some(1));
            let panicked = std::panic::AssertUnwindSafe(offload(|| panic!("a value")));
            assert!(panicked.catch_unwind().await.is_err());
            // Given up while it runs, and while it waits for its turn.
            let (go, goes) = mpsc::channel::<()>();
            let running = offload(move || goes.recv().is_ok());
            assert!(
                tokio::time::timeout(Duration::from_millis(20), running)
                    .await
                    .is_err()
            );
            drop(go);
            let all: Vec<_> = (0..20).map(|n| offload(move || n)).collect();
            let mut all = all.into_iter().map(Box::pin);
            all.by_ref()
                .take(10)
                .for_each(|it| assert!(it.now_or_never().flatten().is_none_or(|n| n < 10)));
            for (n, it) in (10..20).zip(all) {
                assert_eq!(it.await, Some(n));
            }
        }
        let all = PERMITS.acquire_many(AT_A_TIME as u32);
        assert!(
            tokio::time::timeout(Duration::from_secs(10), all)
                .await
                .is_ok()
        );
    }
}
