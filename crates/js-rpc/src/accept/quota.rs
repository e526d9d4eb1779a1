//! How many connections there may be, in all and of each peer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::{AcceptStats, RefusedBy};
use crate::RpcLimits;
use crate::stream::{Peer, PeerKey};

/// Counts open connections, of all acceptors that share it. Clones count together; it belongs to one
/// thread.
#[derive(Debug, Clone)]
pub struct Quota(Rc<Places>);

#[derive(Debug)]
struct Places {
    total: usize,
    per_peer: usize,
    reserved: usize,
    open: Cell<usize>,
    peers: RefCell<HashMap<PeerKey, usize>>,
}

/// A connection's place; given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    quota: Quota,
    key: PeerKey,
    stats: AcceptStats,
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

impl Refusal {
    pub(super) fn by(self) -> RefusedBy {
        match self {
            Self::PerPeer(_) => RefusedBy::PerPeer,
            Self::Reserved(_) => RefusedBy::Reserved,
            Self::Full(_) => RefusedBy::Full,
        }
    }
}

impl Quota {
    /// As many connections as these limits have: [`RpcLimits::connections`],
    /// [`RpcLimits::connections_per_peer`] and [`RpcLimits::connections_reserved`].
    pub fn new(limits: &RpcLimits) -> Self {
        Self(Rc::new(Places {
            total: limits.connections,
            per_peer: limits.connections_per_peer,
            reserved: limits.connections_reserved,
            open: Cell::new(0),
            peers: RefCell::default(),
        }))
    }

    pub(super) fn admit(&self, peer: Peer, stats: &AcceptStats) -> Result<Slot, Refusal> {
        let (places, key) = (&*self.0, peer.key());
        let open = places.open.get();
        let mut peers = places.peers.borrow_mut();
        let of_peer = peers.get(&key).copied().unwrap_or(0);
        if open >= places.total {
            return Err(Refusal::Full(open));
        }
        if of_peer >= places.per_peer {
            return Err(Refusal::PerPeer(of_peer));
        }
        if of_peer > 0 && open.saturating_add(places.reserved) >= places.total {
            return Err(Refusal::Reserved(open));
        }
        peers.insert(key, of_peer + 1);
        places.open.set(open + 1);
        stats.accept();
        Ok(Slot {
            quota: self.clone(),
            key,
            stats: stats.clone(),
        })
    }
}

impl Slot {
    pub(crate) fn stats(&self) -> &AcceptStats {
        &self.stats
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let places = &*self.quota.0;
        places.open.set(places.open.get().saturating_sub(1));
        self.stats.close();
        let mut peers = places.peers.borrow_mut();
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
        let stats = AcceptStats::default();
        let of = |uid| {
            quota
                .admit(Peer::Uid(uid), &stats)
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
        assert_eq!((stats.accepted(), stats.open()), (11, 7));
        drop(flood);
        assert!(quota.0.peers.borrow().is_empty(), "nothing is remembered");
        assert_eq!((quota.0.open.get(), stats.open()), (0, 0));
    }

    #[test]
    fn each_peer_has_its_own_count() {
        let quota = Quota::new(&RpcLimits {
            connections_per_peer: 2,
            ..RpcLimits::default()
        });
        let of = |uid| quota.admit(Peer::Uid(uid), &AcceptStats::default());
        let _held = [(); 2].map(|()| of(1).ok().unwrap());
        assert_eq!(of(1).err(), Some(Refusal::PerPeer(2)));
        assert!(of(2).is_ok());
    }
}
