//! V8's serialization format, as `v8::ValueSerializer` of version 15 writes it.
//!
//! The facts come from V8's `value-serializer.cc` and, for host objects, from workerd's
//! `jsg/ser.c++`. The crate `v8_valueserializer` reads the same format, but it rejects host objects
//! (workerd's stubs and errors are such), keeps values in a heap of their own, and bounds neither
//! the number of values nor what nested lengths may allocate. Peers are hostile here, so this is a
//! codec of our own. Shared memory, transferred buffers, WebAssembly modules and the other host objects
//! are refused by name.

mod common_headers;
mod decode;
mod encode;
mod reader;
mod tag;

pub use decode::{DecodeError, DecodeErrorKind, DecodeLimits, decode, decode_args};
pub use encode::{
    EncodeError, EncodeOptions, Encoded, ErrorForm, ExternalKind, encode, encode_args,
    encode_args_with, encode_with, externals,
};

/// A run of objects whose numbers on the wire differ from those of [`Value::BackRef`]: workerd's
/// native errors, requests and responses number their bag of members too, the plain form of errors
/// leaves their properties out, and a request may refer to headers and streams that went before.
///
/// [`Value::BackRef`]: crate::Value::BackRef
#[derive(Clone, Copy)]
struct Run {
    /// The number in the value at which the run begins.
    value: u32,
    /// The number on the wire there.
    wire: u32,
    /// Whether the objects are on the wire at all.
    present: bool,
}
