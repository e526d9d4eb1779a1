//! What a request's maker writes on it, for its log entry.

use serde_json::{Map, Value};

use super::error::{GatewayError, quoted};

/// At most five entries of text, a number, a boolean or null.
pub(in crate::ai) type Metadata = Map<String, Value>;

/// Cloudflare's: the first five entries are kept.
const MAX_ENTRIES: usize = 5;
/// Bytes of a name.
const MAX_NAME: usize = 128;
/// Bytes of a text.
const MAX_TEXT: usize = 1024;

/// What is kept of an object of metadata. A BigInt becomes text; entries after the fifth are left out.
///
/// # Errors
/// When it is no object, or an entry is too long or of another type: `place` and what is accepted.
pub(in crate::ai) fn metadata(place: &str, given: &Value) -> Result<Metadata, GatewayError> {
    let Value::Object(given) = given else {
        return Err(GatewayError::invalid(format!(
            "{place} is not an object; give one like {{\"team\": \"search\", \"user\": 7}}"
        )));
    };
    let entries = given.iter().take(MAX_ENTRIES);
    entries
        .map(|(name, value)| Ok((checked_name(place, name)?, checked(place, name, value)?)))
        .collect()
}

fn checked_name(place: &str, name: &str) -> Result<String, GatewayError> {
    match name.len() <= MAX_NAME {
        true => Ok(name.to_owned()),
        false => Err(GatewayError::invalid(format!(
            "{place}: the name {} has {} bytes; at most {MAX_NAME} are accepted",
            quoted(name),
            name.len()
        ))),
    }
}

fn checked(place: &str, name: &str, value: &Value) -> Result<Value, GatewayError> {
    let wrong = |what: &str| {
        GatewayError::invalid(format!(
            "{place}: {} is {what}; text of at most {MAX_TEXT} bytes, numbers, booleans and null are accepted",
            quoted(name)
        ))
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
        Value::String(text) if text.len() <= MAX_TEXT => Ok(value.clone()),
        Value::String(text) => Err(wrong(&format!("a text of {} bytes", text.len()))),
        Value::Array(_) => Err(wrong("an array")),
        Value::Object(object) => match bigint(object) {
            Some(digits) if digits.len() <= MAX_TEXT => Ok(Value::String(digits.to_owned())),
            Some(_) => Err(wrong("a very long BigInt")),
            None => Err(wrong("an object")),
        },
    }
}

/// A BigInt as this project writes it in JSON.
fn bigint(object: &Map<String, Value>) -> Option<&str> {
    match object.len() {
        1 => object.get("$bigint")?.as_str(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cloudflare_documents_is_kept_as_it_is() {
        let given = json!({"team": "AI", "user": 12345, "test": true, "none": null, "f": 0.5});
        assert_eq!(Value::Object(metadata("m", &given).unwrap()), given);
    }

    #[test]
    fn entries_after_the_fifth_are_left_out_in_order() {
        let given = json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": {"no": 1}});
        let kept = metadata("m", &given).unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn a_bigint_becomes_text() {
        let given = json!({"n": {"$bigint": "123456789012345678901234567890"}});
        let kept = metadata("m", &given).unwrap();
        assert_eq!(kept["n"], json!("123456789012345678901234567890"));
    }

    #[test]
    fn what_is_not_accepted_is_named() {
        let long = "x".repeat(1025);
        for (given, says) in [
            (json!([1]), "cf-aig-metadata is not an object"),
            (json!("text"), "cf-aig-metadata is not an object"),
            (
                json!({"a": {"b": 1}}),
                "cf-aig-metadata: \"a\" is an object; text of",
            ),
            (json!({"a": [1]}), "\"a\" is an array"),
            (json!({"a": long}), "\"a\" is a text of 1025 bytes"),
            (json!({long: 1}), "has 1025 bytes; at most 128"),
        ] {
            let error = metadata("cf-aig-metadata", &given).unwrap_err();
            assert!(error.message.contains(says), "{}", error.message);
            assert_eq!((error.status.as_u16(), error.code), (400, 7001));
        }
    }
}
