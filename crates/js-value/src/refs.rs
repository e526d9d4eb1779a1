//! Objects in order of appearance: counting them, resolving references to them, copying parts out.
//!
//! The order is the one that [`Value::BackRef`] documents. Everything that follows references works
//! under a budget: a few bytes of shared references can describe a tree of any size.

use crate::{
    Boxed, Headers, JsError, JsString, Object, Request, Response, SparseArray, Value, View,
    ViewBuffer,
};
use std::collections::HashMap;

/// How deep a copied value may be nested; references can nest what a shallow value holds.
const MAX_DEPTH: usize = 256;
/// How many values a copy may have.
const MAX_VALUES: usize = 1 << 20;
/// How many bytes of strings and buffers the copies of shared objects may have.
const MAX_BYTES: usize = 64 << 20;
/// How many times the size of the value a copy may have: what somebody sends must not become a thousand times as much.
const GROWTH: usize = 16;
/// Values and bytes that a copy may have however small the value is.
const FREE_VALUES: usize = 16 << 10;
const FREE_BYTES: usize = 1 << 20;

/// Why a value with references cannot be written as a plain tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// An object contains itself.
    #[error("the value contains itself (a cycle)")]
    Cycle,
    /// The copies would be too many or too long.
    #[error(
        "the value's shared references expand to more than {GROWTH} times its size (or {MAX_VALUES} values, or \
         {MAX_BYTES} bytes); share less, or send what is shared apart"
    )]
    TooLarge,
    /// The copies would be nested too deeply.
    #[error("the value is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A reference to an object that does not exist, or is not of the needed type.
    #[error("back-reference {0} does not lead to a fitting object of the value")]
    Dangling(u32),
}

impl Value {
    /// Whether there is a reference anywhere inside.
    pub fn has_references(&self) -> bool {
        match self {
            Value::BackRef(_) => true,
            Value::View(view) => matches!(view.buffer, ViewBuffer::Shared(_)),
            _ => {
                let mut found = false;
                for_each_child(self, &mut |child| found = found || child.has_references());
                found
            }
        }
    }

    /// Whether the value takes more than so many bytes, roughly: eight for each value, and its text and buffers.
    /// It looks no further than that.
    pub fn is_larger_than(&self, bytes: usize) -> bool {
        fn take(value: &Value, left: &mut usize) -> bool {
            let own = 8 + own_bytes(value) + names_bytes(value) + buffer_bytes(value);
            match left.checked_sub(own) {
                None => return true,
                Some(rest) => *left = rest,
            }
            let mut larger = false;
            for_each_child(value, &mut |child| larger = larger || take(child, left));
            larger
        }
        take(self, &mut bytes.clone())
    }

    /// Whether there is a stub or a stream anywhere inside, the properties of errors included.
    pub fn has_externals(&self) -> bool {
        let mut found =
            matches!(self, Value::Stub(_) | Value::WritableStream(_)) || readable(self).is_some();
        for_each_child(self, &mut |child| found = found || child.has_externals());
        found
    }

    /// The same value as a plain tree: each reference replaced by a copy of its object.
    ///
    /// # Errors
    /// For a value that contains itself, and when the copy exceeds 16 times the value's own size (of which 16,384
    /// values and 1 MiB are always allowed), 2^20 values, 64 MiB or 256 levels.
    pub fn expanded(&self) -> Result<Value, ExpandError> {
        if !self.has_references() {
            return Ok(self.clone());
        }
        Copier::new(self, Mode::Expand { open: Vec::new() }).copy(self, &mut 0)
    }
}

/// The objects of a value by their numbers, to follow single references without a copy of the whole.
#[derive(Debug)]
pub struct Objects<'a>(Vec<Node<'a>>);

impl<'a> Objects<'a> {
    /// Those of a value in which nothing is shared with another one, an argument of a call for example.
    pub fn of(root: &'a Value) -> Self {
        let mut objects = Vec::new();
        index(root, &mut objects, &mut Size::default());
        Self(objects)
    }

