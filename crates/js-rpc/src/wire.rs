//! Between the generated types and ours: values with their stubs, methods, exceptions.

use binding_span_schema::js_rpc_capnp::external_pusher;
use binding_span_schema::js_rpc_capnp::js_rpc_target::call_params;
use binding_span_schema::js_rpc_capnp::js_value::{self as wire_value, external};
use capnp::Error;
use js_value::{DecodeLimits, EncodeError, EncodeOptions, Encoded, ErrorForm, Value};

use crate::beside::Beside;
use crate::object::{Args, External, Operation, Payload, method_names, method_path};
use crate::offload::{LARGE, offload};

/// How calls travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// As workerd does it: an event, a session, a call, and errors as exceptions.
    ThreeCalls,
    /// Between our own peers: one message, answered by one, however the call ends.
    OneMessage,
}

/// Elements of a method path that we read. Honest callers use a handful.
const MAX_PATH: u32 = 64;

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

/// Reads the arguments, and what they refer to. None given: none.
pub(crate) fn read_args(
    params: call_params::Reader<'_>,
    limits: &DecodeLimits,
) -> Result<(Vec<Value>, Vec<Beside>), Error> {
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
    let beside = Beside::of(value)?;
    Beside::check(&beside, values.iter().flat_map(js_value::externals))?;
    Ok((values, beside))
}

/// The bytes of a value that is to be read elsewhere, and what it refers to.
type Unread = (Vec<u8>, Vec<Beside>);

