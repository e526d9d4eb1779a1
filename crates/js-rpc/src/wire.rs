//! Between the generated types and ours: values with their stubs, methods, exceptions.

use binding_span_schema::js_rpc_capnp::js_rpc_target::{self, call_params};
use binding_span_schema::js_rpc_capnp::js_value::{self as wire_value, external};
use capnp::Error;
use js_value::{DecodeLimits, EncodeError, EncodeOptions, Encoded, ErrorForm, Value};

use crate::payload::{Args, Payload};

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Call the method.
    Call,
    /// Read the property.
    Get,
}

impl Operation {
    /// The name that attributes have for it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Get => "getProperty",
        }
    }
}

/// Elements of a method path, and stubs of one value, that we read. Honest callers use a handful.
const MAX_PATH: u32 = 64;
const MAX_STUBS: u32 = 1024;

/// Writes the method: a name, or a path if it has another number of elements than one.
pub(crate) fn write_path(path: &[impl AsRef<str>], mut params: call_params::Builder<'_>) {
    match path {
        [name] => params.set_method_name(name.as_ref()),
        path => {
            let mut list = params.init_method_path(path.len() as u32);
            for (i, name) in path.iter().enumerate() {
                list.set(i as u32, name.as_ref());
            }
        }
    }
}

/// Reads the method.
pub(crate) fn read_path(params: call_params::Reader<'_>) -> Result<Vec<String>, Error> {
    let text = |t: capnp::text::Reader<'_>| Ok::<_, Error>(t.to_str()?.to_owned());
    match params.which()? {
        call_params::MethodName(name) => Ok(vec![text(name?)?]),
        call_params::MethodPath(path) => {
            let path = path?;
            if path.len() > MAX_PATH {
                return Err(refused("a method path of more than 64 elements"));
            }
            path.iter().map(|name| text(name?)).collect()
        }
    }
}

/// Reads the operation.
pub(crate) fn read_operation(params: call_params::Reader<'_>) -> Result<Operation, Error> {
    Ok(match params.get_operation().which()? {
        call_params::operation::CallWithArgs(_) => Operation::Call,
        call_params::operation::GetProperty(()) => Operation::Get,
    })
}

/// Reads the arguments, with the capabilities of their stubs. None given: none.
pub(crate) fn read_args(
    params: call_params::Reader<'_>,
    limits: &DecodeLimits,
) -> Result<(Vec<Value>, Vec<js_rpc_target::Client>), Error> {
    let operation = params.get_operation();
    if !operation.has_call_with_args() {
        return Ok((Vec::new(), Vec::new()));
    }
    let call_params::operation::CallWithArgs(value) = operation.which()? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let value = value?;
    let values = js_value::decode_args(value.get_v8_serialized()?, limits)
        .map_err(|error| refused(&format!("arguments that cannot be read: {error}")))?;
    Ok((values, read_stubs(value)?))
}

/// Reads a result.
pub(crate) fn read_value(
    value: wire_value::Reader<'_>,
    limits: &DecodeLimits,
) -> Result<(Value, Vec<js_rpc_target::Client>), Error> {
    if !value.has_v8_serialized() {
        return Ok((Value::Undefined, Vec::new()));
    }
    let decoded = js_value::decode(value.get_v8_serialized()?, limits)
        .map_err(|error| refused(&error.to_string()))?;
    let stubs = read_stubs(value)?;
    check_stubs(js_value::stubs(&decoded), stubs.len())?;
    Ok((decoded, stubs))
}

/// Refuses a value that refers to a stub that did not come with it.
fn check_stubs(numbers: Vec<u32>, count: usize) -> Result<(), Error> {
    match numbers.into_iter().all(|n| (n as usize) < count) {
        true => Ok(()),
        false => Err(refused("a value whose stubs are not all there")),
    }
}

fn read_stubs(value: wire_value::Reader<'_>) -> Result<Vec<js_rpc_target::Client>, Error> {
    if !value.has_externals() {
        return Ok(Vec::new());
    }
    let externals = value.get_externals()?;
    check_externals(externals.len())?;
    externals.iter().map(read_stub).collect()
}

