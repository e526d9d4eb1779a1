//! What an application threw, as bytes: V8's serialization, errors in workerd's native form, which is the one
//! that keeps their properties.

use js_value::{DecodeError, DecodeLimits, EncodeOptions, ErrorForm, JsError, Object, Value};

use super::attached::MOST_BYTES;

const ENCODING: EncodeOptions = EncodeOptions {
    errors: ErrorForm::Native,
};

/// The bytes of what was thrown, at most [`MOST_BYTES`]. What cannot be sent must not cost the rest: there is no
/// place for stubs, and what leads to one is left behind, as is all but name and message if there is no other way.
pub(super) fn encode(error: &JsError) -> Vec<u8> {
    let bare = || JsError::new(error.name.clone(), error.message.clone());
    bytes(error.clone())
        .or_else(|| bytes(without_stubs(error)))
        .or_else(|| bytes(bare()))
        .unwrap_or_default()
}

fn bytes(error: JsError) -> Option<Vec<u8>> {
    let encoded = js_value::encode_with(&error.into_thrown(), ENCODING).ok()?;
    let sendable = encoded.externals.is_empty() && encoded.bytes.len() <= MOST_BYTES;
    sendable.then_some(encoded.bytes)
}

fn without_stubs(error: &JsError) -> JsError {
    let mut kept = JsError::new(error.name.clone(), error.message.clone());
    kept.stack.clone_from(&error.stack);
    kept.cause = error.cause.clone().filter(|cause| is_alone(cause));
    let properties = error.properties.iter();
    kept.properties = properties
        .filter(|(_, value)| is_alone(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect::<Object>();
    kept
}

/// Whether a value can be sent without what is around it.
fn is_alone(value: &Value) -> bool {
    !value.has_references() && !value.has_externals()
}

/// Reads what was thrown. `Ok(None)`: it holds stubs, which cannot have come with it.
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Option<JsError>, DecodeError> {
    let value = js_value::decode(bytes, limits)?;
    Ok((!value.has_externals()).then(|| JsError::from_thrown(value)))
}
