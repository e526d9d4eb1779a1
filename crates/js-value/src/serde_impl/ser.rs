//! Rust types -> values.

use super::types::take_passed;
use super::{MAX_DEPTH, READABLE_TOKEN, STUB_TOKEN, SerdeError, VALUE_TOKEN, WRITABLE_TOKEN};
use crate::{JsString, Object, Value, View};
use num_bigint::BigInt;
use serde::ser::{self, Serialize};

/// The value of anything that serializes.
///
/// Structs and maps become objects, sequences and tuples arrays, `None` and units `null`, bytes a
/// `Uint8Array`, enums what serde_json makes of them. Integers become numbers up to 2^53 - 1 in size
/// and BigInts beyond, so that nothing is lost.
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Row { id: u64, name: Option<String> }
/// let value = js_value::to_value(&Row { id: 7, name: None })?;
/// assert_eq!(value.to_string(), "{ id: 7, name: null }");
/// # Ok::<(), js_value::SerdeError>(())
/// ```
///
/// # Errors
/// What the type's own `Serialize` reports; map keys that are no names; nesting beyond 256 levels.
pub fn to_value<T: Serialize + ?Sized>(source: &T) -> Result<Value, SerdeError> {
    source.serialize(Serializer { depth: 0 })
}

#[derive(Clone, Copy)]
struct Serializer {
    depth: usize,
}

type Done<T = Value> = Result<T, SerdeError>;

impl Serializer {
    fn deeper(self) -> Done<Self> {
        if self.depth >= MAX_DEPTH {
            return Err(SerdeError::TooDeep);
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

macro_rules! into_value {
    ($($method:ident: $type:ty;)*) => {$(
        fn $method(self, value: $type) -> Done {
            Ok(Value::from(value))
        }
    )*};
}

impl ser::Serializer for Serializer {
    type Ok = Value;
    type Error = SerdeError;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Properties;
    type SerializeStruct = Properties;
    type SerializeStructVariant = Properties;

    into_value! {
        serialize_bool: bool;
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
        serialize_u64: u64;
        serialize_f32: f32;
        serialize_f64: f64;
        serialize_str: &str;
    }

    fn serialize_i128(self, value: i128) -> Done {
        Ok(i64::try_from(value).map_or_else(|_| BigInt::from(value).into(), Value::from))
    }

    fn serialize_u128(self, value: u128) -> Done {
        Ok(u64::try_from(value).map_or_else(|_| BigInt::from(value).into(), Value::from))
    }

    fn serialize_char(self, value: char) -> Done {
        Ok(Value::from(value.to_string()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Done {
        Ok(View::uint8(bytes).into())
    }

    fn serialize_none(self) -> Done {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        // `null` and not `undefined`: serde_json's `Null` comes as a unit.
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Done {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        Ok(Value::from(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Done {
        if name == VALUE_TOKEN
            && let Some(value) = take_passed()
        {
            return Ok(value);
        }
        let value = value.serialize(self)?;
        match &value {
            Value::Number(n) if f64::from(*n as u32) == *n => Ok(match name {
                STUB_TOKEN => Value::Stub(*n as u32),
                READABLE_TOKEN => Value::ReadableStream(*n as u32),
                WRITABLE_TOKEN => Value::WritableStream(*n as u32),
                _ => value,
            }),
            _ => Ok(value),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        Ok(tagged(variant, value.serialize(self.deeper()?)?))
    }

    fn serialize_seq(self, length: Option<usize>) -> Done<List> {
        List::new(self, None, length)
    }

    fn serialize_tuple(self, length: usize) -> Done<List> {
        List::new(self, None, Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Done<List> {
        List::new(self, None, Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Done<List> {
        List::new(self, Some(variant), Some(length))
    }

    fn serialize_map(self, length: Option<usize>) -> Done<Properties> {
        Properties::new(self, None, length)
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Done<Properties> {
        Properties::new(self, None, Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Done<Properties> {
        Properties::new(self, Some(variant), Some(length))
    }
}

/// `{variant: content}`, as serde_json writes enums.
fn tagged(variant: &'static str, content: Value) -> Value {
    let mut object = Object::with_capacity(1);
    object.insert(variant, content);
    Value::Object(object)
}

struct List {
    inner: Serializer,
    variant: Option<&'static str>,
    elements: Vec<Value>,
}

impl List {
    fn new(outer: Serializer, variant: Option<&'static str>, length: Option<usize>) -> Done<Self> {
        // A type may claim any length; room for a few is made before they come.
        let capacity = length.unwrap_or(0).min(4096);
        Ok(Self {
            inner: outer.deeper()?,
            variant,
            elements: Vec::with_capacity(capacity),
        })
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Done<()> {
        self.elements.push(value.serialize(self.inner)?);
        Ok(())
    }

    fn finish(self) -> Done {
        let list = Value::Array(self.elements);
        Ok(match self.variant {
            Some(variant) => tagged(variant, list),
            None => list,
        })
    }
}

struct Properties {
    inner: Serializer,
    variant: Option<&'static str>,
    pairs: Vec<(JsString, Value)>,
    key: Option<JsString>,
}

impl Properties {
    fn new(outer: Serializer, variant: Option<&'static str>, length: Option<usize>) -> Done<Self> {
        Ok(Self {
            inner: outer.deeper()?,
            variant,
            pairs: Vec::with_capacity(length.unwrap_or(0).min(4096)),
            key: None,
        })
    }

    fn push<T: Serialize + ?Sized>(&mut self, name: JsString, value: &T) -> Done<()> {
        self.pairs.push((name, value.serialize(self.inner)?));
        Ok(())
    }

    fn finish(self) -> Done {
        let object = Value::Object(Object::from_pairs(self.pairs).0);
        Ok(match self.variant {
            Some(variant) => tagged(variant, object),
            None => object,
        })
    }
}

macro_rules! list {
    ($($trait:ident::$method:ident;)*) => {$(
        impl ser::$trait for List {
            type Ok = Value;
            type Error = SerdeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Done<()> {
                self.push(value)
            }

            fn end(self) -> Done {
                self.finish()
            }
        }
    )*};
}

list! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

macro_rules! fields {
    ($($trait:ident;)*) => {$(
        impl ser::$trait for Properties {
            type Ok = Value;
            type Error = SerdeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Done<()> {
                self.push(name.into(), value)
            }

            fn end(self) -> Done {
                self.finish()
            }
        }
    )*};
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl ser::SerializeMap for Properties {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done<()> {
        self.key = Some(match key.serialize(self.inner)? {
            Value::String(name) => name,
            Value::Bool(flag) => flag.to_string().into(),
            Value::Number(number) => crate::inspect::number(number).into(),
            Value::BigInt(number) => number.to_string().into(),
            _ => return Err(SerdeError::BadKey),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done<()> {
        let key = self.key.take().ok_or(SerdeError::BadKey)?;
        self.push(key, value)
    }

    fn end(self) -> Done {
        self.finish()
    }
}
