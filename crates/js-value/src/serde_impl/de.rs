//! Values -> Rust types.

use super::key::Key;
use super::types::{pass, take_passed};
use super::{READABLE_TOKEN, STUB_TOKEN, SerdeError, VALUE_TOKEN, WRITABLE_TOKEN, elements};
use crate::{Boxed, JsError, JsString, Object, SparseArray, Value};
use num_bigint::BigInt;
use serde::de::value::{MapDeserializer, SeqDeserializer, U32Deserializer, UnitDeserializer};
use serde::de::{self, Deserialize, DeserializeOwned, IntoDeserializer, Visitor};

/// What a token of an external stands for.
fn external(token: &str) -> Option<&'static str> {
    match token {
        STUB_TOKEN => Some("stub"),
        READABLE_TOKEN => Some("ReadableStream"),
        WRITABLE_TOKEN => Some("WritableStream"),
        _ => None,
    }
}

/// A value as a Rust type.
///
/// The reverse of [`to_value`](crate::to_value), and lenient where JavaScript is: `undefined` and a
/// missing property are `None`, an integral number fits every integer type that can hold it, as does
/// a BigInt; a `Date` is also its ISO text or its milliseconds, a `Map` also a map, a `Set` also a
/// sequence, typed arrays and buffers also bytes or a sequence of numbers; a `String` takes text with
/// lone surrogates with U+FFFD in their place.
///
/// ```
/// use js_value::{from_value, Object, Value};
/// #[derive(serde::Deserialize)]
/// struct Query { sql: String, limit: Option<u32> }
/// let query: Query = from_value(Object::from([("sql", "select 1")]).into())?;
/// assert_eq!((query.sql.as_str(), query.limit), ("select 1", None));
/// # Ok::<(), js_value::SerdeError>(())
/// ```
///
/// # Errors
/// When the value does not fit the type, and for a value that contains itself.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, SerdeError> {
    let value = if value.has_references() {
        value.expanded()?
    } else {
        value
    };
    T::deserialize(Deserializer(value))
}

/// A value on its way into a Rust type: see [`from_value`]. In a private module, but in the public
/// `IntoDeserializer`.
pub struct Deserializer(Value);

impl IntoDeserializer<'_, SerdeError> for Value {
    type Deserializer = Deserializer;

    fn into_deserializer(self) -> Deserializer {
        Deserializer(self)
    }
}

type Done<T> = Result<T, SerdeError>;

impl Deserializer {
    /// What the visitor gets for a value whatever type it is for.
    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
        match self.0 {
            Value::Array(elements) | Value::Set(elements) => sequence(elements, visitor),
            Value::SparseArray(array) => sequence(dense(*array)?, visitor),
            Value::Object(object) => properties(object, visitor),
            Value::Map(entries) => self::entries(entries, visitor),
            Value::Error(error) => properties(error_properties(*error), visitor),
            _ => self.leaf(visitor),
        }
    }

    /// What contains no other values; apart, to keep the frames of deep recursion small.
    fn leaf<'de, V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
        match self.0 {
            Value::Bool(flag) => visitor.visit_bool(flag),
            Value::Number(number) => visit_number(number, visitor),
            Value::BigInt(number) => visit_bigint(&number, visitor),
            Value::String(text) => visitor.visit_string(text.into_string_lossy()),
            Value::Date(ms) => match crate::date::to_iso(ms) {
                Some(iso) => visitor.visit_string(iso),
                None => visitor.visit_unit(),
            },
            Value::RegExp(_) => visitor.visit_string(self.0.to_string()),
            Value::ArrayBuffer(bytes) => visitor.visit_byte_buf(bytes),
            Value::View(view) => visitor.visit_byte_buf(view.into_bytes().unwrap_or_default()),
            Value::Boxed(boxed) => Deserializer(unboxed(*boxed)).any(visitor),
            Value::Blob(blob) => visitor.visit_byte_buf(blob.bytes),
            Value::Stub(_)
            | Value::ReadableStream(_)
            | Value::WritableStream(_)
            | Value::Headers(_)
            | Value::Request(_)
            | Value::Response(_) => {
                let name = self.0.type_name();
                Err(de::Error::custom(format_args!("unexpected {name}")))
            }
            Value::BackRef(n) => Err(crate::ExpandError::Dangling(n).into()),
            _ => visitor.visit_unit(),
        }
    }

    /// The number that the value is or stands for, for integer types of all sizes.
    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
        const TWO_63: f64 = 9_223_372_036_854_775_808.0;
        match self.0 {
            Value::Number(n) | Value::Date(n) if n.fract() == 0.0 => match n {
                n if (-TWO_63..TWO_63).contains(&n) => visitor.visit_i64(n as i64),
                n if (TWO_63..2.0 * TWO_63).contains(&n) => visitor.visit_u64(n as u64),
                n => visitor.visit_f64(n),
            },
            _ => self.any(visitor),
        }
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: f64, visitor: V) -> Done<V::Value> {
    let negative_zero = number == 0.0 && number.is_sign_negative();
    match crate::value::safe_integer(number) {
        Some(integer) if !negative_zero => match u64::try_from(integer) {
            Ok(integer) => visitor.visit_u64(integer),
            Err(_) => visitor.visit_i64(integer),
        },
        _ => visitor.visit_f64(number),
    }
}

