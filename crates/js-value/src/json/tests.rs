//! The table of the crate documentation, held in both directions.

use super::*;
use crate::{
    Blob, Headers, HeadersGuard, JsError, JsString, Object, RegExp, Request, Response, SparseArray,
    Value, View, ViewKind,
};
use num_bigint::BigInt;
use serde_json::{Value as Json, json};

fn headers() -> Headers {
    let mut headers = Headers::new();
    headers.append("a", "b").unwrap();
    headers.append("X", "").unwrap();
    headers
}

/// The table of the crate's documentation, row by row.
fn rows() -> Vec<(Value, Json)> {
    let mut holes = SparseArray::new(3);
    holes.insert(0, 1);
    let mut matched = SparseArray::new(0);
    matched.insert(0, "a");
    matched.properties.insert("index", 7);
    let regexp = RegExp {
        source: "a+".into(),
        flags: "gi".parse().unwrap(),
    };
    let error = JsError::type_error("bad")
        .with_cause("why")
        .with_property("code", 5);
    vec![
        (Value::Undefined, json!({"$undefined": true})),
        (Value::Number(f64::NAN), json!({"$number": "NaN"})),
        (Value::Number(f64::INFINITY), json!({"$number": "Infinity"})),
        (
            Value::Number(f64::NEG_INFINITY),
            json!({"$number": "-Infinity"}),
        ),
        (Value::Number(-0.0), json!(-0.0)),
        (Value::Number(1.0), json!(1)),
        (Value::Number(1.5), json!(1.5)),
        (Value::Number(1e300), json!(1e300)),
        (
            Value::Number(9_007_199_254_740_992.0),
            json!(9_007_199_254_740_992u64),
        ),
        (Value::BigInt(123.into()), json!({"$bigint": "123"})),
        (
            Value::BigInt((1u64 << 60).into()),
            json!({"$bigint": "1152921504606846976"}),
        ),
        (
            Value::BigInt(9_007_199_254_740_993u64.into()),
            json!(9_007_199_254_740_993u64),
        ),
        (Value::BigInt((i64::MIN + 1).into()), json!(i64::MIN + 1)),
        (
            Value::BigInt(BigInt::from(1) << 64),
            json!({"$bigint": "18446744073709551616"}),
        ),
        (
            Value::Date(0.0),
            json!({"$date": "1970-01-01T00:00:00.000Z"}),
        ),
        (Value::Date(f64::NAN), json!({"$date": null})),
        (View::uint8([1, 2, 255]).into(), json!({"$bytes": "AQL/"})),
        (Value::ArrayBuffer(vec![1]), json!({"$buffer": "AQ=="})),
        (
            View::new(ViewKind::Int16Array, vec![1, 0]).into(),
            json!({"$view": {"kind": "Int16Array", "bytes": "AQA="}}),
        ),
        (
            Value::Map(vec![("a".into(), 1.into())]),
            json!({"$map": [["a", 1]]}),
        ),
        (Value::Set(vec![1.into()]), json!({"$set": [1]})),
        (
            holes.into(),
            json!({"$array": {"length": 3, "elements": {"0": 1}}}),
        ),
        (
            matched.into(),
            json!({"$array": {"length": 1, "elements": {"0": "a"}, "properties": {"index": 7}}}),
        ),
        (
            regexp.into(),
            json!({"$regexp": {"source": "a+", "flags": "gi"}}),
        ),
        (
            error.into(),
            json!({"$error": {"name": "TypeError", "message": "bad", "cause": "why", "properties": {"code": 5}}}),
        ),
        (Value::Stub(2), json!({"$stub": 2})),
        (Value::ReadableStream(0), json!({"$readable": 0})),
        (Value::WritableStream(1), json!({"$writable": 1})),
        (
            headers().into(),
            json!({"$headers": [["a", "b"], ["X", ""]]}),
        ),
        (
            headers().with_guard(HeadersGuard::Immutable).into(),
            json!({"$headers": {"guard": "immutable", "list": [["a", "b"], ["X", ""]]}}),
        ),
        (
            Request {
                headers: headers(),
                body: Some(3),
                redirect: Some("manual".into()),
                cf: Object::from([("colo", "AMS")]).into(),
                other: Object::from([("priority", "high")]),
                ..Request::new("PUT", "http://h/")
            }
            .into(),
            json!({"$request": {"method": "PUT", "url": "http://h/", "headers": [["a", "b"], ["X", ""]],
                "body": {"$readable": 3}, "redirect": "manual", "cf": {"colo": "AMS"},
                "other": {"priority": "high"}}}),
        ),
        (
            Response {
                status_text: Some("Nope".into()),
                encode_body: Some("manual".into()),
                ..Response::new(404)
            }
            .into(),
            json!({"$response": {"status": 404, "statusText": "Nope", "headers": [], "encodeBody": "manual"}}),
        ),
        (
            Blob {
                media_type: "text/plain".into(),
                bytes: vec![1, 2, 255],
            }
            .into(),
            json!({"$blob": {"type": "text/plain", "bytes": "AQL/"}}),
        ),
        (
            Value::Boxed(Box::new(crate::Boxed::Number(1.0))),
            json!({"$boxed": 1}),
        ),
        (
            JsString::from_utf16(&[0x61, 0xd800]).into(),
            json!({"$text": [0x61, 0xd800]}),
        ),
        (Object::from([("$date", 1)]).into(), json!({"$$date": 1})),
        (Object::from([("$$date", 1)]).into(), json!({"$$$date": 1})),
        (Object::from([("$inc", 1)]).into(), json!({"$inc": 1})),
        (
            Object::from([("$date", 1), ("b", 2)]).into(),
            json!({"$date": 1, "b": 2}),
        ),
    ]
}