/// The target of an external. Those of other kinds mean something only to who made them.
pub(crate) fn read_stub(external: external::Reader<'_>) -> Result<js_rpc_target::Client, Error> {
    match external.which() {
        Ok(external::RpcTarget(target)) => target.get_cap(),
        other => Err(refused(&format!(
            "{}, which is not supported: pass stubs and plain values",
            external_name(other)
        ))),
    }
}

fn external_name(external: Result<external::WhichReader<'_>, capnp::NotInSchema>) -> &'static str {
    match external {
        Ok(external::RpcTarget(_)) => "a stub",
        Ok(external::WritableStream(_)) => "a WritableStream",
        Ok(external::ReadableStream(_)) => "a ReadableStream",
        Ok(external::AbortSignal(_)) => "an AbortSignal",
        Ok(external::SubrequestChannelToken(_) | external::ActorClassChannelToken(_)) => {
            "a service or class binding"
        }
        Ok(external::Invalid(()) | external::Obsolete7(())) => "an external that is not set",
        Err(_) => "an external of a kind that is not known here",
    }
}

/// Errors as values go in workerd's form: it keeps their properties, and workerd cannot read a cause in
/// V8's own form.
const ENCODING: EncodeOptions = EncodeOptions {
    errors: ErrorForm::Native,
};

/// Writes arguments; `export` makes a capability of a stub.
pub(crate) fn write_args(
    args: &Args,
    params: call_params::Builder<'_>,
    export: impl Fn(&crate::Stub) -> js_rpc_target::Client,
) -> Result<(), String> {
    // No arguments: the pointer stays null. An empty value would be an error to workerd.
    if args.values.is_empty() {
        params.init_operation();
        return Ok(());
    }
    let encoded = js_value::encode_args_with(&args.values, ENCODING);
    let value = params.init_operation().init_call_with_args();
    write_value(encoded, &args.stubs, value, export)
}

/// Writes a result.
pub(crate) fn write_result(
    payload: &Payload,
    mut results: js_rpc_target::call_results::Builder<'_>,
    export: impl Fn(&crate::Stub) -> js_rpc_target::Client,
) -> Result<(), String> {
    let encoded = js_value::encode_with(&payload.value, ENCODING);
    let value = results.reborrow().init_result();
    write_value(encoded, &payload.stubs, value, export)
}

/// Writes the bytes, and the stubs in the order in which the bytes take them.
fn write_value(
    encoded: Result<Encoded, EncodeError>,
    stubs: &[crate::Stub],
    mut value: wire_value::Builder<'_>,
    export: impl Fn(&crate::Stub) -> js_rpc_target::Client,
) -> Result<(), String> {
    let Encoded {
        bytes,
        stubs: order,
    } = encoded.map_err(|error| error.to_string())?;
    value.set_v8_serialized(&bytes);
    if order.is_empty() {
        return Ok(());
    }
    let mut externals = value.init_externals(order.len() as u32);
    for (i, number) in order.into_iter().enumerate() {
        let stub = stubs.get(number as usize);
        let stub = stub.ok_or_else(|| format!("stub {number} is not among the stubs given"))?;
        let mut target = externals.reborrow().get(i as u32).init_rpc_target();
        target.set_cap(export(stub));
    }
    Ok(())
}

/// The exception for a peer that sent what cannot be served.
pub(crate) fn refused(reason: &str) -> Error {
    Error::failed(format!("jsg.TypeError: {reason}"))
}

/// Refuses a value with more externals than anybody needs.
pub(crate) fn check_externals(count: u32) -> Result<(), Error> {
    match count {
        0..=MAX_STUBS => Ok(()),
        _ => Err(refused("a value with more than 1024 stubs")),
    }
}

/// Reads the caller's span. One that cannot be read is none: it must not cost the call.
pub(crate) fn read_caller(params: call_params::Reader<'_>) -> Option<binding_span::SpanContext> {
    if !params.has_caller_span() {
        return None;
    }
    binding_span::wire::read_span_context(params.get_caller_span().ok()?)
}
