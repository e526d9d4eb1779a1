//! A map of bounded size that forgets what came first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Remembers up to so many values.
#[derive(Debug)]
pub(crate) struct Aged<K, V> {
    most: usize,
    values: HashMap<K, (u64, V)>,
    /// In the order in which they came; those that were removed since are skipped.
    ages: VecDeque<(u64, K)>,
    came: u64,
}

impl<K: Copy + Eq + Hash, V> Aged<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            values: HashMap::new(),
            ages: VecDeque::new(),
            came: 0,
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key).map(|(_, value)| value)
    }

    /// Adds a value; what had to give way to it.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let gone = match self.values.len() >= self.most && !self.values.contains_key(&key) {
            true => self.pop(),
            false => None,
        };
        self.came += 1;
        self.values.insert(key, (self.came, value));
        self.ages.push_back((self.came, key));
        if self.ages.len() > 2 * self.most {
            let values = &self.values;
            let lives = |age: &(u64, K)| values.get(&age.1).is_some_and(|(came, _)| *came == age.0);
            self.ages.retain(lives);
        }
        gone
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.values.remove(key).map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.values_mut().map(|(_, value)| value)
    }

    /// Takes the oldest value.
    pub(crate) fn pop(&mut self) -> Option<V> {
        while let Some((came, key)) = self.ages.pop_front() {
            if self.values.get(&key).is_some_and(|(at, _)| *at == came) {
                return self.remove(&key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_is_still_there_gives_way() {
        let mut aged = Aged::new(2);
        assert_eq!(aged.insert(1, "one"), None);
        assert_eq!(aged.insert(2, "two"), None);
        assert_eq!(aged.insert(1, "uno"), None);
        assert_eq!(aged.insert(3, "three"), Some("two"));
        aged.remove(&1);
        assert_eq!(aged.insert(4, "four"), None);
        assert_eq!(aged.insert(5, "five"), Some("three"));
        for n in 10..1000 {
            aged.insert(n, "more");
            aged.remove(&n);
        }
        assert!(aged.ages.len() <= 5);
    }
}