#[test]
fn each_row_of_the_table_holds_both_ways() {
    for (value, json) in rows() {
        assert_eq!(value.to_json().as_ref(), Ok(&json));
        let back = Value::from_json(json.clone()).unwrap();
        // Compared as text, since NaN equals nothing.
        assert_eq!(format!("{back:?}"), format!("{value:?}"), "{json}");
        let inside = Value::from(vec![value]);
        assert_eq!(inside.to_json(), Ok(json!([json])));
    }
}

#[test]
fn every_word_is_in_the_table_above() {
    for word in WORDS {
        let found = rows().iter().any(|(_, json)| json.get(word).is_some());
        assert!(found, "{word}");
    }
}

#[test]
fn a_word_with_the_wrong_content_is_refused_with_advice() {
    for json in [
        json!({"$undefined": 1}),
        json!({"$readable": "0"}),
        json!({"$writable": -1}),
        json!({"$headers": {"a": "b"}}),
        json!({"$headers": [["a", "b\nc"]]}),
        json!({"$headers": [["a b", "c"]]}),
        json!({"$headers": {"guard": "x", "list": []}}),
        json!({"$request": {"method": "GET"}}),
        json!({"$request": {"method": "G T", "url": "http://h/"}}),
        json!({"$request": {"url": "http://h/ HTTP/1.1"}}),
        json!({"$request": {"url": "http://h/", "body": "text"}}),
        json!({"$response": {"status": 99999}}),
        json!({"$response": {"statusText": "a\r\nb"}}),
        json!({"$response": 200}),
        json!({"$blob": "AQL/"}),
        json!({"$number": "1"}),
        json!({"$bigint": 1}),
        json!({"$bigint": "1.5"}),
        json!({"$bigint": ""}),
        json!({"$bigint": "9".repeat(100_000)}),
        json!({"$date": "yesterday"}),
        json!({"$bytes": "?"}),
        json!({"$buffer": 1}),
        json!({"$view": {"kind": "Int16Array", "bytes": "AQ=="}}),
        json!({"$view": {"kind": "Array", "bytes": "AQ=="}}),
        json!({"$map": [[1]]}),
        json!({"$set": {"a": 1}}),
        json!({"$array": {"length": 1, "elements": {"1": 1}}}),
        json!({"$regexp": {"source": "a", "flags": "x"}}),
        json!({"$error": "x"}),
        json!({"$stub": -1}),
        json!({"$boxed": []}),
        json!({"$text": [65536]}),
    ] {
        let error = Value::from_json(json.clone()).unwrap_err().to_string();
        let word = json.as_object().unwrap().keys().next().unwrap();
        assert!(error.starts_with(&format!("`{word}` needs ")), "{error}");
        assert!(
            error.ends_with(&format!("; for a plain object write `${word}`")),
            "{error}"
        );
        let escaped = json!({format!("${word}"): json[word]});
        assert_eq!(
            Value::from_json(escaped.clone()).unwrap().to_json(),
            Ok(escaped)
        );
    }
}

