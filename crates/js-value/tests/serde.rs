//! Rust types to values and back.

use js_value::{
    BigInt, Blob, Date, JsError, JsString, Object, Request, STUB_TOKEN, SparseArray, Value, View,
    ViewKind, from_value, to_value,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

/// What another crate does for its own type of stubs.
#[derive(Clone, Debug, PartialEq)]
struct Stub(u32);

impl Serialize for Stub {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(STUB_TOKEN, &self.0)
    }
}

impl<'de> Deserialize<'de> for Stub {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Stub;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a stub")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Stub, D::Error> {
                u32::deserialize(d).map(Stub)
            }
        }
        deserializer.deserialize_newtype_struct(STUB_TOKEN, Visitor)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(i32),
    Tuple(i32, String),
    Struct { a: Option<bool> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    flag: bool,
    small: i8,
    large: i64,
    unsigned: u64,
    wide: u128,
    float: f32,
    letter: char,
    text: String,
    nothing: Option<u8>,
    some: Option<u8>,
    unit: (),
    pair: (u8, String),
    shapes: Vec<Shape>,
    by_number: BTreeMap<u32, String>,
    at: Date,
    value: Value,
    #[serde(with = "js_value::bigint")]
    big: BigInt,
    name: JsString,
    error: JsError,
    object: Object,
    stub: Stub,
    json: serde_json::Value,
}

fn everything() -> Everything {
    Everything {
        flag: true,
        small: -7,
        large: i64::MIN,
        unsigned: u64::MAX,
        wide: u128::MAX,
        float: 1.5,
        letter: 'é',
        text: "x".into(),
        nothing: None,
        some: Some(3),
        unit: (),
        pair: (1, "y".into()),
        shapes: vec![
            Shape::Unit,
            Shape::Newtype(1),
            Shape::Tuple(2, "z".into()),
            Shape::Struct { a: None },
        ],
        by_number: BTreeMap::from([(7, "seven".into())]),
        at: Date(1.0),
        value: Value::Map(vec![(Value::Undefined, Value::Date(2.0))]),
        big: BigInt::from(1) << 200,
        name: JsString::from_utf16(&[0xd800]),
        error: JsError::type_error("bad").with_property("code", 5),
        object: Object::from([("k", Value::Undefined)]),
        stub: Stub(4),
        json: json!({"a": [1, -1, 1.5, null, "s", {"b": true}], "big": u64::MAX}),
    }
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(source: T) -> Value {
    let value = to_value(&source).unwrap();
    assert_eq!(from_value::<T>(value.clone()).unwrap(), source);
    value
}

#[test]
fn a_struct_of_everything_comes_back() {
    let value = round_trip(everything());
    assert_eq!(value.get("stub"), Some(&Value::Stub(4)));
    assert_eq!(value.get("at"), Some(&Value::Date(1.0)));
    assert_eq!(
        value.get("big"),
        Some(&Value::BigInt(BigInt::from(1) << 200))
    );
    assert_eq!(value.get("large"), Some(&Value::BigInt(i64::MIN.into())));
    assert_eq!(value.get("small"), Some(&Value::from(-7)));
    assert!(value.get("error").and_then(Value::as_error).is_some());
}

#[test]
fn other_formats_see_our_types_as_json() {
    // The stub is of another crate, and a mere number to other formats.
    let text = serde_json::to_string(&everything()).unwrap();
    assert!(
        text.contains(r#""at":{"$date":"1970-01-01T00:00:00.001Z"}"#),
        "{text}"
    );
    assert_eq!(
        serde_json::from_str::<Everything>(&text).unwrap(),
        everything()
    );
}

#[test]
fn enums_look_as_serde_json_makes_them() {
    for shape in everything().shapes {
        let json = serde_json::to_value(&shape).unwrap();
        assert_eq!(round_trip(shape).to_json(), Ok(json));
    }
}

#[test]
fn json_data_passes_unchanged_both_ways() {
    for json in [
        json!(null),
        json!(5),
        json!(-0.5),
        json!("s"),
        json!([]),
        everything().json,
    ] {
        round_trip(json);
    }
    assert_eq!(to_value(&json!(null)), Ok(Value::Null));
}

#[test]
fn integers_become_numbers_while_these_are_exact_and_bigints_beyond() {
    let cases: [(i64, Value); 4] = [
        ((1 << 53) - 1, Value::Number(9_007_199_254_740_991.0)),
        (1 << 53, Value::BigInt((1i64 << 53).into())),
        (-(1 << 53) + 1, Value::Number(-9_007_199_254_740_991.0)),
        (-(1 << 53), Value::BigInt((-(1i64 << 53)).into())),
    ];
    for (integer, value) in cases {
        assert_eq!(round_trip(integer), value);
    }
}

#[test]
fn integral_numbers_fit_integer_types_and_others_do_not() {
    assert_eq!(from_value::<u8>(Value::Number(255.0)), Ok(255));
    assert_eq!(from_value::<i64>(Value::Number(2f64.powi(62))), Ok(1 << 62));
    assert_eq!(from_value::<u64>(Value::Number(2f64.powi(63))), Ok(1 << 63));
    assert_eq!(from_value::<u64>(Value::BigInt(5.into())), Ok(5));
    assert_eq!(from_value::<u32>(Value::Number(-0.0)), Ok(0));
    assert_eq!(from_value::<f64>(Value::Number(3.0)), Ok(3.0));
    for wrong in [
        Value::Number(256.0),
        Value::Number(1.5),
        Value::Number(f64::NAN),
        Value::Null,
    ] {
        assert!(from_value::<u8>(wrong).is_err());
    }
}

#[test]
fn nullish_and_missing_are_none() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Query {
        limit: Option<u32>,
    }
    for object in [
        Object::new(),
        Object::from([("limit", Value::Null)]),
        Object::from([("limit", Value::Undefined)]),
    ] {
        assert_eq!(from_value(object.into()), Ok(Query { limit: None }));
    }
}

#[test]
fn bytes_are_typed_arrays_and_sequences_of_numbers() {
    struct Bytes;
    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&[1, 2])
        }
    }
    assert_eq!(to_value(&Bytes), Ok(View::uint8([1, 2]).into()));
    assert_eq!(
        from_value::<Vec<u8>>(View::uint8([1, 2]).into()),
        Ok(vec![1, 2])
    );
    assert_eq!(
        from_value::<Vec<u8>>(Value::ArrayBuffer(vec![1, 2])),
        Ok(vec![1, 2])
    );
    let floats = View::new(ViewKind::Float64Array, 1.5f64.to_le_bytes().to_vec());
    assert_eq!(from_value::<Vec<f64>>(floats.into()), Ok(vec![1.5]));
    let bigints = View::new(ViewKind::BigInt64Array, i64::MIN.to_le_bytes().to_vec());
    assert_eq!(from_value::<Vec<i64>>(bigints.into()), Ok(vec![i64::MIN]));
}

