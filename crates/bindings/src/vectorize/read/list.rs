//! Lists of which no more is kept than there may be.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A list as it was read.
#[derive(Debug)]
pub(super) struct List<T> {
    /// Its first elements.
    pub(super) kept: Vec<T>,
    /// How many there were.
    pub(super) count: usize,
}

/// Reads a list, keeps at most so many elements and counts the others.
pub(super) struct Bounded<T> {
    most: usize,
    of: PhantomData<T>,
}

impl<T> Bounded<T> {
    pub(super) fn new(most: usize) -> Self {
        let of = PhantomData;
        Self { most, of }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Bounded<T> {
    type Value = List<T>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<List<T>, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.most {
            match list.next_element()? {
                Some(element) => kept.push(element),
                None => break,
            }
        }
        let mut count = kept.len();
        if count == self.most {
            while list.next_element::<IgnoredAny>()?.is_some() {
                count += 1;
            }
        }
        Ok(List { kept, count })
    }
}

/// Reads an object that has a list as one of its members.
pub(super) struct Member<T> {
    name: &'static str,
    list: Bounded<T>,
}

impl<'de, T: Deserialize<'de>> Member<T> {
    /// The list with this name, of which so many elements are kept.
    pub(super) fn read(
        text: &'de [u8],
        name: &'static str,
        most: usize,
    ) -> serde_json::Result<List<T>> {
        let mut from = serde_json::Deserializer::from_slice(text);
        let list = Bounded::new(most);
        let list = from.deserialize_map(Self { name, list })?;
        from.end()?;
        Ok(list)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Member<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the member {}", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<List<T>, A::Error> {
        let most = self.list.most;
        let mut read = None;
        while let Some(is_it) = members.next_key_seed(Is(self.name))? {
            match is_it {
                true if read.is_some() => return Err(Error::duplicate_field(self.name)),
                true => read = Some(members.next_value_seed(Bounded::new(most))?),
                false => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        read.ok_or_else(|| Error::missing_field(self.name))
    }
}

/// Whether a key is this one, which need not be kept to tell.
struct Is(&'static str);

impl<'de> DeserializeSeed<'de> for Is {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Is {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
