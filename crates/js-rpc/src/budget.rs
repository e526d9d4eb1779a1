//! Memory that several clients share, and how much of it each may have.
//!
//! A client may have as much as is left for all others: one alone has half, two a third each, and there is
//! always something left for who comes next (a dynamic threshold, as switches share their buffers). So whoever
//! asks for more than that waits, or is refused, and nobody else is. While a quarter is left, a holder that takes
//! little of it need not ask what its client has: on one machine many programs are one client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::stream::PeerKey;

/// Bytes that are not counted of any holder: what is small never waits.
pub(crate) const SMALL: usize = 64 << 10;

/// What part of what is left is little.
const LITTLE: usize = 16;

/// Memory of so many bytes that clients share. Clones are the same memory; threads may share it.
#[derive(Debug, Clone, Default)]
pub struct Budget(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    clients: HashMap<PeerKey, usize>,
}

/// What one holder has of a budget: a connection, or a request. Given back when it is dropped.
#[derive(Debug)]
pub struct Hold {
    budget: Budget,
    client: PeerKey,
    limit: usize,
    held: usize,
}

impl Budget {
    /// Nothing yet, for a client, of a memory of `limit` bytes.
    pub fn hold(&self, client: PeerKey, limit: usize) -> Hold {
        Hold {
            budget: self.clone(),
            client,
            limit,
            held: 0,
        }
    }

    /// Bytes that are held, but for the first 64 KiB of each holder.
    pub fn taken(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing is done under the lock that could leave it half done.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts of so many bytes. In steps, so that many small changes are none.
const fn counted(bytes: usize) -> usize {
    match bytes {
        0..=SMALL => 0,
        _ => (bytes - SMALL).next_multiple_of(SMALL),
    }
}

impl Hold {
    /// Holds so many bytes from now on, or what it held before if the client's share is not that large. Less, and
    /// the first 64 KiB, can always be had.
    #[must_use]
    pub fn try_resize(&mut self, bytes: usize) -> bool {
        let wanted = counted(bytes);
        if wanted == self.held {
            return true;
        }
        let mut taken = self.budget.lock();
        let others = taken.total - self.held;
        let of_client = taken.clients.get(&self.client).copied().unwrap_or(0);
        let of_client = of_client - self.held + wanted;
        // Somebody must be able to go on, however little there is.
        let first = others == 0;
        let left = self.limit.saturating_sub(others + wanted);
        let little = wanted <= left / LITTLE && left >= self.limit / 4;
        if wanted > self.held && of_client > left && !little && !first {
            return false;
        }
        taken.total = others + wanted;
        match of_client {
            0 => drop(taken.clients.remove(&self.client)),
            _ => drop(taken.clients.insert(self.client, of_client)),
        }
        drop(taken);
        if wanted < self.held {
            self.budget.0.freed.notify_waiters();
        }
        self.held = wanted;
        true
    }

    /// Holds so many bytes, once the client's share is that large.
    pub async fn resize(&mut self, bytes: usize) {
        let budget = self.budget.clone();
        loop {
            // Before it is tried, so that what is given back meanwhile is heard of.
            let mut freed = std::pin::pin!(budget.0.freed.notified());
            freed.as_mut().enable();
            if self.try_resize(bytes) {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.try_resize(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    fn client(uid: u32) -> PeerKey {
        PeerKey::Uid(uid)
    }

    fn take(budget: &Budget, uid: u32, mib: usize) -> Option<Hold> {
        let mut hold = budget.hold(client(uid), 64 * MIB);
        hold.try_resize(mib * MIB).then_some(hold)
    }

    #[test]
    fn a_client_has_as_much_as_is_left_for_all_others() {
        let budget = Budget::default();
        let first: Vec<Hold> = (0..100).map_while(|_| take(&budget, 1, 8)).collect();
        assert_eq!(first.len(), 4, "half; of each a part is not counted");
        let second: Vec<Hold> = (0..100).map_while(|_| take(&budget, 2, 8)).collect();
        assert_eq!(second.len(), 2, "half of the rest");
        assert!(take(&budget, 1, 8).is_none());
        assert!(take(&budget, 3, 8).is_some(), "there is some for a third");
        drop(first);
        assert!(take(&budget, 2, 8).is_some());
        drop(second);
        assert_eq!(budget.taken(), 0);
        assert!(budget.lock().clients.is_empty(), "nothing is remembered");
    }

    #[test]
    fn what_is_small_can_always_be_had_and_what_is_large_by_who_is_alone() {
        let budget = Budget::default();
        let all = take(&budget, 1, 500).expect("nobody else has anything");
        let small: Vec<Hold> = (0..100)
            .map(|uid| {
                let mut hold = budget.hold(client(uid), 64 * MIB);
                assert!(hold.try_resize(SMALL));
                hold
            })
            .collect();
        assert!(take(&budget, 2, 1).is_none());
        drop((all, small));
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn a_holder_of_little_is_not_kept_out_by_others_of_its_client() {
        let budget = Budget::default();
        let large: Vec<Hold> = (0..100).map_while(|_| take(&budget, 1, 8)).collect();
        let little: Vec<Hold> = (0..100).map_while(|_| take(&budget, 1, 1)).collect();
        assert!((10..20).contains(&little.len()), "{}", little.len());
        assert!(take(&budget, 2, 8).is_some(), "another has its share");
        drop((large, little));
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn what_could_not_be_had_changes_nothing() {
        let budget = Budget::default();
        let _other = take(&budget, 1, 30);
        let mut hold = take(&budget, 2, 10).unwrap();
        let before = budget.taken();
        assert!(!hold.try_resize(40 * MIB));
        assert_eq!(budget.taken(), before);
        assert!(hold.try_resize(5 * MIB) && budget.taken() < before);
    }

    #[tokio::test]
    async fn who_waits_has_it_when_it_is_given_back_however_that_happens() {
        let budget = Budget::default();
        let wait = || {
            let mut hold = budget.hold(client(2), 64 * MIB);
            Box::pin(async move {
                hold.resize(40 * MIB).await;
                hold
            })
        };
        let waits = || take(&budget, 1, 30).unwrap();

        // Dropped.
        let held = waits();
        let mut waiting = wait();
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        drop(waiting.await);

        // Its task is cancelled, and its thread panics.
        let held = waits();
        let task = tokio::spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let mut waiting = wait();
        assert!(waiting.as_mut().now_or_never().is_none());
        task.abort();
        let _ = task.await;
        drop(waiting.await);

        let held = waits();
        let task = tokio::spawn(async move {
            let _held = held;
            panic!("a handler");
        });
        let _ = task.await;
        drop(wait().await);

        // Whoever waits gives up.
        let held = waits();
        let late = tokio::time::timeout(Duration::from_millis(20), wait()).await;
        assert!(late.is_err());
        drop(held);
        assert_eq!(budget.taken(), 0);
        assert!(budget.lock().clients.is_empty());
    }
}