#[test]
fn collections_of_javascript_are_rusts() {
    let map = Value::Map(vec![(1.into(), "one".into())]);
    assert_eq!(
        from_value(map),
        Ok(HashMap::from([(1u8, "one".to_owned())]))
    );
    assert_eq!(from_value(Value::Set(vec![1.into()])), Ok(vec![1u8]));
    let names = Object::from([("true", 1)]);
    assert_eq!(from_value(names.into()), Ok(HashMap::from([(true, 1)])));
    assert_eq!(
        from_value::<String>(Value::Date(0.0)).as_deref(),
        Ok("1970-01-01T00:00:00.000Z")
    );
}

#[test]
fn dates_pass_through_flattened_and_untagged_types() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        #[serde(flatten)]
        inner: Inner,
        choice: Choice,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        at: Date,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Choice {
        At(Date),
    }
    let value = round_trip(Outer {
        inner: Inner { at: Date(1.0) },
        choice: Choice::At(Date(2.0)),
    });
    assert_eq!(value.get("at"), Some(&Value::Date(1.0)));
}

#[test]
fn what_does_not_fit_is_an_error_that_says_why() {
    let message = |error: js_value::SerdeError| error.to_string();
    let stub = from_value::<Stub>(Value::from(1)).map_err(message);
    assert_eq!(stub, Err("expected a stub, found number".into()));
    let date = from_value::<Date>(Value::from("x")).map_err(message);
    assert_eq!(date, Err("expected a Date, found string".into()));
    let holes = from_value::<Vec<u8>>(SparseArray::new(u32::MAX).into()).map_err(message);
    assert_eq!(holes, Err("the array has holes".into()));
    let cycle = from_value::<Value>(Value::Array(vec![Value::BackRef(0)])).map_err(message);
    assert_eq!(cycle, Err("the value contains itself (a cycle)".into()));
    let number = from_value::<String>(Value::from(1)).map_err(message);
    assert_eq!(
        number,
        Err("invalid type: integer `1`, expected a string".into())
    );
}

#[test]
fn shared_objects_are_copied_into_types() {
    let shared = Value::Array(vec![Object::from([("a", 1)]).into(), Value::BackRef(1)]);
    let read: Vec<BTreeMap<String, u8>> = from_value(shared).unwrap();
    assert_eq!(read[0], read[1]);
}

#[test]
fn a_value_that_nobody_took_does_not_turn_up_elsewhere() {
    // A type that announces one of our values and then looks at something else.
    #[derive(Debug)]
    struct Careless;
    impl<'de> Deserialize<'de> for Careless {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            serde::de::IgnoredAny::deserialize(d).map(|_| Careless)
        }
    }
    from_value::<Careless>(Value::from("secret")).unwrap();
    assert_eq!(serde_json::from_str::<Value>("1").unwrap(), Value::from(1));
}

#[test]
fn host_objects_are_no_plain_data_but_bytes_are() {
    let refused = [
        (Value::ReadableStream(0), "ReadableStream"),
        (Value::WritableStream(0), "WritableStream"),
        (js_value::Headers::new().into(), "Headers"),
        (Request::new("GET", "http://h/").into(), "Request"),
        (js_value::Response::new(200).into(), "Response"),
    ];
    for (value, name) in refused {
        let inside = Value::from(Object::from([("a", value.clone())]));
        let error = from_value::<HashMap<String, serde_json::Value>>(inside.clone()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        // A field of type `Value` takes it whole.
        let whole: HashMap<String, Value> = from_value(inside).unwrap();
        assert_eq!(whole["a"], value);
    }
    let blob = Blob {
        media_type: "a/b".into(),
        bytes: vec![1, 2],
    };
    assert_eq!(from_value::<Vec<u8>>(blob.into()).unwrap(), [1, 2]);
}
