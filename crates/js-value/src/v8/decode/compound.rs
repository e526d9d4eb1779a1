//! Values that contain others: objects, arrays, maps, sets.

use super::{DecodeErrorKind as Kind, Decoded, Decoder};
use crate::v8::tag;
use crate::{JsString, Object, SparseArray, Value};

/// Room made for the elements of an array before they are read, at most.
const INITIAL_CAPACITY: usize = 16;

impl Decoder<'_> {
    pub(super) fn object(&mut self) -> Decoded<Object> {
        let (pairs, count) =
            self.properties(tag::OBJECT_END, Vec::new(), |pairs, key, value| {
                pairs.push((key.into_name(), value));
            })?;
        self.count(count, "object")?;
        let (object, changed) = Object::from_pairs(pairs);
        self.reordered |= changed;
        Ok(object)
    }

    /// Reads names and values up to the tag `end`; gives how many there were.
    fn properties<T>(
        &mut self,
        end: u8,
        mut into: T,
        mut add: impl FnMut(&mut T, Key, Value),
    ) -> Decoded<(T, usize)> {
        let mut count = 0;
        while !self.input.skip_tag(end) {
            let key = self.key()?;
            let value = self.value()?;
            add(&mut into, key, value);
            count += 1;
        }
        Ok((into, count))
    }

    fn key(&mut self) -> Decoded<Key> {
        self.values += 1;
        let tag = self.input.tag()?;
        match tag {
            tag::INT32 => Ok(Key::from_number(f64::from(self.int32()?))),
            tag::UINT32 => Ok(Key::from_number(f64::from(self.input.varint()?))),
            tag::DOUBLE => Ok(Key::from_number(self.input.double()?)),
            tag::ONE_BYTE_STRING | tag::TWO_BYTE_STRING | tag::UTF8_STRING => {
                Ok(Key::Name(self.text(tag)?))
            }
            _ => self.fail(Kind::BadKey),
        }
    }

    pub(super) fn count(&mut self, read: usize, what: &'static str) -> Decoded<()> {
        if self.input.varint()? as usize != read {
            return self.fail(Kind::BadCount(what));
        }
        Ok(())
    }

    pub(super) fn dense_array(&mut self) -> Decoded {
        let length = self.input.varint()?;
        if length as usize > self.input.remaining() {
            return self.fail(Kind::Truncated);
        }
        let mut elements = Vec::with_capacity((length as usize).min(INITIAL_CAPACITY));
        while elements.len() < length as usize {
            if self.input.peek_tag() == Some(tag::HOLE) {
                return self.holey_array(length, elements);
            }
            elements.push(self.value()?);
        }
        if self.input.peek_tag() != Some(tag::DENSE_ARRAY_END) {
            let elements = (0..).zip(elements).collect();
            return self.array_end(tag::DENSE_ARRAY_END, length, elements);
        }
        self.input.tag()?;
        self.count(0, "array")?;
        self.count(length as usize, "array")?;
        Ok(Value::Array(elements))
    }

    /// Goes on where the first hole of a dense array is.
    fn holey_array(&mut self, length: u32, elements: Vec<Value>) -> Decoded {
        let next = elements.len() as u32;
        let mut elements: Vec<_> = (0..).zip(elements).collect();
        for index in next..length {
            if !self.input.skip_tag(tag::HOLE) {
                elements.push((index, self.value()?));
            }
        }
        self.array_end(tag::DENSE_ARRAY_END, length, elements)
    }

    pub(super) fn sparse_array(&mut self) -> Decoded {
        let length = self.input.varint()?;
        self.array_end(tag::SPARSE_ARRAY_END, length, Vec::new())
    }

    /// Reads what an array has behind its listed elements: elements by index, and properties.
    fn array_end(&mut self, end: u8, length: u32, elements: Vec<(u32, Value)>) -> Decoded {
        let mut late = false;
        let parts = (elements, Vec::new());
        let ((elements, pairs), count) =
            self.properties(end, parts, |parts, key, value| match key {
                Key::Index(index) => {
                    late |= !parts.1.is_empty();
                    parts.0.push((index, value));
                }
                Key::Name(name) => parts.1.push((name, value)),
            })?;
        self.count(count, "array")?;
        self.count(length as usize, "array")?;
        let (properties, moved) = Object::from_pairs(pairs);
        let (array, changed) = SparseArray::from_parts(length, elements, properties);
        self.reordered |= late | moved | changed;
        // An array literal with an `undefined` comes as a sparse array without holes.
        Ok(array.into_value())
    }

    pub(super) fn map(&mut self) -> Decoded {
        let mut entries = Vec::new();
        while !self.input.skip_tag(tag::MAP_END) {
            entries.push((self.value()?, self.value()?));
        }
        self.count(entries.len() * 2, "Map")?;
        Ok(Value::Map(entries))
    }

    pub(super) fn set(&mut self) -> Decoded {
        let mut elements = Vec::new();
        while !self.input.skip_tag(tag::SET_END) {
            elements.push(self.value()?);
        }
        self.count(elements.len(), "Set")?;
        Ok(Value::Set(elements))
    }
}

/// The name of a property, or the index of an element.
enum Key {
    Index(u32),
    Name(JsString),
}

impl Key {
    fn from_number(number: f64) -> Self {
        let index = number as u32;
        if f64::from(index) == number && index != u32::MAX {
            Key::Index(index)
        } else {
            Key::Name(crate::inspect::number(number).into())
        }
    }

    fn into_name(self) -> JsString {
        match self {
            Key::Index(index) => index.to_string().into(),
            Key::Name(name) => name,
        }
    }
}
