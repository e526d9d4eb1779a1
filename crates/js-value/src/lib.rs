//! JavaScript values in Rust: V8 serialization both ways, serde, and JSON.
#![allow(missing_docs)]

mod bytes;
mod date;
mod error;
mod from;
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
pub use json::{JsonError, to_json};
pub use object::{IntoIter, Iter, Object};
pub use refs::ExpandError;
pub use regexp::{RegExp, RegExpFlags, UnknownFlag};
pub use serde_impl::{STUB_TOKEN, SerdeError, bigint, from_value, to_value};
pub use sparse::SparseArray;
pub use string::JsString;
pub use v8::{
    DecodeError, DecodeErrorKind, DecodeLimits, EncodeError, EncodeOptions, Encoded, ErrorForm,
    decode, decode_args, encode, encode_args, encode_with, stubs,
};
pub use value::{Boxed, Value};

pub use num_bigint::BigInt;
