//! Things by label, of which there is a bounded number: peers choose methods and errors, and must not
//! choose how much memory we, and whoever scrapes us, need for them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The label of everything that has none of its own.
pub const OTHER: &str = "_other";

/// Bytes of a label.
const LABEL: usize = 96;

/// What a label stands for.
#[derive(Debug)]
pub struct Labelled<T> {
    /// The label.
    pub label: String,
    /// The value.
    pub value: T,
}

/// Values by name. What is known is found without an allocation.
#[derive(Debug)]
pub struct Bounded<T> {
    known: RwLock<Known<T>>,
    other: Arc<Labelled<T>>,
}

#[derive(Debug)]
struct Known<T> {
    by_name: HashMap<Box<str>, Arc<Labelled<T>>>,
    /// In the order in which they came; names that look alike share one.
    rows: Vec<Arc<Labelled<T>>>,
}

impl<T: Default> Default for Bounded<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Default> Bounded<T> {
    /// None are known.
    pub fn new() -> Self {
        let known = Known {
            by_name: HashMap::new(),
            rows: Vec::new(),
        };
        Self {
            known: RwLock::new(known),
            other: Arc::new(Labelled {
                label: OTHER.to_owned(),
                value: T::default(),
            }),
        }
    }

    /// What the name stands for, which is known from now on if fewer than `most` are.
    pub fn get(&self, name: &str, most: usize) -> Arc<Labelled<T>> {
        if let Some(found) = self.read().by_name.get(name) {
            return Arc::clone(found);
        }
        let mut known = self.write();
        if !known.by_name.contains_key(name) && known.by_name.len() >= most {
            return Arc::clone(&self.other);
        }
        known.add(name)
    }

    /// Whether it is what all share that have no label.
    pub fn is_other(&self, found: &Arc<Labelled<T>>) -> bool {
        Arc::ptr_eq(found, &self.other)
    }

    /// Those that have a label, and then the rest.
    pub fn rows(&self) -> Vec<Arc<Labelled<T>>> {
        let mut rows = self.read().rows.clone();
        rows.push(Arc::clone(&self.other));
        rows
    }

    fn read(&self) -> RwLockReadGuard<'_, Known<T>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known<T>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Known<T> {
    fn add(&mut self, name: &str) -> Arc<Labelled<T>> {
        if let Some(found) = self.by_name.get(name) {
            return Arc::clone(found);
        }
        let label = label(name);
        let same = self.rows.iter().find(|row| row.label == label);
        let row = match same {
            Some(row) => Arc::clone(row),
            None => {
                let value = T::default();
                let row = Arc::new(Labelled { label, value });
                self.rows.push(Arc::clone(&row));
                row
            }
        };
        self.by_name.insert(name.into(), Arc::clone(&row));
        row
    }
}

/// A name as people may read it. An empty label would mean none, and `_other` is ours.
pub fn label(name: &str) -> String {
    let text = tail::escape(name);
    match &text[..text.floor_char_boundary(LABEL)] {
        "" => "_empty".to_owned(),
        OTHER => "_other_".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn beyond_the_bound_there_is_one_label_for_all() {
        let bounded = Bounded::<AtomicU64>::new();
        for i in 0..10_000 {
            bounded.get(&format!("method{i}"), 3);
        }
        let labels: Vec<String> = bounded.rows().iter().map(|r| r.label.clone()).collect();
        assert_eq!(labels, ["method0", "method1", "method2", "_other"]);
        assert!(bounded.is_other(&bounded.get("method9", 3)));
        assert!(
            !bounded.is_other(&bounded.get("method2", 3)),
            "it stays known"
        );
        assert!(
            !bounded.is_other(&bounded.get("method9", 4)),
            "there is room"
        );
    }

    #[test]
    fn labels_are_for_people_and_unique() {
        let bounded = Bounded::<AtomicU64>::new();
        let long = "x".repeat(200);
        for name in ["a\u{1b}[31m", "", "_other", &long, &format!("{long}y")] {
            bounded.get(name, 9);
        }
        let labels: Vec<String> = bounded.rows().iter().map(|r| r.label.clone()).collect();
        assert_eq!(labels.len(), 5, "{labels:?}");
        assert!(!labels[0].contains('\u{1b}'), "{labels:?}");
        assert_eq!(labels[1..3], ["_empty", "_other_"]);
        assert_eq!(labels[3].len(), LABEL, "both of these");
    }
}
