//! The bytes of single values, of arguments, and of what crosses as external.

mod support;

use js_value::{
    DecodeErrorKind, DecodeLimits, EncodeError, EncodeOptions, ErrorForm, ExternalKind,
    HeaderError, Headers, JsError, Object, Request, Response, Value, View, ViewBuffer, decode,
    decode_args, encode, encode_args, encode_with, externals,
};
use support::{from_hex, to_hex};

fn read(hex: &str) -> Value {
    decode(&from_hex(hex), &DecodeLimits::default()).unwrap()
}

fn read_args(hex: &str) -> Vec<Value> {
    decode_args(&from_hex(hex), &DecodeLimits::default()).unwrap()
}

#[test]
fn the_bytes_that_workerd_sends_are_the_ones_we_send() {
    let cases = [
        (Value::from(vec![1, 2]), "ff0f41024902490424 0002"),
        (
            Value::from(vec![Object::from([("model", "x")])]),
            "ff0f41016f22056d6f64656c2201787b01240001",
        ),
        (Value::from(3), "ff0f4906"),
        (Value::Undefined, "ff0f5f"),
        (Value::from(1.5), "ff0f4e000000000000f83f"),
        (Value::Stub(0), "ff0f5c01"),
    ];
    for (value, hex) in cases {
        let hex = hex.replace(' ', "");
        assert_eq!(to_hex(&encode(&value).unwrap()), hex);
        assert_eq!(read(&hex), value);
    }
}

#[test]
fn two_byte_text_begins_at_an_even_offset() {
    for lead in ["", "a", "ab", "abc"] {
        let value = Value::from(vec![lead, "€uro"]);
        let bytes = encode(&value).unwrap();
        let text: Vec<u8> = "€uro".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let at = bytes
            .windows(text.len())
            .position(|window| window == text)
            .unwrap();
        assert_eq!(at % 2, 0);
        assert_eq!(read(&to_hex(&bytes)), value);
    }
}

#[test]
fn externals_follow_the_order_of_the_bytes() {
    let value = Value::from(vec![Value::Stub(7), Value::from(1), Value::Stub(3)]);
    let encoded = encode_with(&value, EncodeOptions::default()).unwrap();
    assert_eq!(encoded.externals, [7, 3]);
    let stub = ExternalKind::Stub;
    assert_eq!(externals(&value), [(7, stub), (3, stub)]);
    let expected = Value::from(vec![Value::Stub(0), Value::from(1), Value::Stub(1)]);
    assert_eq!(read(&to_hex(&encoded.bytes)), expected);
}

#[test]
fn stubs_in_properties_of_errors_travel_in_the_native_form_only() {
    let error = JsError::error("x").with_property("stub", Value::Stub(5));
    let value = Value::from(vec![Value::from(error), Value::Stub(6)]);
    let written = |errors| encode_with(&value, EncodeOptions { errors }).unwrap();
    assert_eq!(written(ErrorForm::Plain).externals, [6]);
    assert_eq!(written(ErrorForm::Native).externals, [5, 6]);
    let stub = ExternalKind::Stub;
    assert_eq!(externals(&value), [(5, stub), (6, stub)]);
}

#[test]
fn a_stream_is_one_external_wherever_it_is() {
    use ExternalKind::{ReadableStream, Stub, WritableStream};
    let mut response = Response::new(200);
    response.body = Some(4);
    response.other = Object::from([("to", Value::WritableStream(5))]);
    let mut request = Request::new("POST", "http://h/");
    request.body = Some(6);
    let value = Value::from(vec![
        Value::from(response),
        Value::Stub(2),
        request.into(),
        Value::ReadableStream(4),
        Value::Stub(2),
        Object::new().into(),
        Value::BackRef(11),
        Value::BackRef(2),
    ]);
    let encoded = encode_with(&value, EncodeOptions::default()).unwrap();
    assert_eq!(encoded.externals, [4, 5, 2, 6, 2]);
    let kinds = [
        (4, ReadableStream),
        (5, WritableStream),
        (2, Stub),
        (6, ReadableStream),
        (2, Stub),
    ];
    assert_eq!(externals(&value), kinds);
    assert!(
        value.has_externals() && !Value::from(Request::new("GET", "http://h/")).has_externals()
    );

    let Value::Array(read) = read(&to_hex(&encoded.bytes)) else {
        panic!("no array");
    };
    // The fourth element is the first one's body, and the object is still the one that was meant.
    assert_eq!(read[3], Value::BackRef(2));
    assert_eq!(read[6], Value::BackRef(10));
    assert_eq!(read[5], Object::new().into());
    let again = encode(&Value::Array(read)).unwrap();
    assert_eq!(to_hex(&again), to_hex(&encoded.bytes));
}

#[test]
fn arguments_share_a_response_and_its_parts() {
    // f(response, response.headers, response.body, response): sent by workerd as one array.
    let row = include_str!("cases.jsonl").lines();
    let row = row
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|row| row["name"] == "Response and its headers")
        .unwrap();
    let hex = row["hex"].as_str().unwrap();
    // The only argument is the list: as arguments, without the outer array, its objects count from one less.
    let list = read_args(hex).remove(0);
    let bytes = to_hex(&encode(&list).unwrap());
    let arguments = read_args(&bytes);
    let Value::Response(response) = &arguments[0] else {
        panic!("{}", arguments[0]);
    };
    assert_eq!(arguments[1], response.headers.clone().into());
    assert_eq!(arguments[3], arguments[0]);
    // Both have the one stream, which is written once.
    let encoded = encode_args(&arguments).unwrap();
    assert_eq!(to_hex(&encoded).matches("5c03").count(), 1);
    assert_eq!(read_args(&to_hex(&encoded)), arguments);
}

