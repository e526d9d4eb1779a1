//! Calls that wait for a thread.
//!
//! A client may have as many as are left for all others, and clients take turns: so one that sends all it can neither
//! locks others out nor makes them wait behind all of its calls.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::vectorize::error::{Code, VectorizeError};

/// Calls to read `R` and to write `W` of clients `C`.
#[derive(Debug)]
pub(super) struct Queue<C, R, W> {
    waiting: Mutex<Waiting<C, R, W>>,
    to_read: Condvar,
    to_write: Condvar,
}

#[derive(Debug)]
struct Waiting<C, R, W> {
    reads: Turns<C, R>,
    writes: Turns<C, W>,
    /// Of each client that has some.
    calls: HashMap<C, usize>,
    all: usize,
    last: u64,
    closed: bool,
}

/// Calls of one kind: the client in front is next, and goes to the end if it has more.
#[derive(Debug)]
struct Turns<C, T> {
    order: VecDeque<C>,
    calls: HashMap<C, VecDeque<(u64, T)>>,
}

impl<C, T> Default for Turns<C, T> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            calls: HashMap::new(),
        }
    }
}

impl<C: Copy + Eq + Hash, T> Turns<C, T> {
    fn push(&mut self, client: C, number: u64, call: T) {
        let calls = self.calls.entry(client).or_default();
        if calls.is_empty() {
            self.order.push_back(client);
        }
        calls.push_back((number, call));
    }

    fn pop(&mut self) -> Option<(C, T)> {
        let client = self.order.pop_front()?;
        let calls = self.calls.get_mut(&client)?;
        let (_, call) = calls.pop_front()?;
        match calls.is_empty() {
            true => drop(self.calls.remove(&client)),
            false => self.order.push_back(client),
        }
        Some((client, call))
    }

    fn remove(&mut self, client: C, number: u64) -> Option<T> {
        let calls = self.calls.get_mut(&client)?;
        let at = calls.iter().position(|(other, _)| *other == number)?;
        let (_, call) = calls.remove(at)?;
        if calls.is_empty() {
            self.calls.remove(&client);
            self.order.retain(|other| *other != client);
        }
        Some(call)
    }
}

impl<C: Copy + Eq + Hash, R, W> Waiting<C, R, W> {
    fn admit(&mut self, client: C, max: usize) -> Result<u64, VectorizeError> {
        if self.closed {
            let text = "the index is being closed, or opened again; try again";
            return Err(VectorizeError::new(Code::Store, text));
        }
        let of_client = self.calls.get(&client).copied().unwrap_or(0);
        if of_client >= max.saturating_sub(self.all) {
            let text = format!(
                "Too Many Requests: {} calls wait, {of_client} of them of this client; send fewer at once, and try again",
                self.all
            );
            return Err(VectorizeError::new(Code::Overloaded, text));
        }
        *self.calls.entry(client).or_insert(0) += 1;
        self.all += 1;
        self.last += 1;
        Ok(self.last)
    }

    fn leave(&mut self, client: C) {
        self.all -= 1;
        if let Some(calls) = self.calls.get_mut(&client) {
            *calls -= 1;
            if *calls == 0 {
                self.calls.remove(&client);
            }
        }
    }
}

impl<C: Copy + Eq + Hash, R, W> Queue<C, R, W> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                reads: Turns::default(),
                writes: Turns::default(),
                calls: HashMap::new(),
                all: 0,
                last: 0,
                closed: false,
            }),
            to_read: Condvar::new(),
            to_write: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<C, R, W>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number, unless `max` calls or the client's share of them wait.
    pub(super) fn read(&self, client: C, max: usize, call: R) -> Result<u64, VectorizeError> {
        let mut waiting = self.lock();
        let number = waiting.admit(client, max)?;
        waiting.reads.push(client, number, call);
        self.to_read.notify_one();
        Ok(number)
    }

    /// Likewise.
    pub(super) fn write(&self, client: C, max: usize, call: W) -> Result<u64, VectorizeError> {
        let mut waiting = self.lock();
        let number = waiting.admit(client, max)?;
        waiting.writes.push(client, number, call);
        self.to_write.notify_one();
        Ok(number)
    }

    /// The next call; none when the queue is closed and empty.
    pub(super) fn next_read(&self) -> Option<R> {
        let mut waiting = self.lock();
        loop {
            if let Some((client, call)) = waiting.reads.pop() {
                waiting.leave(client);
                return Some(call);
            }
            if waiting.closed {
                return None;
            }
            waiting = self
                .to_read
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Likewise.
    pub(super) fn next_write(&self) -> Option<W> {
        let mut waiting = self.lock();
        loop {
            if let Some((client, call)) = waiting.writes.pop() {
                waiting.leave(client);
                return Some(call);
            }
            if waiting.closed {
                return None;
            }
            waiting = self
                .to_write
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One that waits already.
    pub(super) fn write_at_once(&self) -> Option<W> {
        let mut waiting = self.lock();
        let (client, call) = waiting.writes.pop()?;
        waiting.leave(client);
        Some(call)
    }

    /// Takes a call out, if it still waits.
    pub(super) fn remove(&self, client: C, number: u64) {
        let mut waiting = self.lock();
        let read = waiting.reads.remove(client, number).is_some();
        if read || waiting.writes.remove(client, number).is_some() {
            waiting.leave(client);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().all
    }

    /// Takes no more calls; those that wait are still done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.to_read.notify_all();
        self.to_write.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_half_and_others_what_is_left() {
        let queue: Queue<u8, u32, u32> = Queue::new();
        let greedy = (0..100).take_while(|n| queue.read(1, 16, *n).is_ok());
        assert_eq!(greedy.count(), 8);
        assert_eq!(queue.write(1, 16, 0).unwrap_err().code, Code::Overloaded);
        for client in 2..5 {
            queue.write(client, 16, 7).unwrap();
        }
        // A place is free again when its call is taken, or given up.
        assert_eq!(queue.next_read(), Some(0));
        queue.remove(2, 9);
        assert_eq!(queue.len(), 9);
        queue.read(6, 16, 1).unwrap();
    }

    #[test]
    fn clients_take_turns() {
        let queue: Queue<u8, &str, u32> = Queue::new();
        for call in ["a1", "a2", "a3"] {
            queue.read(1, 100, call).unwrap();
        }
        queue.read(2, 100, "b1").unwrap();
        let b2 = queue.read(2, 100, "b2").unwrap();
        queue.read(3, 100, "c1").unwrap();
        queue.remove(2, b2);
        queue.close();
        let order: Vec<_> = std::iter::from_fn(|| queue.next_read()).collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "a3"]);
        assert_eq!(queue.read(1, 100, "late").unwrap_err().code, Code::Store);
    }
}
