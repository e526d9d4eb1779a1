//! A plain object: properties by name, in JavaScript's order.
//!
//! JavaScript lists array-index names (`"0"` to `"4294967294"`) first, ascending, and every other name
//! in the order of insertion. An [`Object`] keeps its properties in that order at all times. Small
//! objects are a plain list, which beats hashing; large ones have a hash index, so that a peer's
//! object of many names costs linear time.

use crate::string::Text;
use crate::{JsString, Value};
use indexmap::IndexMap;
use std::collections::HashSet;
use std::fmt;

/// Above this many properties an object gets a hash index.
const SMALL: usize = 16;

/// The properties of a plain object, in JavaScript's order.
///
/// ```
/// use js_value::{Object, Value};
/// let mut object = Object::new();
/// object.insert("model", "x");
/// object.insert("7", true);
/// assert_eq!(object.get("model").and_then(Value::as_str), Some("x"));
/// // An index comes first, as in JavaScript.
/// assert_eq!(object.keys().map(|k| k.to_string()).collect::<Vec<_>>(), ["7", "model"]);
/// ```
#[derive(Clone, Default)]
pub struct Object(Repr);

#[derive(Clone)]
enum Repr {
    Small(Vec<(JsString, Value)>),
    Large(Box<IndexMap<JsString, Value>>),
}

impl Default for Repr {
    fn default() -> Self {
        Repr::Small(Vec::new())
    }
}

impl Object {
    /// An object without properties. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// An object with room for `capacity` properties.
    pub fn with_capacity(capacity: usize) -> Self {
        if capacity <= SMALL {
            Self(Repr::Small(Vec::with_capacity(capacity)))
        } else {
            Self(Repr::Large(Box::new(IndexMap::with_capacity(capacity))))
        }
    }

