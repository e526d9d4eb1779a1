//! Between the generated types and ours: values with their stubs, methods, exceptions.

use binding_span_schema::js_rpc_capnp::js_rpc_target::{self, call_params};
use binding_span_schema::js_rpc_capnp::js_value::{self as wire_value, external};
use capnp::Error;
use js_value::{DecodeLimits, EncodeError, EncodeOptions, Encoded, ErrorForm, ExternalKind, Value};

use crate::object::{Args, Operation, Payload, Stub, method_names, method_path};
use crate::offload::{LARGE, offload};

/// How calls travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// As workerd does it: an event, a session, a call, and errors as exceptions.
    ThreeCalls,
    /// Between our own peers: one message, answered by one, however the call ends.
    OneMessage,
}

/// Elements of a method path, and stubs of one value, that we read. Honest callers use a handful.
const MAX_PATH: u32 = 64;
const MAX_STUBS: u32 = 1024;

/// Writes the method: a name, or a path if it has another number of elements than one.
pub(crate) fn write_method(method: &str, mut params: call_params::Builder<'_>) {
    if !method.is_empty() && !method.contains(['.', '\\']) {
        return params.set_method_name(method);
    }
    let names = method_names(method);
    if let [name] = &names[..] {
        return params.set_method_name(&**name);
    }
    let mut list = params.init_method_path(names.len() as u32);
    for (i, name) in names.iter().enumerate() {
        list.set(i as u32, &**name);
    }
}

/// Reads the method as a [`method_path`].
pub(crate) fn read_method(params: call_params::Reader<'_>) -> Result<String, Error> {
    let path = match params.which()? {
        call_params::MethodName(name) => return Ok(method_path([name?.to_str()?])),
        call_params::MethodPath(path) => check_path(path?)?,
    };
    let names: Result<Vec<&str>, Error> = path.iter().map(|name| Ok(name?.to_str()?)).collect();
    Ok(method_path(names?))
}

/// Copies the method as it is.
pub(crate) fn copy_method(
    from: call_params::Reader<'_>,
    mut to: call_params::Builder<'_>,
) -> Result<(), Error> {
    match from.which()? {
        call_params::MethodName(name) => to.set_method_name(name?),
        call_params::MethodPath(path) => to.set_method_path(check_path(path?)?)?,
    }
    Ok(())
}

