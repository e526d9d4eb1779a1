//! Value -> bytes.

mod compound;
mod host;
mod simple;

use super::{Run, tag};
use crate::{Value, refs};
use std::collections::{HashMap, HashSet};

/// How deep a value may be nested. Twice what [`decode`](crate::decode) takes by default.
const MAX_DEPTH: u32 = 256;

/// Why a value cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Nested deeper than 256 levels.
    #[error("the value is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A string, buffer, array or object of 2^32 bytes or entries, or a BigInt of 2^30 bits.
    #[error("a {0} is too long for the format")]
    TooLong(&'static str),
    /// A reference to an object that has not appeared before it.
    #[error("back-reference {0} is ahead of its object")]
    DanglingReference(u32),
    /// A reference into the properties of an error, which the plain form of errors leaves out.
    #[error(
        "back-reference {0} leads to a property of an error, which is not written in the plain form"
    )]
    LostReference(u32),
    /// A typed array whose offset or length does not fit its buffer or its elements.
    #[error("a {0} does not fit its buffer")]
    BadView(&'static str),
}

/// How errors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// V8's own form, which every reader takes. It keeps the name only of JavaScript's own classes
    /// (any other becomes `Error`), message, stack and cause, and loses other properties.
    #[default]
    Plain,
    /// workerd's form since compatibility date 2026-04-21, with any name and all own properties.
    /// Older workerd and Node reject it.
    Native,
}

/// Choices for [`encode_with`].
#[derive(Clone, Copy, Debug, Default)]
pub struct EncodeOptions {
    /// How errors are written.
    pub errors: ErrorForm,
}

/// What [`encode_with`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The V8 serialization, header included.
    pub bytes: Vec<u8>,
    /// The number of each external, in the order in which the bytes take them: of a stub each time that it
    /// appears, of a stream once.
    pub externals: Vec<u32>,
}

/// Encodes a value, errors in the plain form. [`externals`] tells which externals go with it.
///
/// ```
/// use js_value::{encode, Value};
/// assert_eq!(encode(&Value::from(3))?, [0xff, 0x0f, b'I', 6]);
/// # Ok::<(), js_value::EncodeError>(())
/// ```
///
/// # Errors
/// For values that the format cannot hold: see [`EncodeError`].
pub fn encode(value: &Value) -> Result<Vec<u8>, EncodeError> {
    Ok(encode_with(value, EncodeOptions::default())?.bytes)
}

/// Encodes a value.
///
/// # Errors
/// As [`encode`].
pub fn encode_with(value: &Value, options: EncodeOptions) -> Result<Encoded, EncodeError> {
    let mut encoder = Encoder::new(options);
    encoder.value(value)?;
    Ok(encoder.finish())
}

/// Encodes the arguments of a call: a dense array.
///
/// Each argument stands alone: its [references](Value::BackRef) count from its own first object.
///
/// # Errors
/// As [`encode`].
pub fn encode_args(arguments: &[Value]) -> Result<Vec<u8>, EncodeError> {
    Ok(encode_args_with(arguments, EncodeOptions::default())?.bytes)
}

/// Encodes the arguments of a call, as [`encode_args`], and tells the order of their externals.
///
/// # Errors
/// As [`encode`].
pub fn encode_args_with(
    arguments: &[Value],
    options: EncodeOptions,
) -> Result<Encoded, EncodeError> {
    let mut encoder = Encoder::new(options);
    encoder.begin_object();
    encoder.byte(tag::DENSE_ARRAY);
    encoder.length(arguments.len(), "array")?;
    encoder.depth = 1;
    for argument in arguments {
        encoder.base = encoder.objects;
        encoder.value(argument)?;
    }
    encoder.byte(tag::DENSE_ARRAY_END);
    encoder.byte(0);
    encoder.length(arguments.len(), "array")?;
    Ok(encoder.finish())
}

/// What an external is to the value that refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExternalKind {
    /// [`Value::Stub`]
    Stub,
    /// [`Value::ReadableStream`], or the body of a request or response.
    ReadableStream,
    /// [`Value::WritableStream`]
    WritableStream,
}

/// The externals that a value refers to, and as what, in the order in which its bytes take them: a stub each time
/// that it appears, a stream once. Those among the properties of errors are among them, which the
/// [plain form](ErrorForm::Plain) leaves out.
pub fn externals(value: &Value) -> Vec<(u32, ExternalKind)> {
    type Found = (Vec<(u32, ExternalKind)>, HashSet<(u32, ExternalKind)>);

    fn stream(n: u32, kind: ExternalKind, (list, streams): &mut Found) {
        if streams.insert((n, kind)) {
            list.push((n, kind));
        }
    }

    fn collect(value: &Value, found: &mut Found) {
        match value {
            Value::Stub(n) => found.0.push((*n, ExternalKind::Stub)),
            Value::WritableStream(n) => stream(*n, ExternalKind::WritableStream, found),
            other => {
                if let Some(n) = refs::readable(other) {
                    stream(n, ExternalKind::ReadableStream, found);
                }
            }
        }
        refs::for_each_child(value, &mut |child| collect(child, found));
    }

    let mut found = Found::default();
    collect(value, &mut found);
    found.0
}