/// Arguments that are to be read elsewhere: their bytes, and what they refer to. `None`: they are small.
pub(crate) fn large_args(params: call_params::Reader<'_>) -> Result<Option<Unread>, Error> {
    let operation = params.get_operation();
    match operation.which()? {
        call_params::operation::CallWithArgs(value) if operation.has_call_with_args() => {
            let value = value?;
            let bytes = value.get_v8_serialized()?;
            match bytes.len() > LARGE {
                true => Ok(Some((bytes.to_vec(), Beside::of(value)?))),
                false => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// Reads arguments elsewhere, which refer to that.
pub(crate) async fn read_large_args(
    bytes: Vec<u8>,
    beside: &[Beside],
    limits: &DecodeLimits,
) -> Result<Vec<Value>, Error> {
    let limits = *limits;
    let read = offload(move || {
        let values = js_value::decode_args(&bytes, &limits)?;
        let wanted: Vec<_> = values.iter().flat_map(js_value::externals).collect();
        Ok::<_, js_value::DecodeError>((values, wanted))
    });
    let (values, wanted) = read
        .await
        .ok_or_else(ended)?
        .map_err(|error| refused(&format!("arguments that cannot be read: {error}")))?;
    Beside::check(beside, wanted)?;
    Ok(values)
}

/// The runtime ends.
fn ended() -> Error {
    Error::disconnected("the program is ending".into())
}

/// A result whose value is to be read elsewhere: its bytes, and what it refers to. `None`: it is small.
pub(crate) fn large_value(value: wire_value::Reader<'_>) -> Result<Option<Unread>, Error> {
    let bytes = match value.has_v8_serialized() {
        true => value.get_v8_serialized()?,
        false => &[],
    };
    match bytes.len() > LARGE {
        true => Ok(Some((bytes.to_vec(), Beside::of(value)?))),
        false => Ok(None),
    }
}

/// Reads a value elsewhere, which refers to that.
pub(crate) async fn read_large_value(
    bytes: Vec<u8>,
    beside: &[Beside],
    limits: &DecodeLimits,
) -> Result<Value, Error> {
    let limits = *limits;
    let read = offload(move || {
        let decoded = js_value::decode(&bytes, &limits)?;
        let wanted: Vec<_> = js_value::externals(&decoded).into_iter().collect();
        Ok::<_, js_value::DecodeError>((decoded, wanted))
    });
    let (value, wanted) = read
        .await
        .ok_or_else(ended)?
        .map_err(|error| refused(&error.to_string()))?;
    Beside::check(beside, wanted)?;
    Ok(value)
}

/// Reads a result.
pub(crate) fn read_value(
    value: wire_value::Reader<'_>,
    limits: &DecodeLimits,
) -> Result<(Value, Vec<Beside>), Error> {
    if !value.has_v8_serialized() {
        return Ok((Value::Undefined, Vec::new()));
    }
    let decoded = js_value::decode(value.get_v8_serialized()?, limits)
        .map_err(|error| refused(&error.to_string()))?;
    let beside = Beside::of(value)?;
    Beside::check(&beside, js_value::externals(&decoded))?;
    Ok((decoded, beside))
}

/// Errors as values go in workerd's form: it keeps their properties, and workerd cannot read a cause in
/// V8's own form.
const ENCODING: EncodeOptions = EncodeOptions {
    errors: ErrorForm::Native,
};

/// A value as bytes, and what it refers to.
pub(crate) struct EncodedValue {
    encoded: Encoded,
    externals: Vec<External>,
}

/// Arguments as bytes. `None`: there are none, and the pointer stays null; an empty value would be an error to
/// workerd.
pub(crate) fn encode_args(args: Args) -> Result<Option<EncodedValue>, String> {
    if args.values.is_empty() {
        return Ok(None);
    }
    let encoded = js_value::encode_args_with(&args.values, ENCODING);
    EncodedValue::new(encoded, args.externals).map(Some)
}

/// The same elsewhere, if they are large.
pub(crate) async fn encode_large_args(args: Args) -> Result<Option<EncodedValue>, String> {
    let Args { values, externals } = args;
    let encoded = offload(move || {
        let encoded = js_value::encode_args_with(&values, ENCODING);
        drop(values);
        encoded
    });
    let encoded = encoded.await.ok_or("the program is ending")?;
    EncodedValue::new(encoded, externals).map(Some)
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
    EncodedValue::new(encoded, payload.externals.clone())
}

/// The same elsewhere.
pub(crate) async fn encode_large_result(
    payload: Payload,
) -> (Payload, Result<EncodedValue, String>) {
    let Payload { value, externals } = payload;
    let encoded = offload(move || {
        let encoded = js_value::encode_with(&value, ENCODING);
        (value, encoded)
    });
    let Some((value, encoded)) = encoded.await else {
        let payload = Payload {
            value: Value::Undefined,
            externals,
        };
        return (payload, Err("the program is ending".into()));
    };
    let encoded = EncodedValue::new(encoded, externals.clone());
    (Payload { value, externals }, encoded)
}

impl EncodedValue {
    /// What it refers to in the order in which the bytes take it.
    fn new(
        encoded: Result<Encoded, EncodeError>,
        externals: Vec<External>,
    ) -> Result<Self, String> {
        let encoded = encoded.map_err(|error| error.to_string())?;
        let given = externals.len();
        match encoded.externals.iter().find(|&&n| n as usize >= given) {
            Some(n) => Err(format!("the external {n} is not among those given")),
            None => Ok(Self { encoded, externals }),
        }
    }

    /// Bytes that it takes in a message, but for what is small.
    pub(crate) fn size(&self) -> usize {
        self.encoded.bytes.len() + 64 * self.encoded.externals.len()
    }

    /// Writes it; `export` fills in what it refers to.
    pub(crate) fn write(
        &self,
        mut value: wire_value::Builder<'_>,
        mut export: impl FnMut(&External, external::Builder<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        value.set_v8_serialized(&self.encoded.bytes);
        let order = &self.encoded.externals;
        if order.is_empty() {
            return Ok(());
        }
        let mut externals = value.init_externals(order.len() as u32);
        for (i, &number) in order.iter().enumerate() {
            let external = externals.reborrow().get(i as u32);
            export(&self.externals[number as usize], external)?;
        }
        Ok(())
    }
}

/// What the caller says takes streams in the result, if it calls as workerd does.
pub(crate) fn read_pusher(
    params: call_params::Reader<'_>,
) -> Result<Option<external_pusher::Client>, Error> {
    use call_params::results_stream_handler::{ExternalPusher, Obsolete4};
    let handler = params.get_results_stream_handler();
    match handler.which()? {
        ExternalPusher(pusher) if handler.has_external_pusher() => Ok(Some(pusher?)),
        ExternalPusher(_) | Obsolete4(_) => Ok(None),
    }
}

/// The exception for a peer that sent what cannot be served.
pub(crate) fn refused(reason: &str) -> Error {
    Error::failed(format!("jsg.TypeError: {reason}"))
}

/// Reads the caller's span. One that cannot be read is none: it must not cost the call.
pub(crate) fn read_caller(params: call_params::Reader<'_>) -> Option<binding_span::SpanContext> {
    if !params.has_caller_span() {
        return None;
    }
    binding_span::wire::read_span_context(params.get_caller_span().ok()?)
}
