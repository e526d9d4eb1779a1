//! How many connections there may be, in all and of each peer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::RpcLimits;
use crate::stream::{Peer, PeerKey};

/// Counts the open connections of a server, on all of its listeners.
pub(super) struct Quota {
    total: usize,
    per_peer: usize,
    reserved: usize,
    open: Cell<usize>,
    peers: RefCell<HashMap<PeerKey, usize>>,
}

/// A connection's place; given back on drop.
pub(super) struct Slot {
    quota: Rc<Quota>,
    key: PeerKey,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it has {0} open already (--connections-per-peer)")]
    PerPeer(usize),
    #[error("{0} are open, and the rest is kept for peers that have none (--connections)")]
    Reserved(usize),
    #[error("{0} are open, which is all that there may be (--connections)")]
    Full(usize),
}

impl Quota {
    pub(super) fn new(limits: &RpcLimits) -> Rc<Self> {
        Rc::new(Self {
            total: limits.connections,
            per_peer: limits.connections_per_peer,
            reserved: limits.connections_reserved,
            open: Cell::new(0),
            peers: RefCell::default(),
        })
    }

    pub(super) fn admit(self: &Rc<Self>, peer: Peer) -> Result<Slot, Refusal> {
        let key = peer.key();
        let open = self.open.get();
        let mut peers = self.peers.borrow_mut();
        let of_peer = peers.get(&key).copied().unwrap_or(0);
        if open >= self.total {
            return Err(Refusal::Full(open));
        }
        if of_peer >= self.per_peer {
            return Err(Refusal::PerPeer(of_peer));
        }
        if of_peer > 0 && open.saturating_add(self.reserved) >= self.total {
            return Err(Refusal::Reserved(open));
        }
        peers.insert(key, of_peer + 1);
        self.open.set(open + 1);
        let quota = Rc::clone(self);
        Ok(Slot { quota, key })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let quota = &self.quota;
        quota.open.set(quota.open.get().saturating_sub(1));
        let mut peers = quota.peers.borrow_mut();
        if let Some(of_peer) = peers.get_mut(&self.key) {
            *of_peer -= 1;
            if *of_peer == 0 {
                peers.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_from_one_peer_leaves_places_for_others() {
        let quota = Quota::new(&RpcLimits {
            connections: 10,
            connections_per_peer: 9,
            connections_reserved: 3,
            ..RpcLimits::default()
        });
        let of = |uid| {
            quota
                .admit(Peer::Uid(uid))
                .map_err(|refusal| match refusal {
                    Refusal::PerPeer(n) => ("peer", n),
                    Refusal::Reserved(n) => ("reserved", n),
                    Refusal::Full(n) => ("full", n),
                })
        };
        let mut flood: Vec<Slot> = (0..7).map(|_| of(1).ok().unwrap()).collect();
        assert_eq!(of(1).err(), Some(("reserved", 7)));
        let honest: Vec<Slot> = (2..5).map(|uid| of(uid).ok().unwrap()).collect();
        assert_eq!(of(5).err(), Some(("full", 10)));
        drop(honest);
        drop(flood.pop());
        flood.push(of(1).ok().unwrap());
        drop(flood);
        assert!(quota.peers.borrow().is_empty(), "nothing is remembered");
        assert_eq!(quota.open.get(), 0);
    }

    #[test]
    fn each_peer_has_its_own_count() {
        let quota = Quota::new(&RpcLimits {
            connections_per_peer: 2,
            ..RpcLimits::default()
        });
        let _held = [(); 2].map(|()| quota.admit(Peer::Uid(1)).ok().unwrap());
        assert_eq!(quota.admit(Peer::Uid(1)).err(), Some(Refusal::PerPeer(2)));
        assert!(quota.admit(Peer::Uid(2)).is_ok());
    }
}