struct Encoder {
    out: Vec<u8>,
    options: EncodeOptions,
    externals: Vec<u32>,
    /// The number on the wire of each stream, by its kind and external.
    streams: HashMap<(u32, u32), u32>,
    depth: u32,
    /// Objects so far, as `Value::BackRef` counts them and as the wire does.
    objects: u32,
    wire_objects: u32,
    /// Where the two counts part; empty unless there are errors, requests, responses, or a stream twice.
    runs: Vec<Run>,
    /// What references count from.
    base: u32,
}

type Done = Result<(), EncodeError>;

impl Encoder {
    fn new(options: EncodeOptions) -> Self {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&[tag::VERSION, 15]);
        Self {
            out,
            options,
            externals: Vec::new(),
            streams: HashMap::new(),
            depth: 0,
            objects: 0,
            wire_objects: 0,
            runs: Vec::new(),
            base: 0,
        }
    }

    fn finish(self) -> Encoded {
        Encoded {
            bytes: self.out,
            externals: self.externals,
        }
    }

    fn value(&mut self, value: &Value) -> Done {
        match value {
            Value::Undefined => self.byte(tag::UNDEFINED),
            Value::Null => self.byte(tag::NULL),
            Value::Bool(true) => self.byte(tag::TRUE),
            Value::Bool(false) => self.byte(tag::FALSE),
            Value::Number(number) => self.number(*number),
            Value::BigInt(number) => {
                self.byte(tag::BIGINT);
                self.bigint(number)?;
            }
            Value::String(text) => self.string(text)?,
            Value::BackRef(n) => self.reference(*n)?,
            Value::View(view) => self.view(view)?,
            Value::Stub(n) => self.external(tag::host::STUB, *n),
            Value::ReadableStream(n) => self.stream(tag::host::READABLE_STREAM, *n),
            Value::WritableStream(n) => self.stream(tag::host::WRITABLE_STREAM, *n),
            Value::Headers(headers) => self.headers(headers)?,
            _ => {
                self.begin_object();
                self.object_value(value)?;
            }
        }
        Ok(())
    }

    fn object_value(&mut self, value: &Value) -> Done {
        match value {
            Value::Date(milliseconds) => {
                self.byte(tag::DATE);
                self.double(*milliseconds);
                Ok(())
            }
            Value::ArrayBuffer(bytes) => self.buffer(bytes),
            Value::RegExp(regexp) => {
                self.byte(tag::REGEXP);
                self.string(&regexp.source)?;
                self.varint(regexp.flags.bits());
                Ok(())
            }
            Value::Blob(blob) => self.blob(blob),
            Value::Boxed(boxed) => self.boxed(boxed),
            _ => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(EncodeError::TooDeep);
                }
                self.compound(value)?;
                self.depth -= 1;
                Ok(())
            }
        }
    }

    fn compound(&mut self, value: &Value) -> Done {
        match value {
            Value::Array(elements) => self.array(elements),
            Value::SparseArray(array) => self.sparse_array(array),
            Value::Object(object) => self.object(object),
            Value::Map(entries) => self.map(entries),
            Value::Set(elements) => self.set(elements),
            Value::Error(error) => match self.options.errors {
                ErrorForm::Plain => self.plain_error(error),
                ErrorForm::Native => self.native_error(error),
            },
            Value::Request(request) => self.request(request),
            Value::Response(response) => self.response(response),
            // Every other kind is written before it gets here.
            _ => Ok(()),
        }
    }

    fn begin_object(&mut self) {
        self.objects += 1;
        self.wire_objects += 1;
    }

    fn run(&mut self, present: bool) {
        self.runs.push(Run {
            value: self.objects,
            wire: self.wire_objects,
            present,
        });
    }

    /// A run that begins elsewhere on the wire: a reference to what is there.
    fn run_at(&mut self, wire: u32) {
        self.runs.push(Run {
            value: self.objects,
            wire,
            present: true,
        });
    }

    fn length(&mut self, length: usize, what: &'static str) -> Done {
        self.varint(u32::try_from(length).map_err(|_| EncodeError::TooLong(what))?);
        Ok(())
    }

    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    fn double(&mut self, number: f64) {
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    fn varint(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }
}
