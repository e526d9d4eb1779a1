//! Value -> bytes.

use super::{Run, tag};
use crate::object::array_index;
use crate::{Boxed, JsError, JsString, Object, SparseArray, Value, View, ViewBuffer, refs};
use num_bigint::{BigInt, Sign};

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
    /// The number of each [`Value::Stub`], in the order in which the bytes take externals.
    pub stubs: Vec<u32>,
}

/// Encodes a value, errors in the plain form. [`stubs`] tells which externals go with it.
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
    let mut encoder = Encoder::new(EncodeOptions::default());
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
    Ok(encoder.finish().bytes)
}

/// The number of each [`Value::Stub`] in the order in which the bytes of [`encode`] take externals.
/// Stubs among the properties of errors are left out, as [`encode`] leaves them out.
pub fn stubs(value: &Value) -> Vec<u32> {
    fn collect(value: &Value, found: &mut Vec<u32>) {
        match value {
            Value::Stub(n) => found.push(*n),
            Value::Error(error) => {
                if let Some(cause) = &error.cause {
                    collect(cause, found);
                }
            }
            _ => refs::for_each_child(value, &mut |child| collect(child, found)),
        }
    }
    let mut found = Vec::new();
    collect(value, &mut found);
    found
}

struct Encoder {
    out: Vec<u8>,
    options: EncodeOptions,
    stubs: Vec<u32>,
    depth: u32,
    /// Objects so far, as `Value::BackRef` counts them and as the wire does.
    objects: u32,
    wire_objects: u32,
    /// Where the two counts part; empty unless there are errors.
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
            stubs: Vec::new(),
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
            stubs: self.stubs,
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
            Value::Stub(n) => {
                self.byte(tag::HOST_OBJECT);
                self.varint(tag::host::STUB);
                self.stubs.push(*n);
                Ok(())
            }
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
            // Every other kind is written before it gets here.
            _ => Ok(()),
        }
    }

    fn array(&mut self, elements: &[Value]) -> Done {
        self.byte(tag::DENSE_ARRAY);
        self.length(elements.len(), "array")?;
        for element in elements {
            self.value(element)?;
        }
        self.byte(tag::DENSE_ARRAY_END);
        self.byte(0);
        self.length(elements.len(), "array")
    }

    fn sparse_array(&mut self, array: &SparseArray) -> Done {
        let dense = array.is_dense();
        let (begin, end) = if dense {
            (tag::DENSE_ARRAY, tag::DENSE_ARRAY_END)
        } else {
            (tag::SPARSE_ARRAY, tag::SPARSE_ARRAY_END)
        };
        self.byte(begin);
        self.varint(array.length());
        for (index, value) in array.elements() {
            if !dense {
                self.number(f64::from(*index));
            }
            self.value(value)?;
        }
        self.properties(&array.properties)?;
        self.byte(end);
        let written = if dense { 0 } else { array.elements().len() };
        self.length(written + array.properties.len(), "array")?;
        self.varint(array.length());
        Ok(())
    }

    fn object(&mut self, object: &Object) -> Done {
        self.byte(tag::OBJECT);
        self.properties(object)?;
        self.byte(tag::OBJECT_END);
        self.length(object.len(), "object")
    }

    fn properties(&mut self, object: &Object) -> Done {
        for (name, value) in object {
            match array_index(name) {
                Some(index) => self.number(f64::from(index)),
                None => self.string(name)?,
            }
            self.value(value)?;
        }
        Ok(())
    }

    fn map(&mut self, entries: &[(Value, Value)]) -> Done {
        self.byte(tag::MAP);
        for (key, value) in entries {
            self.value(key)?;
            self.value(value)?;
        }
        self.byte(tag::MAP_END);
        self.length(entries.len().saturating_mul(2), "Map")
    }

    fn set(&mut self, elements: &[Value]) -> Done {
        self.byte(tag::SET);
        for element in elements {
            self.value(element)?;
        }
        self.byte(tag::SET_END);
        self.length(elements.len(), "Set")
    }

    fn plain_error(&mut self, error: &JsError) -> Done {
        self.byte(tag::ERROR);
        let class = tag::error::CLASSES
            .iter()
            .find(|(_, name)| *name == error.name);
        if let Some((class, _)) = class {
            self.byte(*class);
        }
        if !error.message.is_empty() {
            self.byte(tag::error::MESSAGE);
            self.text(&error.message)?;
        }
        if let Some(cause) = &error.cause {
            self.byte(tag::error::CAUSE);
            self.value(cause)?;
        }
        if let Some(stack) = &error.stack {
            self.byte(tag::error::STACK);
            self.text(stack)?;
        }
        self.byte(tag::error::END);
        let lost: u32 = error.properties.values().map(refs::count).sum();
        if lost > 0 {
            self.run(false);
            self.objects += lost;
            self.run(true);
        }
        Ok(())
    }

    fn native_error(&mut self, error: &JsError) -> Done {
        self.byte(tag::HOST_OBJECT);
        self.varint(tag::host::ERROR);
        let class = tag::host::CLASSES
            .iter()
            .find(|(_, name)| *name == error.name);
        match class {
            Some((class, _)) if !tag::host::WASM_CLASSES.contains(class) => self.varint(*class),
            _ => {
                self.varint(tag::host::OTHER_CLASS);
                self.text(&error.name)?;
            }
        }
        self.text(&error.message)?;
        self.byte(tag::OBJECT);
        self.wire_objects += 1; // the bag of properties, which is no object of ours
        self.run(true);
        let mut written = error.properties.len();
        if let Some(stack) = &error.stack {
            self.text("stack")?;
            self.text(stack)?;
            written += 1;
        }
        if let Some(cause) = &error.cause {
            self.text("cause")?;
            self.value(cause)?;
            written += 1;
        }
        self.properties(&error.properties)?;
        self.byte(tag::OBJECT_END);
        self.length(written, "object")
    }

    fn boxed(&mut self, boxed: &Boxed) -> Done {
        match boxed {
            Boxed::Bool(true) => self.byte(tag::TRUE_OBJECT),
            Boxed::Bool(false) => self.byte(tag::FALSE_OBJECT),
            Boxed::Number(number) => {
                self.byte(tag::NUMBER_OBJECT);
                self.double(*number);
            }
            Boxed::BigInt(number) => {
                self.byte(tag::BIGINT_OBJECT);
                self.bigint(number)?;
            }
            Boxed::String(text) => {
                self.byte(tag::STRING_OBJECT);
                self.string(text)?;
            }
        }
        Ok(())
    }

    fn view(&mut self, view: &View) -> Done {
        let bad = EncodeError::BadView(view.kind.name());
        let size = view.kind.element_size();
        if !view.offset.is_multiple_of(size) || !view.length.is_multiple_of(size) {
            return Err(bad);
        }
        let end = view.offset.checked_add(view.length).ok_or(bad)?;
        match &view.buffer {
            ViewBuffer::Own(bytes) if end <= bytes.len() => {
                self.begin_object();
                self.buffer(bytes)?;
            }
            ViewBuffer::Own(_) => return Err(bad),
            ViewBuffer::Shared(n) => self.reference(*n)?,
        }
        self.begin_object();
        self.byte(tag::VIEW);
        self.byte(view.kind.tag());
        self.length(view.offset, "view")?;
        self.length(view.length, "view")?;
        self.byte(0);
        Ok(())
    }

    fn buffer(&mut self, bytes: &[u8]) -> Done {
        self.byte(tag::ARRAY_BUFFER);
        self.length(bytes.len(), "ArrayBuffer")?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn reference(&mut self, n: u32) -> Done {
        let dangling = EncodeError::DanglingReference(n);
        let object = n.checked_add(self.base).filter(|n| *n < self.objects);
        let object = object.ok_or(dangling)?;
        let next = self.runs.partition_point(|run| run.value <= object);
        let wire = match self.runs[..next].last() {
            None => object,
            Some(run) if run.present => run.wire + (object - run.value),
            Some(_) => return Err(EncodeError::LostReference(n)),
        };
        self.byte(tag::REFERENCE);
        self.varint(wire);
        Ok(())
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

    fn number(&mut self, number: f64) {
        let int = number as i32;
        // The bits, and not `==`, keep -0 apart from 0.
        if f64::from(int).to_bits() == number.to_bits() {
            self.byte(tag::INT32);
            self.varint(((int << 1) ^ (int >> 31)) as u32);
        } else {
            self.byte(tag::DOUBLE);
            self.double(number);
        }
    }

    fn bigint(&mut self, number: &BigInt) -> Done {
        let digits = number.iter_u64_digits();
        let length = u32::try_from(digits.len() * 8)
            .ok()
            .filter(|length| *length <= 1 << 27);
        let length = length.ok_or(EncodeError::TooLong("BigInt"))?;
        self.varint(length << 1 | u32::from(number.sign() == Sign::Minus));
        for digit in digits {
            self.out.extend_from_slice(&digit.to_le_bytes());
        }
        Ok(())
    }

    fn string(&mut self, string: &JsString) -> Done {
        match (string.as_str(), string.as_ill_formed()) {
            (Some(text), _) => self.text(text),
            (None, units) => {
                let units = units.unwrap_or_default();
                self.two_byte_string(units.len(), units.iter().copied())
            }
        }
    }

    fn text(&mut self, text: &str) -> Done {
        if text.is_ascii() {
            self.byte(tag::ONE_BYTE_STRING);
            self.length(text.len(), "string")?;
            self.out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        if text.chars().all(|c| c <= '\u{ff}') {
            self.byte(tag::ONE_BYTE_STRING);
            self.length(text.chars().count(), "string")?;
            self.out.extend(text.chars().map(|c| c as u8));
            return Ok(());
        }
        self.two_byte_string(text.encode_utf16().count(), text.encode_utf16())
    }

    fn two_byte_string(&mut self, count: usize, units: impl Iterator<Item = u16>) -> Done {
        let length = u32::try_from(count * 2).map_err(|_| EncodeError::TooLong("string"))?;
        // Aligned so that a reader may take the text in place.
        if (self.out.len() + 1 + varint_length(length)) % 2 == 1 {
            self.byte(tag::PADDING);
        }
        self.byte(tag::TWO_BYTE_STRING);
        self.varint(length);
        self.out.reserve(length as usize);
        for unit in units {
            self.out.extend_from_slice(&unit.to_le_bytes());
        }
        Ok(())
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

fn varint_length(number: u32) -> usize {
    (32 - (number | 1).leading_zeros() as usize).div_ceil(7)
}