    /// The value itself, or for a [`Value::BackRef`] the one that it leads to. `None` when it leads to none, or to a
    /// buffer, headers or a stream that are a part of another value.
    pub fn resolve(&self, value: &'a Value) -> Option<&'a Value> {
        let Value::BackRef(number) = value else {
            return Some(value);
        };
        match self.0.get(*number as usize)? {
            Node::Value(value) => Some(value),
            Node::Buffer(_) | Node::Headers(_) | Node::Readable(_) => None,
        }
    }

    /// The bytes that a view covers, also of a buffer that it shares.
    pub fn bytes(&self, view: &'a View) -> Option<&'a [u8]> {
        let buffer = match &view.buffer {
            ViewBuffer::Own(bytes) => bytes.as_slice(),
            ViewBuffer::Shared(number) => match self.0.get(*number as usize)? {
                Node::Buffer(bytes) => bytes,
                Node::Value(Value::ArrayBuffer(bytes)) => bytes.as_slice(),
                _ => return None,
            },
        };
        buffer.get(view.offset..view.offset.checked_add(view.length)?)
    }
}

/// Takes the elements of `root` apart, so that each stands alone: what it shares with its siblings is
/// copied into it, what it shares within itself stays shared.
pub(crate) fn split(root: &Value, elements: &[Value]) -> Result<Vec<Value>, ExpandError> {
    let mut at = 1; // the root itself is object 0
    let mut parts = Vec::new();
    // One copier, and so one budget, for all.
    let mut copier = Copier::new(root, Mode::sharing());
    for element in elements {
        copier.mode = Mode::sharing();
        parts.push(copier.copy(element, &mut at)?);
    }
    Ok(parts)
}

/// How many objects `value` consists of.
pub(crate) fn count(value: &Value) -> u32 {
    let mut total = own_objects(value);
    for_each_child(value, &mut |child| total += count(child));
    total
}

/// How many numbers the value itself takes, without what is inside.
fn own_objects(value: &Value) -> u32 {
    match value {
        Value::Undefined
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::BigInt(_)
        | Value::String(_)
        | Value::BackRef(_) => 0,
        Value::View(view) if matches!(view.buffer, ViewBuffer::Own(_)) => 2,
        Value::Request(_) | Value::Response(_) => 2 + u32::from(readable(value).is_some()),
        _ => 1,
    }
}

/// The external of a `ReadableStream` that the value is or has as its body.
pub(crate) fn readable(value: &Value) -> Option<u32> {
    match value {
        Value::ReadableStream(n) => Some(*n),
        Value::Request(request) => request.body,
        Value::Response(response) => response.body,
        _ => None,
    }
}

/// Calls `f` for each value directly inside `value`, in order of appearance.
pub(crate) fn for_each_child<'a>(value: &'a Value, f: &mut dyn FnMut(&'a Value)) {
    match value {
        Value::Array(elements) | Value::Set(elements) => elements.iter().for_each(f),
        Value::Object(object) => object.values().for_each(f),
        Value::Map(entries) => {
            for (key, value) in entries {
                f(key);
                f(value);
            }
        }
        Value::SparseArray(array) => {
            array.elements().iter().for_each(|(_, value)| f(value));
            array.properties.values().for_each(f);
        }
        Value::Error(error) => {
            error.cause.as_deref().into_iter().for_each(&mut *f);
            error.properties.values().for_each(f);
        }
        Value::Request(request) => {
            f(&request.cf);
            request.other.values().for_each(f);
        }
        Value::Response(response) => {
            f(&response.cf);
            response.other.values().for_each(f);
        }
        _ => {}
    }
}

/// How many bytes of text, digits and buffers the value itself has, without what is inside.
fn own_bytes(value: &Value) -> usize {
    match value {
        Value::ArrayBuffer(bytes) => bytes.len(),
        Value::String(text) => text_bytes(text),
        Value::BigInt(number) => number.iter_u64_digits().len() * 8,
        Value::RegExp(regexp) => text_bytes(&regexp.source),
        Value::Error(error) => {
            let stack = error.stack.as_ref().map_or(0, String::len);
            error.name.len() + error.message.len() + stack
        }
        Value::Headers(headers) => headers_bytes(headers),
        Value::Request(request) => {
            let texts = [
                &request.redirect,
                &request.cache,
                &request.integrity,
                &request.encode_response_body,
            ];
            request.method.len()
                + request.url.len()
                + headers_bytes(&request.headers)
                + texts_bytes(&texts)
        }
        Value::Response(response) => {
            let texts = [&response.status_text, &response.encode_body];
            headers_bytes(&response.headers) + texts_bytes(&texts)
        }
        Value::Blob(blob) => blob.media_type.len() + blob.bytes.len(),
        Value::Boxed(boxed) => match &**boxed {
            Boxed::String(text) => text_bytes(text),
            Boxed::BigInt(number) => number.iter_u64_digits().len() * 8,
            Boxed::Bool(_) | Boxed::Number(_) => 0,
        },
        _ => 0,
    }
}

/// What headers take: their text, and a bit for each.
fn headers_bytes(headers: &Headers) -> usize {
    headers.bytes() + 16 * headers.len()
}

fn texts_bytes(texts: &[&Option<String>]) -> usize {
    texts
        .iter()
        .filter_map(|text| text.as_ref())
        .map(String::len)
        .sum()
}

/// How many bytes the buffer has that it owns as a view.
fn buffer_bytes(value: &Value) -> usize {
    match value {
        Value::View(view) => match &view.buffer {
            ViewBuffer::Own(bytes) => bytes.len(),
            ViewBuffer::Shared(_) => 0,
        },
        _ => 0,
    }
}

/// How many bytes the names of its properties have.
fn names_bytes(value: &Value) -> usize {
    let names = |object: &Object| object.iter().map(|(name, _)| text_bytes(name)).sum();
    match value {
        Value::Object(object) => names(object),
        Value::SparseArray(array) => names(&array.properties),
        Value::Error(error) => names(&error.properties),
        Value::Request(request) => names(&request.other),
        Value::Response(response) => names(&response.other),
        _ => 0,
    }
}

fn text_bytes(text: &JsString) -> usize {
    match text.as_ill_formed() {
        Some(units) => units.len() * 2,
        None => text.as_str().map_or(0, str::len),
    }
}

/// What a number stands for.
#[derive(Clone, Copy, Debug)]
enum Node<'a> {
    Value(&'a Value),
    /// The buffer that a view owns.
    Buffer(&'a [u8]),
    /// The headers of a request or response, and its body.
    Headers(&'a Headers),
    Readable(u32),
}

/// Values, and bytes of text and buffers.
#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

impl Size {
    /// What a copy of something of this size may have.
    fn of_copy(self) -> Self {
        let most = |own: usize, free, most| own.saturating_mul(GROWTH).clamp(free, most);
        Self {
            values: most(self.values, FREE_VALUES, MAX_VALUES),
            bytes: most(self.bytes, FREE_BYTES, MAX_BYTES),
        }
    }
}

fn index<'a>(value: &'a Value, objects: &mut Vec<Node<'a>>, size: &mut Size) {
    size.values += 1;
    size.bytes += own_bytes(value) + names_bytes(value);
    if let Value::View(view) = value
        && let ViewBuffer::Own(bytes) = &view.buffer
    {
        size.bytes += bytes.len();
        objects.push(Node::Buffer(bytes));
    }
    if own_objects(value) > 0 {
        objects.push(Node::Value(value));
    }
    match value {
        Value::Request(request) => {
            objects.push(Node::Headers(&request.headers));
            objects.extend(request.body.map(Node::Readable));
        }
        Value::Response(response) => {
            objects.extend(response.body.map(Node::Readable));
            objects.push(Node::Headers(&response.headers));
        }
        _ => {}
    }
    for_each_child(value, &mut |child| index(child, objects, size));
}

enum Mode {
    /// Every reference becomes a copy; `open` are the objects being copied.
    Expand { open: Vec<u32> },
    /// References stay, renumbered: `moved` leads from the old numbers to the new ones.
    Share { moved: HashMap<u32, u32>, next: u32 },
}

impl Mode {
    fn sharing() -> Self {
        Mode::Share {
            moved: HashMap::new(),
            next: 0,
        }
    }
}

struct Copier<'a> {
    objects: Vec<Node<'a>>,
    mode: Mode,
    depth: usize,
    values: usize,
    bytes: usize,
    most: Size,
}

impl<'a> Copier<'a> {
    fn new(root: &'a Value, mode: Mode) -> Self {
        let (mut objects, mut size) = (Vec::new(), Size::default());
        index(root, &mut objects, &mut size);
        Self {
            objects,
            mode,
            depth: 0,
            values: 0,
            bytes: 0,
            most: size.of_copy(),
        }
    }

    /// Copies `value`, whose first object has the number `at`; moves `at` past its last.
    fn copy(&mut self, value: &'a Value, at: &mut u32) -> Result<Value, ExpandError> {
        self.values += 1;
        if self.values > self.most.values {
            return Err(ExpandError::TooLarge);
        }
        match value {
            Value::BackRef(n) => return self.reference(*n),
            Value::View(view) => return self.view(view, at),
            _ => self.charge(own_bytes(value))?,
        }
        if own_objects(value) == 0 {
            return Ok(value.clone());
        }
        let id = *at;
        if let Some(new) = self.moved(id) {
            *at += count(value);
            return Ok(Value::BackRef(new));
        }
        *at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        self.enter(id);
        let copy = self.inside(value, at)?;
        if let Mode::Expand { open } = &mut self.mode {
            open.pop();
        }
        self.depth -= 1;
        Ok(copy)
    }

    fn inside(&mut self, value: &'a Value, at: &mut u32) -> Result<Value, ExpandError> {
        Ok(match value {
            Value::Array(elements) => Value::Array(self.list(elements, at)?),
            Value::Set(elements) => Value::Set(self.list(elements, at)?),
            Value::Object(object) => Value::Object(self.object(object, at)?),
            Value::Map(entries) => {
                let mut copies = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    copies.push((self.copy(key, at)?, self.copy(value, at)?));
                }
                Value::Map(copies)
            }
            Value::SparseArray(array) => {
                let mut elements = Vec::with_capacity(array.elements().len());
                for (index, value) in array.elements() {
                    elements.push((*index, self.copy(value, at)?));
                }
                let properties = self.object(&array.properties, at)?;
                SparseArray::from_parts(array.length(), elements, properties)
                    .0
                    .into()
            }
            Value::Error(error) => {
                let cause = match &error.cause {
                    Some(cause) => Some(Box::new(self.copy(cause, at)?)),
                    None => None,
                };
                Value::from(JsError {
                    name: error.name.clone(),
                    message: error.message.clone(),
                    stack: error.stack.clone(),
                    cause,
                    properties: self.object(&error.properties, at)?,
                    thrown: None,
                })
            }
            Value::Request(request) => {
                self.parts(value, at);
                Value::from(Request {
                    cf: self.copy(&request.cf, at)?,
                    other: self.object(&request.other, at)?,
                    method: request.method.clone(),
                    url: request.url.clone(),
                    headers: request.headers.clone(),
                    redirect: request.redirect.clone(),
                    cache: request.cache.clone(),
                    integrity: request.integrity.clone(),
                    encode_response_body: request.encode_response_body.clone(),
                    body: request.body,
                })
            }
            Value::Response(response) => {
                self.parts(value, at);
                Value::from(Response {
                    cf: self.copy(&response.cf, at)?,
                    other: self.object(&response.other, at)?,
                    status_text: response.status_text.clone(),
                    headers: response.headers.clone(),
                    encode_body: response.encode_body.clone(),
                    status: response.status,
                    body: response.body,
                })
            }
            other => other.clone(),
        })
    }

    /// Passes the headers and the body of a request or response, which are copied with it.
    fn parts(&mut self, value: &Value, at: &mut u32) {
        for _ in 1..own_objects(value) {
            self.register(*at);
            *at += 1;
        }
    }

    fn list(&mut self, elements: &'a [Value], at: &mut u32) -> Result<Vec<Value>, ExpandError> {
        elements
            .iter()
            .map(|element| self.copy(element, at))
            .collect()
    }

    fn object(&mut self, object: &'a Object, at: &mut u32) -> Result<Object, ExpandError> {
        let mut pairs = Vec::with_capacity(object.len());
        for (name, value) in object {
            self.charge(text_bytes(name))?;
            pairs.push((name.clone(), self.copy(value, at)?));
        }
        Ok(Object::from_pairs(pairs).0)
    }

    fn reference(&mut self, n: u32) -> Result<Value, ExpandError> {
        if let Mode::Expand { open } = &self.mode
            && open.contains(&n)
        {
            return Err(ExpandError::Cycle);
        }
        if let Some(new) = self.moved(n) {
            return Ok(Value::BackRef(new));
        }
        match self.node(n)? {
            Node::Buffer(bytes) => {
                self.charge(bytes.len())?;
                self.register(n);
                Ok(Value::ArrayBuffer(bytes.to_vec()))
            }
            Node::Headers(headers) => {
                self.charge(headers_bytes(headers))?;
                self.register(n);
                Ok(Value::from(headers.clone()))
            }
            Node::Readable(number) => {
                self.register(n);
                Ok(Value::ReadableStream(number))
            }
            // A view that owns its buffer begins with the buffer's number.
            Node::Value(value @ Value::View(_)) => {
                self.copy(value, &mut (n + 1 - own_objects(value)))
            }
            Node::Value(value) => self.copy(value, &mut { n }),
        }
    }

    fn view(&mut self, view: &'a View, at: &mut u32) -> Result<Value, ExpandError> {
        let (source, bytes) = match &view.buffer {
            ViewBuffer::Own(bytes) => {
                *at += 2;
                (*at - 2, bytes.as_slice())
            }
            ViewBuffer::Shared(n) => {
                *at += 1;
                let bytes = match self.node(*n)? {
                    Node::Buffer(bytes) => bytes,
                    Node::Value(Value::ArrayBuffer(bytes)) => bytes.as_slice(),
                    _ => return Err(ExpandError::Dangling(*n)),
                };
                (*n, bytes)
            }
        };
        let own = *at - 1;
        if let Some(new) = self.moved(own) {
            return Ok(Value::BackRef(new));
        }
        if let Some(buffer) = self.moved(source) {
            self.register(own);
            let buffer = ViewBuffer::Shared(buffer);
            return Ok(View { buffer, ..*view }.into());
        }
        if matches!(self.mode, Mode::Expand { .. }) {
            let end = view.offset.saturating_add(view.length);
            let seen = bytes
                .get(view.offset..end)
                .ok_or(ExpandError::Dangling(source))?;
            self.charge(seen.len())?;
            return Ok(View::new(view.kind, seen.to_vec()).into());
        }
        self.charge(bytes.len())?;
        self.register(source);
        self.register(own);
        let buffer = ViewBuffer::Own(bytes.to_vec());
        Ok(View { buffer, ..*view }.into())
    }

    fn node(&self, n: u32) -> Result<Node<'a>, ExpandError> {
        self.objects
            .get(n as usize)
            .copied()
            .ok_or(ExpandError::Dangling(n))
    }

    fn moved(&self, id: u32) -> Option<u32> {
        match &self.mode {
            Mode::Expand { .. } => None,
            Mode::Share { moved, .. } => moved.get(&id).copied(),
        }
    }

    fn enter(&mut self, id: u32) {
        match &mut self.mode {
            Mode::Expand { open } => open.push(id),
            Mode::Share { .. } => self.register(id),
        }
    }

    fn register(&mut self, id: u32) {
        if let Mode::Share { moved, next } = &mut self.mode {
            moved.insert(id, *next);
            *next += 1;
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), ExpandError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.most.bytes {
            return Err(ExpandError::TooLarge);
        }
        Ok(())
    }
}
