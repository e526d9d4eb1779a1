//! Arrays that a plain list cannot hold: with holes, or with properties beside their elements.

use crate::{Object, Value};

/// An array with holes or with extra properties. Arrays without either are [`Value::Array`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseArray {
    length: u32,
    // Ascending by index, without duplicates, each below `length`.
    elements: Vec<(u32, Value)>,
    /// Properties that are not elements, such as `index` of a RegExp match.
    pub properties: Object,
}

impl SparseArray {
    /// An array of `length` holes.
    pub fn new(length: u32) -> Self {
        Self {
            length,
            ..Self::default()
        }
    }

    /// JavaScript's `length`: elements and holes.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The element at `index`, or `None` for a hole.
    pub fn get(&self, index: u32) -> Option<&Value> {
        let at = self
            .elements
            .binary_search_by_key(&index, |(i, _)| *i)
            .ok()?;
        Some(&self.elements[at].1)
    }

    /// Sets the element at `index`, and the length to `index + 1` if that is more.
    ///
    /// # Panics
    /// If `index` is `u32::MAX`, which is no array index.
    pub fn insert(&mut self, index: u32, value: impl Into<Value>) {
        assert!(index != u32::MAX, "u32::MAX is not an array index");
        self.length = self.length.max(index + 1);
        match self.elements.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => self.elements[at].1 = value.into(),
            Err(at) => self.elements.insert(at, (index, value.into())),
        }
    }

    /// The elements that are no holes, ascending by index.
    pub fn elements(&self) -> &[(u32, Value)] {
        &self.elements
    }

    /// Whether every index below the length has an element.
    pub fn is_dense(&self) -> bool {
        self.elements.len() == self.length as usize
    }

    /// From the parts that were read; of equal indexes the last value counts, and the length grows
    /// to hold every element. Also tells whether the elements had to be reordered or dropped.
    pub(crate) fn from_parts(
        length: u32,
        mut elements: Vec<(u32, Value)>,
        properties: Object,
    ) -> (Self, bool) {
        let changed = !elements.is_sorted_by(|a, b| a.0 < b.0);
        if changed {
            // Reversed before the stable sort, the last of equal indexes is the first, and kept.
            elements.reverse();
            elements.sort_by_key(|(index, _)| *index);
            elements.dedup_by_key(|(index, _)| *index);
        }
        let needed = elements
            .last()
            .map_or(0, |(index, _)| index.saturating_add(1));
        let array = Self {
            length: length.max(needed),
            elements,
            properties,
        };
        (array, changed)
    }

    /// The plain array, if there are no holes and no extra properties after all.
    pub(crate) fn into_value(self) -> Value {
        if self.is_dense() && self.properties.is_empty() {
            Value::Array(self.elements.into_iter().map(|(_, value)| value).collect())
        } else {
            self.into()
        }
    }
}
