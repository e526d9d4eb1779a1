//! A table by id, as both sides of the protocol keep them: ids are small as a rule, because the lowest
//! free one is taken next, but a peer may choose any.

use std::collections::HashMap;

/// Ids below this are an index. It bounds what a peer's choice of ids can make us allocate.
const DENSE: usize = 1024;

/// Entries by id.
pub(super) struct Slots<T> {
    dense: Vec<Option<T>>,
    sparse: HashMap<u32, T>,
    len: usize,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self {
            dense: Vec::new(),
            sparse: HashMap::new(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The ids of all entries, in no order.
    pub(super) fn ids(&self) -> Vec<u32> {
        let dense = (0..).zip(&self.dense);
        let dense = dense.filter_map(|(id, it)| it.as_ref().map(|_| id));
        dense.chain(self.sparse.keys().copied()).collect()
    }

    pub(super) fn get(&self, id: u32) -> Option<&T> {
        match id as usize {
            index @ ..DENSE => self.dense.get(index)?.as_ref(),
            _ => self.sparse.get(&id),
        }
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match id as usize {
            index @ ..DENSE => self.dense.get_mut(index)?.as_mut(),
            _ => self.sparse.get_mut(&id),
        }
    }

    /// Sets an entry; the one that was there.
    pub(super) fn insert(&mut self, id: u32, value: T) -> Option<T> {
        let old = match id as usize {
            index @ ..DENSE => {
                if index >= self.dense.len() {
                    self.dense.resize_with(index + 1, || None);
                }
                self.dense[index].replace(value)
            }
            _ => self.sparse.insert(id, value),
        };
        self.len += usize::from(old.is_none());
        old
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let old = match id as usize {
            index @ ..DENSE => self.dense.get_mut(index)?.take(),
            _ => self.sparse.remove(&id),
        };
        self.len -= usize::from(old.is_some());
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_wherever_their_ids_lie() {
        let mut slots = Slots::new();
        let ids = [0, 7, 1023, 1024, u32::MAX];
        for (n, id) in ids.into_iter().enumerate() {
            assert_eq!(slots.insert(id, n), None);
            assert_eq!(slots.insert(id, n), Some(n));
            assert_eq!((slots.get(id), slots.len()), (Some(&n), n + 1));
        }
        let mut all = slots.ids();
        all.sort_unstable();
        assert_eq!(all, ids);
        for id in ids {
            assert!(slots.get(id ^ 1).is_none() || ids.contains(&(id ^ 1)));
            assert!(slots.remove(id).is_some() && slots.remove(id).is_none());
        }
        assert_eq!(slots.len(), 0);
    }
}
