//! Bytes -> value. The bytes are a peer's: every length is doubted, every loop consumes input, and
//! what is allocated stays within a small multiple of what was received.

mod compound;
mod error;
mod host;
mod simple;

use super::reader::Reader;
use super::{Run, tag};
use crate::{HeaderError, Headers, Value, refs};

/// The versions that differ in nothing that we read. 16 widens lengths, which we read in any width.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=16;

/// What a peer's value may cost.
///
/// A value takes 32 bytes of memory (56 in an object) where its shortest encoding is one byte, so
/// `max_values` bounds memory more tightly than the length of the input does: at most 56 MiB by
/// default, besides the text and bytes themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// How deep arrays, objects, maps, sets, errors, requests and responses may be nested: 128, at most 256.
    pub max_depth: u32,
    /// How many values there may be, counting each name of a property and each header, and requests and responses
    /// as 16: 2^20.
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
    /// A host object of a class that does not travel between Workers, or not to us.
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
    /// A header that no `Headers` holds.
    #[error("{0}")]
    Header(HeaderError),
    /// Headers that too many requests and responses share.
    #[error("requests and responses share headers: more than {0} bytes when written out")]
    SharedHeaders(usize),
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
    externals: u32,
    /// Objects so far, as `Value::BackRef` counts them and as the wire does.
    objects: u32,
    wire_objects: u32,
    /// Where the two counts part; empty unless there are native errors, requests or responses.
    runs: Vec<Run>,
    /// Number and length of every buffer, for the views that refer to it.
    buffers: Vec<(u32, usize)>,
    /// Number and content of every `Headers`, and number and external of every `ReadableStream`, for the
    /// requests and responses that refer to it.
    headers: Vec<(u32, Headers)>,
    streams: Vec<(u32, u32)>,
    /// Bytes of headers that were copied so.
    shared: usize,
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
            externals: 0,
            objects: 0,
            wire_objects: 0,
            runs: Vec::new(),
            buffers: Vec::new(),
            headers: Vec::new(),
            streams: Vec::new(),
            shared: 0,
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
            | tag::ERROR => {
                self.begin_object();
                self.enter()?;
                let value = self.compound(tag);
                self.depth -= 1;
                value
            }
            tag::HOST_OBJECT => {
                self.begin_object();
                self.host_object()
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
            _ => self.plain_error(),
        }
    }

    /// Goes one level deeper.
    fn enter(&mut self) -> Decoded<()> {
        self.depth += 1;
        if self.depth > self.limits.max_depth {
            return self.fail(Kind::TooDeep(self.limits.max_depth));
        }
        Ok(())
    }

    fn begin_object(&mut self) {
        self.objects += 1;
        self.wire_objects += 1;
    }
}
