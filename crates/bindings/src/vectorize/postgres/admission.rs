//! Who may use a connection next: clients take turns, and none may fill the queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use js_rpc::ClientId;
use tokio::sync::oneshot;

use super::super::error::{Code, VectorizeError};

/// As many calls at a time as there are connections; the others wait.
pub(super) struct Admission {
    state: Mutex<State>,
    max_queued: usize,
}

struct State {
    free: usize,
    waiting: usize,
    queues: HashMap<ClientId, VecDeque<oneshot::Sender<Permit>>>,
    /// Clients that have calls in the queue, in the order of their turns.
    turns: VecDeque<ClientId>,
}

/// The right to use a connection, until it is dropped.
pub(super) struct Permit(Option<Arc<Admission>>);

impl Admission {
    pub(super) fn new(connections: usize, max_queued: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: connections,
                waiting: 0,
                queues: HashMap::new(),
                turns: VecDeque::new(),
            }),
            max_queued,
        })
    }

    /// Calls that wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting
    }

    /// A client may have as many calls in the queue as it leaves places for all others.
    pub(super) async fn admit(
        self: &Arc<Self>,
        client: ClientId,
    ) -> Result<Permit, VectorizeError> {
        let turn = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit(Some(self.clone())));
            }
            let own = state.queues.get(&client).map_or(0, VecDeque::len);
            let left = self.max_queued.saturating_sub(state.waiting);
            if left == 0 || own >= left {
                let text = "Too Many Requests: too many calls wait for the store; call again later";
                return Err(VectorizeError::new(Code::Overloaded, text));
            }
            let (sender, turn) = oneshot::channel();
            let queue = state.queues.entry(client).or_default();
            queue.push_back(sender);
            if own == 0 {
                state.turns.push_back(client);
            }
            state.waiting += 1;
            turn
        };
        let mut waiting = Waiting {
            admission: self,
            client,
            turn,
            over: false,
        };
        let permit = (&mut waiting.turn).await;
        waiting.over = true;
        permit.map_err(|_| VectorizeError::new(Code::Store, "the store is closed"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|held| held.into_inner())
    }

    /// Passes a permit on, or keeps it for who comes.
    fn pass_on(self: &Arc<Self>) {
        let mut state = self.state();
        while let Some(client) = state.turns.pop_front() {
            let Some(queue) = state.queues.get_mut(&client) else {
                continue;
            };
            let next = queue.pop_front();
            match queue.is_empty() {
                true => drop(state.queues.remove(&client)),
                false => state.turns.push_back(client),
            }
            let Some(next) = next else { continue };
            state.waiting -= 1;
            match next.send(Permit(Some(self.clone()))) {
                Ok(()) => return,
                // It went away meanwhile. Dropped as it is, the permit would be passed on under this lock.
                Err(mut permit) => permit.0 = None,
            }
        }
        state.free += 1;
    }
}

/// A place in the queue, which is given up when the call is dropped.
struct Waiting<'a> {
    admission: &'a Arc<Admission>,
    client: ClientId,
    turn: oneshot::Receiver<Permit>,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.turn.close();
        // A permit that came at the same time is passed on by its own drop.
        drop(self.turn.try_recv());
        let mut state = self.admission.state();
        let Some(queue) = state.queues.get_mut(&self.client) else {
            return;
        };
        let before = queue.len();
        queue.retain(|sender| !sender.is_closed());
        let (gone, empty) = (before - queue.len(), queue.is_empty());
        state.waiting -= gone;
        if empty {
            state.queues.remove(&self.client);
            let client = self.client;
            state.turns.retain(|other| *other != client);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(admission) = self.0.take() {
            admission.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn clients_take_turns_and_none_fills_the_queue() {
        let admission = Admission::new(1, 8);
        let (greedy, modest) = (ClientId::next(), ClientId::next());
        let held = admission.admit(greedy).await.unwrap();
        let mut waits: Vec<_> = (0..8).map(|_| Box::pin(admission.admit(greedy))).collect();
        let mut refused = 0;
        waits.retain_mut(|wait| match wait.now_or_never() {
            Some(Err(error)) => {
                assert_eq!(error.code, Code::Overloaded);
                refused += 1;
                false
            }
            Some(Ok(_)) => panic!("there is one connection only"),
            None => true,
        });
        assert_eq!((waits.len(), refused), (4, 4));
        let mut other = Box::pin(admission.admit(modest));
        assert!((&mut other).now_or_never().is_none());
        assert_eq!(admission.waiting(), 5);
        drop(held);
        let first = (&mut waits[0]).now_or_never().unwrap().unwrap();
        drop(first);
        let second = other
            .now_or_never()
            .expect("it is the other client's turn")
            .unwrap();
        assert_eq!(admission.waiting(), 3);
        // Whoever goes away gives up their place, and a permit that they never saw.
        drop(waits.remove(1));
        assert_eq!(admission.waiting(), 2);
        drop(second);
        drop(waits);
        assert_eq!(admission.waiting(), 0);
        assert!(admission.admit(modest).now_or_never().unwrap().is_ok());
    }
}
