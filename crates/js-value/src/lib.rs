//! JavaScript values in Rust: V8 serialization both ways, serde, and JSON.
//!
//! Workers, workerd and Node hand each other values as V8 serializations. This crate reads and writes
//! them ([`decode`], [`encode`]) as a [`Value`], which knows all that structured cloning knows:
//! `undefined`, BigInt, dates, maps, sets, bytes, errors, holes in arrays, lone surrogates in
//! strings, shared objects and cycles; and workerd's stubs, streams,
//! headers, requests, responses, blobs and native errors. From there it is one
//! step to any Rust type ([`from_value`], [`to_value`]) and to JSON ([`Value::from_json`],
//! [`Value::to_json`]).
//!
//! It does no RPC and no I/O: a [`Value::Stub`] is a number into a table that the caller keeps, and so is a stream
//! and the body of a request or response. One table has them all, in the order in which they appear in the bytes
//! ([`externals`]).
//!
//! ```
//! use js_value::{decode_args, encode, from_value, DecodeLimits, JsError, Value};
//!
//! #[derive(serde::Deserialize)]
//! struct Request { model: String, max_tokens: Option<u32> }
//!
//! // What a Worker sends for `env.AI.run({model: "x"})`.
//! let sent = b"\xff\x0f\x41\x01\x6f\x22\x05model\x22\x01x\x7b\x01\x24\x00\x01";
//! let [request]: [Value; 1] = decode_args(sent, &DecodeLimits::default())?.try_into().unwrap();
//! let request: Request = from_value(request)?;
//! assert_eq!(request.model, "x");
//! let reply = encode(&Value::from(JsError::range_error("too many tokens")))?;
//! # let _ = (reply, request.max_tokens);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # JSON
//!
//! Plain data is written as JSON has it. What JSON lacks is an object whose only name is a word that
//! begins with `$`. The table holds both ways:
//!
//! | JavaScript | JSON |
//! |---|---|
//! | `undefined` | `{"$undefined": true}` |
//! | `NaN`, `Infinity`, `-Infinity` | `{"$number": "NaN"}`, ... |
//! | `-0` | `-0.0`; `{"$number": "-0"}` is read, too |
//! | `123n` | `{"$bigint": "123"}`; see below |
//! | `new Date(0)`, an invalid date | `{"$date": "1970-01-01T00:00:00.000Z"}`, `{"$date": null}` |
//! | `Uint8Array` | `{"$bytes": "AQL/"}` (base64, standard, padded) |
//! | `ArrayBuffer` | `{"$buffer": "AQL/"}` |
//! | other typed arrays, `DataView` | `{"$view": {"kind": "Int16Array", "bytes": "AQA="}}` (little endian) |
//! | `new Map([["a", 1]])` | `{"$map": [["a", 1]]}` |
//! | `new Set([1])` | `{"$set": [1]}` |
//! | `[1, , ]`, arrays with properties | `{"$array": {"length": 2, "elements": {"0": 1}, "properties": {..}}}` |
//! | `/a+/gi` | `{"$regexp": {"source": "a+", "flags": "gi"}}` |
//! | an error | `{"$error": {"name": "TypeError", "message": "bad", "stack": .., "cause": .., "properties": {..}}}` |
//! | a stub | `{"$stub": 0}` |
//! | a `ReadableStream`, a `WritableStream` | `{"$readable": 0}`, `{"$writable": 0}`: numbers of externals |
//! | `new Headers({a: "b"})` | `{"$headers": [["a", "b"]]}`, or `{"guard": "immutable", "list": [..]}` in the list's place |
//! | `new Request(..)` | `{"$request": {"method": "GET", "url": "http://h/", "headers": [..], "body": {"$readable": 0}, "redirect": .., "cf": .., "cache": .., "integrity": .., "encodeResponseBody": .., "other": {..}}}`; only `url` must be there |
//! | `new Response(..)` | `{"$response": {"status": 200, "statusText": .., "headers": [..], "body": {"$readable": 0}, "cf": .., "encodeBody": .., "other": {..}}}`, all optional |
//! | `new Blob([..], {type})` | `{"$blob": {"type": "text/plain", "bytes": "AQL/"}}` |
//! | `new Number(1)` and its like | `{"$boxed": 1}` |
//! | a string with a lone surrogate | `{"$text": [97, 55296]}` (UTF-16); [`json_from_text`] reads `"a\ud800"`, too |
//! | `{"$date": x}`, a plain object | `{"$$date": x}`; `{"$$date": x}` is `{"$$$date": x}`, and so on |
//! | `{"$inc": x}`, `{"$date": x, "b": y}` | themselves: only a lone word of this table is special |
//!
//! - *JSON documents come back unchanged*, as JSON compares: `1.0` is `1`, and names that are array
//!   indexes move to the front, as in JavaScript. A lone word of the table with a content that it
//!   cannot have is an error that says so, never a guess.
//! - *Integers of 64 bits lose nothing.* One that a double holds exactly is a number. Any other is a
//!   BigInt, and such a BigInt is written as a bare integer: `9007199254740993` is
//!   `9007199254740993n`. `JSON.parse` would round it.
//! - *Text has numbers as `JSON.stringify` writes them* ([`json_text`]): `2 ** 63` is `9223372036854776000` there,
//!   and `-0` is `0`.
//! - *Shared objects are written out* at each place, up to a limit ([`ExpandError`]); a value that
//!   contains itself is an error, as in `JSON.stringify`. Names of properties must be well-formed.
//!
//! # Limits
//!
//! What is decoded is a peer's. Depth, the number of values and the length of BigInts are limited
//! ([`DecodeLimits`]); memory stays within a small multiple of the input; every recursion fits a
//! stack of 2 MiB at 256 levels, which is the most that any function here takes. The tests hold
//! the codec to that, and to a table of values that Node and a real workerd wrote.

mod bytes;
mod date;
mod error;
mod from;
mod headers;
mod http;
mod inspect;
mod json;
mod object;
mod refs;
mod regexp;
mod serde_impl;
mod sparse;
mod string;
mod v8;
mod value;

pub use bytes::{View, ViewBuffer, ViewKind};
pub use date::Date;
pub use error::JsError;
pub use headers::{HeaderError, Headers, HeadersGuard};
pub use http::{Blob, Request, Response};
pub use json::{JsonError, JsonTextError, json_from_text, json_text, json_text_pretty, to_json};
pub use num_bigint::BigInt;
pub use object::{IntoIter, Iter, Object};
pub use refs::{ExpandError, Objects};
pub use regexp::{RegExp, RegExpFlags, UnknownFlag};
pub use serde_impl::{
    READABLE_TOKEN, STUB_TOKEN, SerdeError, WRITABLE_TOKEN, bigint, from_value, to_value,
};
pub use sparse::SparseArray;
pub use string::JsString;
pub use v8::{
    DecodeError, DecodeErrorKind, DecodeLimits, EncodeError, EncodeOptions, Encoded, ErrorForm,
    ExternalKind, decode, decode_args, encode, encode_args, encode_args_with, encode_with,
    externals,
};
pub use value::{Boxed, Value};

/// Runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