    /// How many properties there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Small(list) => list.len(),
            Repr::Large(map) => map.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the property `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match &self.0 {
            Repr::Small(list) => list
                .iter()
                .find_map(|(key, value)| (key.as_str() == Some(name)).then_some(value)),
            Repr::Large(map) => map.get(&Text(name)),
        }
    }

    /// The value of the property `name`, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        match &mut self.0 {
            Repr::Small(list) => list
                .iter_mut()
                .find_map(|(key, value)| (key.as_str() == Some(name)).then_some(value)),
            Repr::Large(map) => map.get_mut(&Text(name)),
        }
    }

    /// Whether there is a property `name`.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a property and gives back its earlier value. A replaced value keeps its place.
    pub fn insert(&mut self, name: impl Into<JsString>, value: impl Into<Value>) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        let place = array_index(&name).map(|index| self.place_of_index(index));
        match &mut self.0 {
            Repr::Small(list) => {
                if let Some((_, old)) = list.iter_mut().find(|(key, _)| *key == name) {
                    return Some(std::mem::replace(old, value));
                }
                if list.len() < SMALL {
                    let at = place.unwrap_or(list.len());
                    list.insert(at, (name, value));
                    return None;
                }
                let mut map: IndexMap<_, _> = std::mem::take(list).into_iter().collect();
                map.shift_insert(place.unwrap_or(map.len()), name, value);
                self.0 = Repr::Large(Box::new(map));
                None
            }
            Repr::Large(map) => match place {
                Some(at) if !map.contains_key(&name) => map.shift_insert(at, name, value),
                _ => map.insert(name, value),
            },
        }
    }

    /// Removes a property and gives its value. The others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        match &mut self.0 {
            Repr::Small(list) => {
                let at = list.iter().position(|(key, _)| key == name)?;
                Some(list.remove(at).1)
            }
            Repr::Large(map) => map.shift_remove(&Text(name)),
        }
    }

    /// The properties in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(match &self.0 {
            Repr::Small(list) => IterRepr::Small(list.iter()),
            Repr::Large(map) => IterRepr::Large(map.iter()),
        })
    }

    /// The names in order.
    pub fn keys(&self) -> impl Iterator<Item = &JsString> {
        self.iter().map(|(key, _)| key)
    }

    /// The values in order of their names.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.iter().map(|(_, value)| value)
    }

    /// An object of these properties: of equal names the last value counts, at the first one's
    /// place. One sort at most, whatever the order in which a peer wrote the names. Also tells
    /// whether the properties had to be reordered or dropped.
    pub(crate) fn from_pairs(mut pairs: Vec<(JsString, Value)>) -> (Self, bool) {
        let before = pairs.len();
        if has_duplicates(&pairs) {
            pairs = pairs
                .into_iter()
                .collect::<IndexMap<_, _>>()
                .into_iter()
                .collect();
        }
        let sorted = sort_as_javascript(&mut pairs);
        let changed = sorted || pairs.len() < before;
        if pairs.len() <= SMALL {
            (Self(Repr::Small(pairs)), changed)
        } else {
            (
                Self(Repr::Large(Box::new(pairs.into_iter().collect()))),
                changed,
            )
        }
    }

    /// Where the index-named property `index` stands or would stand.
    fn place_of_index(&self, index: u32) -> usize {
        let before = |key: &JsString| array_index(key).is_some_and(|other| other < index);
        match &self.0 {
            Repr::Small(list) => list.partition_point(|(key, _)| before(key)),
            Repr::Large(map) => map.partition_point(|key, _| before(key)),
        }
    }
}

/// The array index that a name spells (`"0"` to `"4294967294"`, no leading zeros), if it does.
pub(crate) fn array_index(name: &JsString) -> Option<u32> {
    let bytes = name.as_str()?.as_bytes();
    let digits = bytes.len() <= 10 && bytes.first()?.is_ascii_digit();
    if !digits || (bytes.len() > 1 && bytes[0] == b'0') {
        return None;
    }
    let mut number: u64 = 0;
    for byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    u32::try_from(number)
        .ok()
        .filter(|index| *index != u32::MAX)
}

fn has_duplicates(pairs: &[(JsString, Value)]) -> bool {
    if pairs.len() <= SMALL {
        return (1..pairs.len()).any(|i| pairs[..i].iter().any(|(key, _)| *key == pairs[i].0));
    }
    let mut seen = HashSet::with_capacity(pairs.len());
    !pairs.iter().all(|(key, _)| seen.insert(key))
}

/// Tells whether there was anything to sort.
fn sort_as_javascript(pairs: &mut [(JsString, Value)]) -> bool {
    // A name that is no index sorts last here; the sort is stable.
    let rank = |key: &JsString| array_index(key).map_or(u64::MAX, u64::from);
    let sorted = pairs.is_sorted_by_key(|(key, _)| rank(key));
    if !sorted {
        pairs.sort_by_key(|(key, _)| rank(key));
    }
    !sorted
}

/// The properties of an [`Object`] in order.
pub struct Iter<'a>(IterRepr<'a>);

enum IterRepr<'a> {
    Small(std::slice::Iter<'a, (JsString, Value)>),
    Large(indexmap::map::Iter<'a, JsString, Value>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a JsString, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            IterRepr::Small(iter) => iter.next().map(|(key, value)| (key, value)),
            IterRepr::Large(iter) => iter.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            IterRepr::Small(iter) => iter.size_hint(),
            IterRepr::Large(iter) => iter.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// The properties of an [`Object`] in order, owned.
pub struct IntoIter(IntoIterRepr);

enum IntoIterRepr {
    Small(std::vec::IntoIter<(JsString, Value)>),
    Large(indexmap::map::IntoIter<JsString, Value>),
}

impl Iterator for IntoIter {
    type Item = (JsString, Value);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            IntoIterRepr::Small(iter) => iter.next(),
            IntoIterRepr::Large(iter) => iter.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            IntoIterRepr::Small(iter) => iter.size_hint(),
            IntoIterRepr::Large(iter) => iter.size_hint(),
        }
    }
}

impl ExactSizeIterator for IntoIter {}

impl IntoIterator for Object {
    type Item = (JsString, Value);
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(match self.0 {
            Repr::Small(list) => IntoIterRepr::Small(list.into_iter()),
            Repr::Large(map) => IntoIterRepr::Large(map.into_iter()),
        })
    }
}

impl<'a> IntoIterator for &'a Object {
    type Item = (&'a JsString, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<K: Into<JsString>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self::from_pairs(
            pairs
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
        .0
    }
}

impl<K: Into<JsString>, V: Into<Value>, const N: usize> From<[(K, V); N]> for Object {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<K: Into<JsString>, V: Into<Value>> Extend<(K, V)> for Object {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (name, value) in pairs {
            self.insert(name, value);
        }
    }
}

/// Equal when the same names have the same values in the same order.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl std::ops::Index<&str> for Object {
    type Output = Value;

    /// The property, or `undefined` when there is none, as in JavaScript.
    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Undefined)
    }
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