#[test]
fn any_json_document_comes_back_unchanged() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut read = 0;
    for _ in 0..20_000 {
        let json = random_json(&mut random, 4);
        match Value::from_json(json.clone()) {
            Ok(value) => {
                assert_eq!(value.to_json(), Ok(json));
                read += 1;
            }
            Err(JsonError::Malformed { .. }) => {}
            Err(error) => panic!("{error}: {json}"),
        }
    }
    assert!(read > 19_000, "{read}");
}

fn random_json(random: &mut fastrand::Rng, depth: u32) -> Json {
    match random.u8(0..if depth == 0 { 6 } else { 8 }) {
        0 => Json::Null,
        1 => json!(random.bool()),
        2 => json!(random.i64(..) >> random.u8(0..64)),
        3 => json!(random.u64(..) >> random.u8(0..64)),
        // Fractions: an integral one comes back as an integer, which is the same number.
        4 => json!(f64::from(random.i32(..)) + 0.5),
        5 => json!(random_name(random)),
        6 => (0..random.u8(0..4))
            .map(|_| random_json(random, depth - 1))
            .collect(),
        _ => {
            let mut object = serde_json::Map::new();
            for _ in 0..random.u8(0..4) {
                object.insert(random_name(random), random_json(random, depth - 1));
            }
            object.into()
        }
    }
}

fn random_name(random: &mut fastrand::Rng) -> String {
    let names = [
        "",
        "a",
        "é😀\n",
        "7",
        "$",
        "$$",
        "$inc",
        "$$inc",
        "$$date",
        "$$$set",
        "$$bytes",
        "__proto__",
    ];
    match random.u8(0..40) {
        0 => (*random.choice(WORDS.iter()).unwrap()).to_owned(),
        _ => (*random.choice(names.iter()).unwrap()).to_owned(),
    }
}

#[test]
fn what_json_cannot_hold_is_refused() {
    let mut object = Object::new();
    object.insert(JsString::from_utf16(&[0xd800]), 1);
    assert_eq!(Value::from(object).to_json(), Err(JsonError::IllFormedName));
    let cycle = Value::Array(vec![Value::BackRef(0)]);
    assert_eq!(
        cycle.to_json().unwrap_err().to_string(),
        "the value contains itself (a cycle)"
    );
    let mut deep = json!(1);
    for _ in 0..300 {
        deep = json!([deep]);
    }
    assert_eq!(Value::from_json(deep), Err(JsonError::TooDeep));
}

#[test]
fn every_bit_of_a_number_survives_its_text() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let number = f64::from_bits(random.u64(..));
        if !number.is_finite() {
            continue;
        }
        let text = Value::Number(number).to_json().unwrap().to_string();
        let read = serde_json::from_str(&text).unwrap();
        let read = Value::from_json(read).unwrap();
        let same = Value::Number(number).to_json() == read.to_json();
        assert!(same, "{text} became {read:?}");
    }
}
