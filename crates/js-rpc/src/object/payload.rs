//! Values that cross the wire together with the stubs and streams in them, and their serde side.
//!
//! A [`Value`] refers to them by number; they themselves travel beside it. Types that derive serde's traits may
//! contain a [`Stub`] or a stream directly: while such a value is converted, what travels beside it is in a table of this
//! thread.

use std::cell::RefCell;

use binding_span::{AttributeList, AttributeValue, Maybe};
use js_value::Value;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::byte_stream::{ByteSink, ByteStream};
use super::stub::Stub;

/// What a value refers to by number and cannot contain.
#[derive(Debug, Clone)]
pub enum External {
    /// An object that can be called.
    Stub(Stub),
    /// Bytes to read.
    Readable(ByteStream),
    /// Where to write bytes to.
    Writable(ByteSink),
}

impl External {
    /// The object, if it is one.
    pub const fn as_stub(&self) -> Option<&Stub> {
        match self {
            Self::Stub(stub) => Some(stub),
            _ => None,
        }
    }

    /// The stream, if it is one.
    pub const fn as_readable(&self) -> Option<&ByteStream> {
        match self {
            Self::Readable(stream) => Some(stream),
            _ => None,
        }
    }

    /// The end to write to, if it is one.
    pub const fn as_writable(&self) -> Option<&ByteSink> {
        match self {
            Self::Writable(sink) => Some(sink),
            _ => None,
        }
    }
}

/// One JavaScript value and what it refers to: the stub of `Value::Stub(n)` is `externals[n]`.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// The value.
    pub value: Value,
    /// What it refers to, in order of appearance.
    pub externals: Vec<External>,
}

/// The arguments of a call.
#[derive(Debug, Clone, Default)]
pub struct Args {
    /// One value an argument.
    pub values: Vec<Value>,
    /// What the values refer to, in order of appearance.
    pub externals: Vec<External>,
}

/// A value that cannot be converted.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ConvertError(String);

impl ConvertError {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

thread_local! {
    static TABLE: RefCell<Option<Vec<External>>> = const { RefCell::new(None) };
}

/// Runs `convert` with `externals` as this thread's table; returns the table after it.
fn with_table<R>(externals: Vec<External>, convert: impl FnOnce() -> R) -> (R, Vec<External>) {
    struct Restore(Option<Vec<External>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            TABLE.replace(self.0.take());
        }
    }
    let restore = Restore(TABLE.replace(Some(externals)));
    let result = convert();
    let externals = TABLE.take().unwrap_or_default();
    drop(restore);
    (result, externals)
}

impl Payload {
    /// The payload of a serializable value, with the stubs and streams in it.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, ConvertError> {
        let (value, externals) = with_table(Vec::new(), || js_value::to_value(value));
        let value = value.map_err(|error| ConvertError(error.to_string()))?;
        Ok(Self { value, externals })
    }

    /// The stub of `Value::Stub(n)`.
    pub fn stub(&self, n: u32) -> Option<&Stub> {
        self.externals.get(n as usize)?.as_stub()
    }

    /// The stream of `Value::ReadableStream(n)`, or of a body that is one.
    pub fn readable(&self, n: u32) -> Option<&ByteStream> {
        self.externals.get(n as usize)?.as_readable()
    }

    /// The end to write to of `Value::WritableStream(n)`.
    pub fn writable(&self, n: u32) -> Option<&ByteSink> {
        self.externals.get(n as usize)?.as_writable()
    }

    /// The value as a type of yours.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, ConvertError> {
        let Self { value, externals } = self;
        let (parsed, _) = with_table(externals, || js_value::from_value(value));
        parsed.map_err(|error| ConvertError(error.to_string()))
    }

    /// The value as JSON, in the mapping that `js_value` documents.
    pub fn to_json(&self) -> Result<serde_json::Value, ConvertError> {
        self.value
            .to_json()
            .map_err(|error| ConvertError(error.to_string()))
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self {
            value,
            externals: Vec::new(),
        }
    }
}

