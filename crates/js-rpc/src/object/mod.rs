//! What can be called, and what a call is: the layer that callers and callees share. It knows of values,
//! services and calls, and of no connection.

mod byte_stream;
mod call;
mod client_id;
pub(crate) mod http;
mod local;
mod method;
mod payload;
mod pending;
mod reply;
mod service;
mod stub;

pub use byte_stream::{ByteSink, ByteStream, StreamError};
pub(crate) use byte_stream::{Over, Part, WINDOW, pipe};
pub(crate) use call::Call;
pub use call::CallBuilder;
pub use client_id::ClientId;
pub(crate) use method::Method;
pub use method::{Operation, method_names, method_path};
pub use payload::{Args, Arguments, ConvertError, External, IntoArgs, Payload, attribute_value};
pub use pending::PendingCall;
pub(crate) use pending::Pipeline;
pub use reply::Reply;
pub use service::{
    ByteService, Context, Service, ServiceResult, nothing, reply, service_fn, unknown_method,
};
pub use stub::Stub;
pub(crate) use stub::{Callable, Object};