fn visit_bigint<'de, V: Visitor<'de>>(number: &BigInt, visitor: V) -> Done<V::Value> {
    if let Ok(number) = u64::try_from(number) {
        visitor.visit_u64(number)
    } else if let Ok(number) = i64::try_from(number) {
        visitor.visit_i64(number)
    } else if let Ok(number) = i128::try_from(number) {
        visitor.visit_i128(number)
    } else if let Ok(number) = u128::try_from(number) {
        visitor.visit_u128(number)
    } else {
        Err(de::Error::custom(format_args!(
            "a BigInt of {} bits does not fit",
            number.bits()
        )))
    }
}

fn sequence<'de, V: Visitor<'de>>(elements: Vec<Value>, visitor: V) -> Done<V::Value> {
    let mut access = SeqDeserializer::new(elements.into_iter());
    let sequence = visitor.visit_seq(&mut access)?;
    access.end()?;
    Ok(sequence)
}

fn properties<'de, V: Visitor<'de>>(object: Object, visitor: V) -> Done<V::Value> {
    let pairs = object.into_iter().map(|(name, value)| (Key(name), value));
    let mut access = MapDeserializer::new(pairs);
    let map = visitor.visit_map(&mut access)?;
    access.end()?;
    Ok(map)
}

fn entries<'de, V: Visitor<'de>>(entries: Vec<(Value, Value)>, visitor: V) -> Done<V::Value> {
    let mut access = MapDeserializer::new(entries.into_iter());
    let map = visitor.visit_map(&mut access)?;
    access.end()?;
    Ok(map)
}

/// The elements of an array without holes; a peer could claim billions of them.
fn dense(array: SparseArray) -> Done<Vec<Value>> {
    if !array.is_dense() {
        return Err(de::Error::custom("the array has holes"));
    }
    Ok(array
        .elements()
        .iter()
        .map(|(_, value)| value.clone())
        .collect())
}

fn error_properties(error: JsError) -> Object {
    let mut object = error.properties;
    object.insert("name", error.name);
    object.insert("message", error.message);
    if let Some(stack) = error.stack {
        object.insert("stack", stack);
    }
    if let Some(cause) = error.cause {
        object.insert("cause", *cause);
    }
    object
}

fn unboxed(boxed: Boxed) -> Value {
    match boxed {
        Boxed::Bool(flag) => Value::Bool(flag),
        Boxed::Number(number) => Value::Number(number),
        Boxed::BigInt(number) => Value::BigInt(number),
        Boxed::String(text) => Value::String(text),
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
            self.integer(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Deserializer {
    type Error = SerdeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
        self.any(visitor)
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
        match self.0 {
            Value::Number(number) | Value::Date(number) => visitor.visit_f64(number),
            _ => self.any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
        if self.0.is_nullish() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
        match self.0 {
            Value::ArrayBuffer(bytes) => {
                sequence(bytes.into_iter().map(Value::from).collect(), visitor)
            }
            Value::Blob(blob) => {
                sequence(blob.bytes.into_iter().map(Value::from).collect(), visitor)
            }
            Value::View(view) => sequence(elements::of(*view)?, visitor),
            _ => self.any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Done<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Done<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Done<V::Value> {
        match self.0 {
            value if name == VALUE_TOKEN => {
                pass(value);
                let taken = visitor.visit_newtype_struct(UnitDeserializer::<SerdeError>::new());
                take_passed();
                taken
            }
            Value::Stub(n) if name == STUB_TOKEN => {
                visitor.visit_newtype_struct(U32Deserializer::<SerdeError>::new(n))
            }
            Value::ReadableStream(n) if name == READABLE_TOKEN => {
                visitor.visit_newtype_struct(U32Deserializer::<SerdeError>::new(n))
            }
            Value::WritableStream(n) if name == WRITABLE_TOKEN => {
                visitor.visit_newtype_struct(U32Deserializer::<SerdeError>::new(n))
            }
            other if external(name).is_some() => Err(de::Error::custom(format_args!(
                "expected a {}, found {}",
                external(name).unwrap_or_default(),
                other.type_name()
            ))),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Done<V::Value> {
        let (variant, content) = match self.0 {
            Value::String(variant) => (variant, None),
            Value::Object(object) if object.len() == 1 => match object.into_iter().next() {
                Some((variant, content)) => (variant, Some(content)),
                None => (JsString::default(), None),
            },
            other => {
                return Err(de::Error::custom(format_args!(
                    "expected a string or an object with one property, found {}",
                    other.type_name()
                )));
            }
        };
        visitor.visit_enum(Enum { variant, content })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Done<V::Value> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool char str string bytes byte_buf unit unit_struct map struct identifier
    }
}

struct Enum {
    variant: JsString,
    content: Option<Value>,
}

impl<'de> de::EnumAccess<'de> for Enum {
    type Error = SerdeError;
    type Variant = Content;

    fn variant_seed<V: de::DeserializeSeed<'de>>(self, seed: V) -> Done<(V::Value, Content)> {
        Ok((seed.deserialize(Key(self.variant))?, Content(self.content)))
    }
}

struct Content(Option<Value>);

impl<'de> de::VariantAccess<'de> for Content {
    type Error = SerdeError;

    fn unit_variant(self) -> Done<()> {
        match self.0 {
            Some(content) => Deserialize::deserialize(Deserializer(content)),
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, seed: T) -> Done<T::Value> {
        seed.deserialize(Deserializer(self.0.unwrap_or_default()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Done<V::Value> {
        de::Deserializer::deserialize_seq(Deserializer(self.0.unwrap_or_default()), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Done<V::Value> {
        Deserializer(self.0.unwrap_or_default()).any(visitor)
    }
}