/// A stub alone as the value.
impl From<Stub> for Payload {
    fn from(stub: Stub) -> Self {
        Self {
            value: Value::Stub(0),
            externals: vec![External::Stub(stub)],
        }
    }
}

/// A stream alone as the value.
impl From<ByteStream> for Payload {
    fn from(stream: ByteStream) -> Self {
        Self {
            value: Value::ReadableStream(0),
            externals: vec![External::Readable(stream)],
        }
    }
}

/// An end to write to alone as the value.
impl From<ByteSink> for Payload {
    fn from(sink: ByteSink) -> Self {
        Self {
            value: Value::WritableStream(0),
            externals: vec![External::Writable(sink)],
        }
    }
}

impl Args {
    /// No arguments.
    pub fn none() -> Self {
        Self::default()
    }

    /// The arguments in a JSON array.
    pub fn from_json(arguments: Vec<serde_json::Value>) -> Result<Self, ConvertError> {
        let values = arguments.into_iter().map(Value::from_json);
        let values: Result<_, _> = values.collect();
        Ok(Self {
            values: values.map_err(|error| ConvertError(error.to_string()))?,
            externals: Vec::new(),
        })
    }

    /// All arguments as a tuple of your types. An argument that was not given is `undefined`: an
    /// `Option` takes it as `None`. Arguments behind the last one asked for are ignored, as in
    /// JavaScript.
    ///
    /// ```
    /// use js_rpc::Args;
    /// let args = Args { values: vec![2.into(), "two".into()], externals: vec![] };
    /// let (number, word, more): (i64, String, Option<bool>) = args.parse().unwrap();
    /// assert_eq!((number, word.as_str(), more), (2, "two", None));
    /// ```
    pub fn parse<T: Arguments>(self) -> Result<T, ConvertError> {
        let Self {
            mut values,
            externals,
        } = self;
        values.resize(T::COUNT, Value::Undefined);
        with_table(externals, || T::from_values(values)).0
    }

    /// The first argument as a type of yours: for methods that take one.
    pub fn first<T: DeserializeOwned>(self) -> Result<T, ConvertError> {
        self.parse::<(T,)>().map(|(first,)| first)
    }
}

/// Values that refer to nothing.
impl From<Vec<Value>> for Args {
    fn from(values: Vec<Value>) -> Self {
        Self {
            values,
            externals: Vec::new(),
        }
    }
}

/// Tuples of types that arguments can be read as, up to six.
pub trait Arguments: Sized {
    /// How many.
    const COUNT: usize;

    /// Reads exactly that many values.
    #[doc(hidden)]
    fn from_values(values: Vec<Value>) -> Result<Self, ConvertError>;
}

macro_rules! arguments {
    ($($count:literal: $($name:ident)*;)*) => {$(
        impl<$($name: DeserializeOwned),*> Arguments for ($($name,)*) {
            const COUNT: usize = $count;

            fn from_values(values: Vec<Value>) -> Result<Self, ConvertError> {
                let mut values = values.into_iter().enumerate();
                let mut next = || values.next().unwrap_or((0, Value::Undefined));
                let _ = &mut next;
                Ok(($(argument::<$name>(next())?,)*))
            }
        }
    )*};
}

arguments! {
    0: ;
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E F;
}

fn argument<T: DeserializeOwned>((i, value): (usize, Value)) -> Result<T, ConvertError> {
    js_value::from_value(value).map_err(|e| ConvertError(format!("argument {}: {e}", i + 1)))
}

/// What can be given as the arguments of a call: [`Args`], or a tuple or list that serializes to an
/// array.
pub trait IntoArgs {
    /// The arguments.
    fn into_args(self) -> Result<Args, ConvertError>;
}

impl IntoArgs for Args {
    fn into_args(self) -> Result<Args, ConvertError> {
        Ok(self)
    }
}

