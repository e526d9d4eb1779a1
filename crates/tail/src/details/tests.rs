//! What was published on a diagnostics channel, as JSON.

use serde_json::json;

use super::{ChannelMessage, Published};

fn line(message: ChannelMessage) -> String {
    serde_json::to_string(&message).unwrap()
}

#[test]
fn what_was_published_is_json_as_javascript_writes_it() {
    use js_value::{JsError, Object, Value, View, ViewKind};
    let list = |values: Vec<Value>| Value::Array(values);
    let mut object = Object::new();
    object.insert("a", Value::Undefined);
    object.insert("b", Value::Number(-0.0));
    let mut nested = Value::Null;
    for _ in 0..110 {
        nested = list(vec![nested]);
    }
    let serialized = json!({"$serialized": js_value::encode(&nested).map(|b| crate::json::stringify::base64(&b)).unwrap()});
    for (value, json) in [
        (Value::Undefined, None),
        (Value::Null, Some(json!(null))),
        (Value::Object(object), Some(json!({"b": 0}))),
        (
            list(vec![Value::Undefined, Value::Number(f64::NAN)]),
            Some(json!([null, null])),
        ),
        (Value::Date(0.0), Some(json!("1970-01-01T00:00:00.000Z"))),
        (Value::Date(f64::NAN), Some(json!(null))),
        (
            Value::BigInt(9_007_199_254_740_993_i64.into()),
            Some(json!(9_007_199_254_740_993_i64)),
        ),
        (
            Value::Map(vec![(Value::Null, Value::Null)]),
            Some(json!({})),
        ),
        (
            Value::View(Box::new(View::uint8([1, 255]))),
            Some(json!({"0": 1, "1": 255})),
        ),
        (
            Value::View(Box::new(View::new(
                ViewKind::Float64Array,
                1.5_f64.to_le_bytes().into(),
            ))),
            Some(json!({"0": 1.5})),
        ),
        (
            Value::from(JsError::type_error("x").with_property("code", Value::Number(7.0))),
            Some(json!({"code": 7})),
        ),
        // Nested deeper than a line may be.
        (nested, Some(serialized)),
    ] {
        let options = js_value::EncodeOptions {
            errors: js_value::ErrorForm::Native,
        };
        let bytes = js_value::encode_with(&value, options).unwrap().bytes;
        let message = ChannelMessage {
            channel: "c".into(),
            message: Published::Serialized(bytes),
        };
        let line = line(message);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line.get("message"), json.as_ref(), "{value:?}");
    }
}

#[test]
fn an_array_that_claims_four_billion_holes_costs_nothing() {
    // An array of 2^32 - 1 holes and nothing else.
    let bytes = b"\xff\x0fa\xff\xff\xff\xff\x0f@\x00\xff\xff\xff\xff\x0f".to_vec();
    let message = ChannelMessage {
        channel: "c".into(),
        message: Published::Serialized(bytes),
    };
    let line = line(message);
    assert!(line.contains("$serialized") && line.len() < 512, "{line}");
}
