//! Bytes -> value. The bytes are a peer's: every length is doubted, every loop consumes input, and
//! what is allocated stays within a small multiple of what was received.

use super::reader::Reader;
use super::{Run, tag};
use crate::{
    Boxed, JsError, JsString, Object, RegExp, RegExpFlags, SparseArray, Value, View, ViewBuffer,
    ViewKind, refs,
};
use num_bigint::{BigInt, Sign};

/// The versions that differ in nothing that we read. 16 widens lengths, which we read in any width.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=16;

/// Room made for the elements of an array before they are read, at most.
const INITIAL_CAPACITY: usize = 16;

/// What a peer's value may cost.
///
/// A value takes 32 bytes of memory (56 in an object) where its shortest encoding is one byte, so
/// `max_values` bounds memory more tightly than the length of the input does: at most 56 MiB by
/// default, besides the text and bytes themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// How deep arrays, objects, maps, sets and errors may be nested: 128, at most 256.
    pub max_depth: u32,
    /// How many values there may be, counting each name of a property: 2^20.
    pub max_values: u32,
    /// How long a BigInt may be, in bytes: 8192. To print one takes quadratic time.
    pub max_bigint_bytes: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_depth: 128,
            max_values: 1 << 20,
            max_bigint_bytes: 8192,
        }
    }
}

/// Bytes that are no acceptable value: where, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {kind}")]
pub struct DecodeError {
    /// How far reading came, in bytes from the start of the header.
    pub offset: usize,
    /// What was wrong there.
    pub kind: DecodeErrorKind,
}

/// What can be wrong with a peer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The input does not begin with a version header.
    #[error("not a V8 serialization (no version header)")]
    NoHeader,
    /// A version of the format that we do not read.
    #[error("version {0} of the V8 serialization format is not supported")]
    Version(u32),
    /// The input ends in the middle of a value, or a length is longer than the input.
    #[error("the value is cut short")]
    Truncated,
    /// The input goes on after the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// A variable-length number that is too large.
    #[error("a number is out of range")]
    BadNumber,
    /// A byte that begins no value.
    #[error("0x{0:02x} does not begin a value")]
    UnknownTag(u8),
    /// A value that cannot travel, such as shared memory.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// A host object other than a stub or an error.
    #[error("host object {name} (tag {tag}) is not supported")]
    HostObject {
        /// workerd's number of it.
        tag: u32,
        /// Its name in JavaScript.
        name: &'static str,
    },
    /// A reference to an object that has not appeared, or not one that fits there.
    #[error("reference to object {0}, which does not fit here")]
    BadReference(u32),
    /// References together with properties out of order or written twice, which no engine writes:
    /// the numbers of the objects would be ambiguous.
    #[error("references beside duplicate or unordered properties")]
    AmbiguousReferences,
    /// A count at an end that differs from what was read.
    #[error("a count does not match its {0}")]
    BadCount(&'static str),
    /// A name of a property that is neither a string nor a number.
    #[error("the name of a property is neither a string nor a number")]
    BadKey,
    /// A part that is not what its place asks for.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Nested deeper than the limit.
    #[error("nested deeper than {0} levels")]
    TooDeep(u32),
    /// More values than the limit.
    #[error("more than {0} values")]
    TooManyValues(u32),
    /// A BigInt longer than the limit.
    #[error("a BigInt of {0} bytes is too long")]
    BigIntTooLong(u32),
    /// Arguments that are no array.
    #[error("the arguments are not an array")]
    NotArguments,
    /// Arguments that share objects in a way that cannot be taken apart.
    #[error("the arguments share objects: {0}")]
    SharedArguments(crate::ExpandError),
}

use DecodeErrorKind as Kind;

/// Decodes one value, which must be all of `bytes`.
///
/// ```
/// use js_value::{decode, DecodeLimits, Value};
/// let value = decode(&[0xff, 0x0f, b'I', 6], &DecodeLimits::default())?;
/// assert_eq!(value, Value::from(3));
/// # Ok::<(), js_value::DecodeError>(())
/// ```
///
/// # Errors
/// For anything but a V8 serialization within `limits`; never panics.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Value, DecodeError> {
    Decoder::new(bytes, limits).all()
}

/// Decodes the arguments of a call, each standing alone: what arguments share is copied.
///
/// # Errors
/// As [`decode`], and when the value is no array.
pub fn decode_args(bytes: &[u8], limits: &DecodeLimits) -> Result<Vec<Value>, DecodeError> {
    let mut decoder = Decoder::new(bytes, limits);
    let root = decoder.all()?;
    let error = |kind| DecodeError { offset: 2, kind };
    match root {
        Value::Array(elements) if !decoder.references => Ok(elements),
        Value::Array(ref elements) => {
            refs::split(&root, elements).map_err(|e| error(Kind::SharedArguments(e)))
        }
        _ => Err(error(Kind::NotArguments)),
    }
}