impl<T: Serialize> IntoArgs for T {
    fn into_args(self) -> Result<Args, ConvertError> {
        let Payload { value, externals } = Payload::of(&self)?;
        let values = match value {
            Value::Array(values) => values,
            Value::Null | Value::Undefined => Vec::new(),
            single => vec![single],
        };
        Ok(Args { values, externals })
    }
}

/// A JavaScript value as the value of an attribute: strings, booleans and numbers, the latter int64 when
/// they are integral, and arrays of one of these, whose numbers are int64 when all are integral. Everything else is
/// none, arrays of several types or of nothing included, and the attribute is skipped.
///
/// ```
/// use js_rpc::{Enrichment, Value, attribute_value};
/// let reasons = Value::Array(vec!["stop".into(), "length".into()]);
/// let said = Enrichment::new()
///     .attribute("n", attribute_value(&Value::Number(3.0)))
///     .attribute("gen_ai.response.finish_reasons", attribute_value(&reasons))
///     .attribute("none", attribute_value(&Value::Null));
/// assert_eq!(said.attributes().len(), 2);
/// ```
pub fn attribute_value(value: &Value) -> Maybe<AttributeValue> {
    Maybe(match value {
        Value::Array(elements) => {
            AttributeList::from_elements(elements.iter().map(scalar)).map(Into::into)
        }
        single => scalar(single),
    })
}

fn scalar(value: &Value) -> Option<AttributeValue> {
    match value {
        Value::Bool(value) => Some((*value).into()),
        Value::Number(number) => Some(AttributeValue::from_number(*number)),
        Value::String(text) => Some(text.to_string_lossy().into_owned().into()),
        _ => None,
    }
}

/// Puts something into this thread's table.
fn put<S: Serializer>(
    external: External,
    token: &'static str,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::Error;
    let number = TABLE.with_borrow_mut(|table| {
        let externals = table.as_mut()?;
        externals.push(external);
        u32::try_from(externals.len() - 1).ok()
    });
    let number = number.ok_or_else(|| S::Error::custom(OUTSIDE))?;
    serializer.serialize_newtype_struct(token, &number)
}

/// Finds something in this thread's table.
fn find<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    token: &'static str,
    pick: impl FnOnce(&External) -> Option<T>,
) -> Result<T, D::Error> {
    struct Number;
    impl<'de> serde::de::Visitor<'de> for Number {
        type Value = u32;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a stub or stream")
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<u32, D::Error> {
            u32::deserialize(d)
        }
    }
    let number = deserializer.deserialize_newtype_struct(token, Number)?;
    TABLE
        .with_borrow(|table| pick(table.as_ref()?.get(number as usize)?))
        .ok_or_else(|| D::Error::custom(OUTSIDE))
}

const OUTSIDE: &str = "stubs and streams can only be part of a call's values";

/// A stub inside of a value that is converted to a [`Payload`]; anywhere else an error.
impl Serialize for Stub {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put(
            External::Stub(self.clone()),
            js_value::STUB_TOKEN,
            serializer,
        )
    }
}

impl<'de> Deserialize<'de> for Stub {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pick = |external: &External| external.as_stub().cloned();
        find(deserializer, js_value::STUB_TOKEN, pick)
    }
}

/// A stream inside of a value, as a stub may be.
impl Serialize for ByteStream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stream = External::Readable(self.clone());
        put(stream, js_value::READABLE_TOKEN, serializer)
    }
}

impl<'de> Deserialize<'de> for ByteStream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pick = |external: &External| external.as_readable().cloned();
        find(deserializer, js_value::READABLE_TOKEN, pick)
    }
}

/// An end to write to inside of a value, as a stub may be.
impl Serialize for ByteSink {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sink = External::Writable(self.clone());
        put(sink, js_value::WRITABLE_TOKEN, serializer)
    }
}

impl<'de> Deserialize<'de> for ByteSink {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pick = |external: &External| external.as_writable().cloned();
        find(deserializer, js_value::WRITABLE_TOKEN, pick)
    }
}