fn check_path(path: capnp::text_list::Reader<'_>) -> Result<capnp::text_list::Reader<'_>, Error> {
    match path.len() {
        0..=MAX_PATH => Ok(path),
        _ => Err(refused("a method path of more than 64 elements")),
    }
}

/// Reads the operation.
pub(crate) fn read_operation(params: call_params::Reader<'_>) -> Result<Operation, Error> {
    Ok(match params.get_operation().which()? {
        call_params::operation::CallWithArgs(_) => Operation::Call,
        call_params::operation::GetProperty(()) => Operation::Get,
    })
}

/// The arguments as they travel: empty if there are none. What their stubs refer to is left out.
pub(crate) fn copy_args(params: call_params::Reader<'_>) -> Result<Vec<u8>, Error> {
    let operation = params.get_operation();
    if !operation.has_call_with_args() {
        return Ok(Vec::new());
    }
    match operation.which()? {
        call_params::operation::CallWithArgs(value) => Ok(value?.get_v8_serialized()?.to_vec()),
        call_params::operation::GetProperty(()) => Ok(Vec::new()),
    }
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

/// The bytes of a value that is to be read elsewhere, and the capabilities of its stubs.
type Unread = (Vec<u8>, Vec<js_rpc_target::Client>);

/// Arguments that are to be read elsewhere: their bytes, and the capabilities of their stubs. `None`: they are small.
pub(crate) fn large_args(params: call_params::Reader<'_>) -> Result<Option<Unread>, Error> {
    let operation = params.get_operation();
    match operation.which()? {
        call_params::operation::CallWithArgs(value) if operation.has_call_with_args() => {
            let value = value?;
            let bytes = value.get_v8_serialized()?;
            match bytes.len() > LARGE {
                true => Ok(Some((bytes.to_vec(), read_stubs(value)?))),
                false => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// Reads arguments elsewhere.
pub(crate) async fn read_large_args(
    bytes: Vec<u8>,
    limits: &DecodeLimits,
) -> Result<Vec<Value>, Error> {
    let limits = *limits;
    let read = offload(move || js_value::decode_args(&bytes, &limits)).await;
    let read = read.ok_or_else(ended)?;
    read.map_err(|error| refused(&format!("arguments that cannot be read: {error}")))
}

/// The runtime ends.
fn ended() -> Error {
    Error::disconnected("the program is ending".into())
}

/// A result whose value is to be read elsewhere: its bytes, and the capabilities of its stubs. `None`: it is small.
pub(crate) fn large_value(value: wire_value::Reader<'_>) -> Result<Option<Unread>, Error> {
    let bytes = match value.has_v8_serialized() {
        true => value.get_v8_serialized()?,
        false => &[],
    };
    match bytes.len() > LARGE {
        true => Ok(Some((bytes.to_vec(), read_stubs(value)?))),
        false => Ok(None),
    }
}

/// Reads a value elsewhere, which comes with so many stubs.
pub(crate) async fn read_large_value(
    bytes: Vec<u8>,
    stubs: usize,
    limits: &DecodeLimits,
) -> Result<Value, Error> {
    let limits = *limits;
    let read = offload(move || {
        let decoded = js_value::decode(&bytes, &limits)?;
        let numbers = js_value::externals(&decoded);
        Ok::<_, js_value::DecodeError>((decoded, numbers))
    });
    let (value, numbers) = read
        .await
        .ok_or_else(ended)?
        .map_err(|error| refused(&error.to_string()))?;
    check_stubs(numbers, stubs)?;
    Ok(value)
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
    check_stubs(js_value::externals(&decoded), stubs.len())?;
    Ok((decoded, stubs))
}

/// Refuses a value that refers to a stub that did not come with it.
fn check_stubs(numbers: Vec<(u32, ExternalKind)>, count: usize) -> Result<(), Error> {
    let is_there = |(n, kind)| kind == ExternalKind::Stub && (n as usize) < count;
    match numbers.into_iter().all(is_there) {
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

/// A value as bytes, and the stubs in it.
pub(crate) struct EncodedValue {
    encoded: Encoded,
    stubs: Vec<Stub>,
}

/// Arguments as bytes. `None`: there are none, and the pointer stays null; an empty value would be an error to
/// workerd.
pub(crate) fn encode_args(args: Args) -> Result<Option<EncodedValue>, String> {
    if args.values.is_empty() {
        return Ok(None);
    }
    let encoded = js_value::encode_args_with(&args.values, ENCODING);
    EncodedValue::new(encoded, args.stubs).map(Some)
}

/// The same elsewhere, if they are large.
pub(crate) async fn encode_large_args(args: Args) -> Result<Option<EncodedValue>, String> {
    let Args { values, stubs } = args;
    let encoded = offload(move || {
        let encoded = js_value::encode_args_with(&values, ENCODING);
        drop(values);
        encoded
    });
    let encoded = encoded.await.ok_or("the program is ending")?;
    EncodedValue::new(encoded, stubs).map(Some)
}

/// Whether arguments are so large that they are written elsewhere.
pub(crate) fn are_large(args: &Args) -> bool {
    let mut sizes = args.values.iter();
    args.values.len() > LARGE / 8 || sizes.any(|value| value.is_larger_than(LARGE))
}

/// A result as bytes.
pub(crate) fn encode_result(payload: &Payload) -> Result<EncodedValue, String> {
    let encoded = js_value::encode_with(&payload.value, ENCODING);
    // A table of pointers; nothing is copied for a value without stubs.
    EncodedValue::new(encoded, payload.stubs.clone())
}

/// The same elsewhere.
pub(crate) async fn encode_large_result(
    payload: Payload,
) -> (Payload, Result<EncodedValue, String>) {
    let Payload { value, stubs } = payload;
    let encoded = offload(move || {
        let encoded = js_value::encode_with(&value, ENCODING);
        (value, encoded)
    });
    let Some((value, encoded)) = encoded.await else {
        let payload = Payload {
            value: Value::Undefined,
            stubs,
        };
        return (payload, Err("the program is ending".into()));
    };
    let encoded = EncodedValue::new(encoded, stubs.clone());
    (Payload { value, stubs }, encoded)
}

impl EncodedValue {
    /// Stubs in the order in which the bytes take them.
    fn new(encoded: Result<Encoded, EncodeError>, stubs: Vec<Stub>) -> Result<Self, String> {
        let encoded = encoded.map_err(|error| error.to_string())?;
        let given = stubs.len();
        match encoded.externals.iter().find(|&&n| n as usize >= given) {
            Some(n) => Err(format!("stub {n} is not among the stubs given")),
            None => Ok(Self { encoded, stubs }),
        }
    }

    /// Bytes that it takes in a message, but for what is small.
    pub(crate) fn size(&self) -> usize {
        self.encoded.bytes.len() + 64 * self.encoded.externals.len()
    }

    /// Writes it; `export` makes a capability of a stub.
    pub(crate) fn write(
        &self,
        mut value: wire_value::Builder<'_>,
        export: impl Fn(&Stub) -> js_rpc_target::Client,
    ) {
        value.set_v8_serialized(&self.encoded.bytes);
        let order = &self.encoded.externals;
        if order.is_empty() {
            return;
        }
        let mut externals = value.init_externals(order.len() as u32);
        for (i, &number) in order.iter().enumerate() {
            let mut target = externals.reborrow().get(i as u32).init_rpc_target();
            target.set_cap(export(&self.stubs[number as usize]));
        }
    }
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