struct Decoder<'a> {
    input: Reader<'a>,
    limits: DecodeLimits,
    depth: u32,
    values: u32,
    stubs: u32,
    /// Objects so far, as `Value::BackRef` counts them and as the wire does.
    objects: u32,
    wire_objects: u32,
    /// Where the two counts part; empty unless there are native errors.
    runs: Vec<Run>,
    /// Number and length of every buffer, for the views that refer to it.
    buffers: Vec<(u32, usize)>,
    /// Whether a reference was read.
    references: bool,
    /// Whether something is at another place in the value than it was on the wire.
    reordered: bool,
}

type Decoded<T = Value> = Result<T, DecodeError>;

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8], limits: &DecodeLimits) -> Self {
        Self {
            input: Reader::new(bytes),
            limits: DecodeLimits {
                max_depth: limits.max_depth.min(256),
                ..*limits
            },
            depth: 0,
            values: 0,
            stubs: 0,
            objects: 0,
            wire_objects: 0,
            runs: Vec::new(),
            buffers: Vec::new(),
            references: false,
            reordered: false,
        }
    }

    fn fail<T>(&self, kind: Kind) -> Decoded<T> {
        Err(self.input.error(kind))
    }

    fn all(&mut self) -> Decoded {
        if self.input.byte().ok() != Some(tag::VERSION) {
            return self.fail(Kind::NoHeader);
        }
        let version = self.input.varint()?;
        if !VERSIONS.contains(&version) {
            return self.fail(Kind::Version(version));
        }
        let value = self.value()?;
        if self.input.remaining() > 0 {
            return self.fail(Kind::Trailing(self.input.remaining()));
        }
        if self.references && self.reordered {
            return self.fail(Kind::AmbiguousReferences);
        }
        Ok(value)
    }

    fn value(&mut self) -> Decoded {
        self.values += 1;
        if self.values > self.limits.max_values {
            return self.fail(Kind::TooManyValues(self.limits.max_values));
        }
        let mut tag = self.input.tag()?;
        while tag == tag::OBJECT_COUNT {
            self.input.varint()?;
            tag = self.input.tag()?;
        }
        // Two steps, and a function for each kind, keep the frames of deep recursion small.
        match tag {
            tag::OBJECT
            | tag::DENSE_ARRAY
            | tag::SPARSE_ARRAY
            | tag::MAP
            | tag::SET
            | tag::ERROR
            | tag::HOST_OBJECT => {
                self.begin_object();
                self.depth += 1;
                if self.depth > self.limits.max_depth {
                    return self.fail(Kind::TooDeep(self.limits.max_depth));
                }
                let value = self.compound(tag);
                self.depth -= 1;
                value
            }
            _ => self.simple(tag),
        }
    }

    fn compound(&mut self, tag: u8) -> Decoded {
        match tag {
            tag::OBJECT => self.object().map(Value::Object),
            tag::DENSE_ARRAY => self.dense_array(),
            tag::SPARSE_ARRAY => self.sparse_array(),
            tag::MAP => self.map(),
            tag::SET => self.set(),
            tag::ERROR => self.plain_error(),
            _ => self.host_object(),
        }
    }

    /// What contains no values of any kind.
    fn simple(&mut self, tag: u8) -> Decoded {
        match tag {
            tag::UNDEFINED => Ok(Value::Undefined),
            tag::NULL => Ok(Value::Null),
            tag::TRUE => Ok(Value::Bool(true)),
            tag::FALSE => Ok(Value::Bool(false)),
            tag::INT32 => Ok(Value::Number(f64::from(self.int32()?))),
            tag::UINT32 => Ok(Value::Number(f64::from(self.input.varint()?))),
            tag::DOUBLE => Ok(Value::Number(self.input.double()?)),
            tag::BIGINT => Ok(Value::BigInt(self.bigint()?)),
            tag::ONE_BYTE_STRING | tag::TWO_BYTE_STRING | tag::UTF8_STRING => {
                Ok(Value::String(self.text(tag)?))
            }
            tag::REFERENCE => self.reference(),
            tag::ARRAY_BUFFER | tag::RESIZABLE_ARRAY_BUFFER => self.buffer(tag),
            _ => self.leaf(tag),
        }
    }

    /// Objects that contain no other values.
    fn leaf(&mut self, tag: u8) -> Decoded {
        let value = match tag {
            tag::DATE => Value::Date(self.input.double()?),
            tag::TRUE_OBJECT => Value::Boxed(Box::new(Boxed::Bool(true))),
            tag::FALSE_OBJECT => Value::Boxed(Box::new(Boxed::Bool(false))),
            tag::NUMBER_OBJECT => Value::Boxed(Box::new(Boxed::Number(self.input.double()?))),
            tag::BIGINT_OBJECT => Value::Boxed(Box::new(Boxed::BigInt(self.bigint()?))),
            tag::STRING_OBJECT => Value::Boxed(Box::new(Boxed::String(self.string()?))),
            tag::REGEXP => {
                let source = self.string()?;
                match RegExpFlags::from_bits(self.input.varint()?) {
                    Some(flags) => RegExp { source, flags }.into(),
                    None => return self.fail(Kind::Malformed("RegExp")),
                }
            }
            _ => {
                let refused = tag::REFUSED.iter().find(|(refused, _)| *refused == tag);
                return self.fail(match refused {
                    Some((_, name)) => Kind::Unsupported(name),
                    None => Kind::UnknownTag(tag),
                });
            }
        };
        self.begin_object();
        Ok(value)
    }

    fn object(&mut self) -> Decoded<Object> {
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

    fn count(&mut self, read: usize, what: &'static str) -> Decoded<()> {
        if self.input.varint()? as usize != read {
            return self.fail(Kind::BadCount(what));
        }
        Ok(())
    }

    fn dense_array(&mut self) -> Decoded {
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

    fn sparse_array(&mut self) -> Decoded {
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

    fn map(&mut self) -> Decoded {
        let mut entries = Vec::new();
        while !self.input.skip_tag(tag::MAP_END) {
            entries.push((self.value()?, self.value()?));
        }
        self.count(entries.len() * 2, "Map")?;
        Ok(Value::Map(entries))
    }

    fn set(&mut self) -> Decoded {
        let mut elements = Vec::new();
        while !self.input.skip_tag(tag::SET_END) {
            elements.push(self.value()?);
        }
        self.count(elements.len(), "Set")?;
        Ok(Value::Set(elements))
    }

    fn plain_error(&mut self) -> Decoded {
        let mut error = JsError::error("");
        loop {
            match self.input.byte()? {
                tag::error::MESSAGE => error.message = self.string()?.into_string_lossy(),
                tag::error::STACK => error.stack = Some(self.string()?.into_string_lossy()),
                tag::error::CAUSE => {
                    self.reordered |= error.cause.is_some();
                    error.cause = Some(self.value()?);
                }
                tag::error::END => return Ok(error.into()),
                class => {
                    let known = tag::error::CLASSES.iter().find(|(tag, _)| *tag == class);
                    match known {
                        Some((_, name)) => error.name = (*name).to_owned(),
                        None => return self.fail(Kind::Malformed("Error")),
                    }
                }
            }
        }
    }

    fn host_object(&mut self) -> Decoded {
        match self.input.varint()? {
            tag::host::STUB => {
                self.stubs += 1;
                Ok(Value::Stub(self.stubs - 1))
            }
            tag::host::ERROR => self.native_error(),
            tag => {
                let name = tag::host::NAMES.get(tag as usize).copied();
                self.fail(Kind::HostObject {
                    tag,
                    name: name.unwrap_or("of an unknown class"),
                })
            }
        }
    }

    fn native_error(&mut self) -> Decoded {
        let mut error = self.native_error_head()?;
        let bag = self.object()?;
        self.native_error_properties(&mut error, bag);
        Ok(Value::Error(error))
    }

    fn native_error_head(&mut self) -> Decoded<Box<JsError>> {
        let class = self.input.varint()?;
        let known = tag::host::CLASSES
            .iter()
            .find(|(number, _)| *number == class);
        let name = match known {
            Some((_, name)) => (*name).to_owned(),
            None if class == tag::host::OTHER_CLASS => self.error_text()?,
            None => "Error".to_owned(),
        };
        let error = JsError::new(name, self.error_text()?);
        if self.input.tag()? != tag::OBJECT {
            return self.fail(Kind::Malformed("Error"));
        }
        self.wire_objects += 1; // the bag of properties, which is no object of ours
        self.runs.push(Run {
            value: self.objects,
            wire: self.wire_objects,
            present: true,
        });
        Ok(Box::new(error))
    }

    fn native_error_properties(&mut self, error: &mut JsError, bag: Object) {
        for (name, value) in bag {
            match (name.as_str(), value) {
                (Some("stack"), Value::String(stack)) => {
                    error.stack = Some(stack.into_string_lossy());
                }
                (Some("cause"), cause) => {
                    self.reordered |= !error.properties.is_empty();
                    error.cause = Some(cause);
                }
                (_, value) => _ = error.properties.insert(name, value),
            }
        }
    }

    /// The name or message of a native error: whatever primitive JavaScript had there, as text.
    fn error_text(&mut self) -> Decoded<String> {
        match self.input.peek_tag() {
            Some(tag::ONE_BYTE_STRING | tag::TWO_BYTE_STRING | tag::UTF8_STRING) => {
                Ok(self.string()?.into_string_lossy())
            }
            Some(
                tag::UNDEFINED
                | tag::NULL
                | tag::TRUE
                | tag::FALSE
                | tag::INT32
                | tag::DOUBLE
                | tag::BIGINT,
            ) => Ok(self.value()?.to_string()),
            _ => self.fail(Kind::Malformed("Error")),
        }
    }

    fn reference(&mut self) -> Decoded {
        let wire = self.input.varint()?;
        let next = self.runs.partition_point(|run| run.wire <= wire);
        // The number just before a run is that of an error's bag of properties.
        let is_bag = self.runs.get(next).is_some_and(|run| run.wire == wire + 1);
        if wire >= self.wire_objects || is_bag {
            return self.fail(Kind::BadReference(wire));
        }
        let object = match self.runs[..next].last() {
            Some(run) => run.value + (wire - run.wire),
            None => wire,
        };
        self.references = true;
        let buffer = self
            .buffers
            .binary_search_by_key(&object, |(number, _)| *number);
        match buffer {
            Ok(at) if self.input.skip_tag(tag::VIEW) => {
                self.view(ViewBuffer::Shared(object), self.buffers[at].1)
            }
            _ => Ok(Value::BackRef(object)),
        }
    }

    fn buffer(&mut self, tag: u8) -> Decoded {
        let length = self.input.length()?;
        if tag == tag::RESIZABLE_ARRAY_BUFFER && self.input.length()? < length {
            return self.fail(Kind::Malformed("ArrayBuffer"));
        }
        let bytes = self.input.take(length)?.to_vec();
        self.buffers.push((self.objects, length));
        self.begin_object();
        if self.input.skip_tag(tag::VIEW) {
            self.view(ViewBuffer::Own(bytes), length)
        } else {
            Ok(Value::ArrayBuffer(bytes))
        }
    }

    fn view(&mut self, buffer: ViewBuffer, available: usize) -> Decoded {
        const LENGTH_TRACKING: u32 = 1;
        let bad = self.input.error(Kind::Malformed("view of an ArrayBuffer"));
        let kind = ViewKind::from_tag(self.input.byte()?).ok_or(bad)?;
        let offset = self.input.length()?;
        let mut length = self.input.length()?;
        let room = available.checked_sub(offset).ok_or(bad)?;
        if self.input.varint()? & LENGTH_TRACKING != 0 {
            length = room - room % kind.element_size();
        }
        let size = kind.element_size();
        if length > room || !offset.is_multiple_of(size) || !length.is_multiple_of(size) {
            return Err(bad);
        }
        self.begin_object();
        Ok(Value::from(View {
            kind,
            buffer,
            offset,
            length,
        }))
    }

    fn begin_object(&mut self) {
        self.objects += 1;
        self.wire_objects += 1;
    }

    fn int32(&mut self) -> Decoded<i32> {
        let zigzag = self.input.varint()?;
        Ok((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32))
    }

    fn bigint(&mut self) -> Decoded<BigInt> {
        let field = self.input.varint()?;
        let length = field >> 1;
        if length > self.limits.max_bigint_bytes {
            return self.fail(Kind::BigIntTooLong(length));
        }
        let sign = if field & 1 == 0 {
            Sign::Plus
        } else {
            Sign::Minus
        };
        let digits = self.input.take(length as usize)?;
        Ok(BigInt::from_bytes_le(sign, digits))
    }

    /// A string where only a string may be.
    fn string(&mut self) -> Decoded<JsString> {
        let tag = self.input.tag()?;
        self.text(tag)
    }

    fn text(&mut self, tag: u8) -> Decoded<JsString> {
        let offset = self.input.offset();
        match tag {
            tag::ONE_BYTE_STRING => Ok(latin1(self.input.take_counted()?).into()),
            tag::UTF8_STRING => Ok(String::from_utf8_lossy(self.input.take_counted()?).into()),
            tag::TWO_BYTE_STRING => {
                let bytes = self.input.take_counted()?;
                let (pairs, rest) = bytes.as_chunks::<2>();
                if !rest.is_empty() {
                    return self.fail(Kind::Malformed("string"));
                }
                Ok(utf16(pairs))
            }
            _ => Err(DecodeError {
                offset,
                kind: Kind::Malformed("string"),
            }),
        }
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

fn latin1(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => text.to_owned(),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn utf16(pairs: &[[u8; 2]]) -> JsString {
    let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
    let text: Result<String, _> = char::decode_utf16(units.clone()).collect();
    match text {
        Ok(text) => text.into(),
        Err(_) => JsString::from_utf16(&units.collect::<Vec<_>>()),
    }
}