#[test]
fn headers_compare_names_without_case_and_keep_their_order() {
    let mut headers = Headers::new();
    for (name, value) in [("X-A", " 1 "), ("b", "2"), ("x-a", "3")] {
        headers.append(name, value).unwrap();
    }
    let copy = headers.clone();
    headers.set("X-a", "4").unwrap();
    assert_eq!(
        headers.iter().collect::<Vec<_>>(),
        [("b", "2"), ("X-a", "4")]
    );
    assert_eq!(copy.get_all("x-A").collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(headers.append("a:b", "c"), Err(HeaderError::Name));
    assert_eq!(headers.set("b", "a\nb"), Err(HeaderError::Value));
    assert_eq!(headers.get("B"), Some("2"));
    assert!(headers.remove("B") && !headers.remove("B"));
}

#[test]
fn secrets_of_requests_are_not_shown() {
    let mut request = Request::new("GET", "http://h/p?token=t");
    for name in ["Authorization", "x"] {
        request.headers.append(name, "secret").unwrap();
    }
    request.body = Some(0);
    let shown =
        "Request(GET http://h/p) { 'Authorization': [6 bytes], 'x': 'secret' } [ReadableStream 0]";
    assert_eq!(Value::from(request).to_string(), shown);
}

#[test]
fn references_keep_their_object_when_an_error_loses_its_properties() {
    let error = JsError::error("x").with_property("lost", Object::new());
    let value = |reference| {
        let parts = vec![
            error.clone().into(),
            Object::new().into(),
            Value::BackRef(reference),
        ];
        Value::Array(parts)
    };
    // 0 the array, 1 the error, 2 its property, 3 the object.
    let plain = read(&to_hex(&encode(&value(3)).unwrap()));
    assert_eq!(plain.get("2"), Some(&Value::BackRef(2)));
    assert_eq!(encode(&value(2)), Err(EncodeError::LostReference(2)));
    let errors = ErrorForm::Native;
    let native = encode_with(&value(3), EncodeOptions { errors }).unwrap();
    assert_eq!(read(&to_hex(&native.bytes)), value(3));
}

#[test]
fn arguments_are_a_dense_array() {
    let arguments = [Value::from(1), Value::from(2)];
    let bytes = encode_args(&arguments).unwrap();
    assert_eq!(to_hex(&bytes), "ff0f410249024904240002");
    assert_eq!(read_args(&to_hex(&bytes)), arguments);
    assert_eq!(read_args("ff0f4100240000"), []);
}

#[test]
fn what_is_no_array_is_no_arguments() {
    let error = decode_args(&from_hex("ff0f6f7b00"), &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::NotArguments);
}

#[test]
fn each_argument_stands_alone() {
    // f(o, [o, o], b, b.buffer) where o contains itself.
    let bytes = read_args(
        "ff0f4104 6f2204 73656c66 5e01 7b01 4102 5e01 5e01 240002 4202010256420002 00 5e03 240004",
    );
    let itself = Object::from([("self", Value::BackRef(0))]);
    let in_array = Object::from([("self", Value::BackRef(1))]);
    assert_eq!(
        bytes,
        [
            itself.into(),
            Value::Array(vec![in_array.into(), Value::BackRef(1)]),
            View::uint8([1, 2]).into(),
            Value::ArrayBuffer(vec![1, 2]),
        ]
    );
    let again = encode_args(&bytes).unwrap();
    assert_eq!(read_args(&to_hex(&again)), bytes);
}

#[test]
fn arguments_may_refer_to_the_list_itself() {
    let arguments = read_args("ff0f41015e00240001");
    assert_eq!(arguments, [Value::Array(vec![Value::BackRef(0)])]);
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let mut deep = Value::Null;
    for _ in 0..300 {
        deep = Value::Array(vec![deep]);
    }
    assert_eq!(encode(&deep), Err(EncodeError::TooDeep));
    let ahead = Value::Array(vec![Value::BackRef(1), Object::new().into()]);
    assert_eq!(encode(&ahead), Err(EncodeError::DanglingReference(1)));
    let view = View {
        length: 9,
        ..View::uint8([1])
    };
    assert_eq!(
        encode(&view.into()),
        Err(EncodeError::BadView("Uint8Array"))
    );
    let shared = View {
        buffer: ViewBuffer::Shared(0),
        ..View::uint8([])
    };
    assert_eq!(
        encode(&shared.into()),
        Err(EncodeError::DanglingReference(0))
    );
}

#[test]
fn limits_are_the_callers_to_choose() {
    let limits = DecodeLimits {
        max_values: 3,
        max_depth: 1,
        ..DecodeLimits::default()
    };
    let kind = |hex| decode(&from_hex(hex), &limits).map_err(|error| error.kind);
    assert!(kind("ff0f410249024904240002").is_ok());
    assert_eq!(
        kind("ff0f4103490249044906240003"),
        Err(DecodeErrorKind::TooManyValues(3))
    );
    assert_eq!(
        kind("ff0f41014100240000240001"),
        Err(DecodeErrorKind::TooDeep(1))
    );
}

#[test]
fn errors_tell_where() {
    let error = decode(&from_hex("ff0f41024902 01"), &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "at byte 7: 0x01 does not begin a value");
}
