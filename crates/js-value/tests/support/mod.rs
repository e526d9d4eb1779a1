//! What several test binaries share.
#![allow(dead_code, reason = "each test binary uses a part")]

use js_value::{
    BigInt, Boxed, JsError, JsString, Object, RegExp, SparseArray, Value, View, ViewKind,
};

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("hex") as u8;
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    digits
        .chunks_exact(2)
        .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
        .collect()
}

/// A value of any kind but references and stubs, up to `depth` levels deep.
pub fn random_value(random: &mut fastrand::Rng, depth: u32) -> Value {
    let kinds = if depth == 0 { 12 } else { 18 };
    match random.u8(0..kinds) {
        0 => Value::Undefined,
        1 => Value::Null,
        2 => Value::Bool(random.bool()),
        3 => Value::Number(f64::from(random.i32(..))),
        4 => Value::Number(random.f64() * 1e9),
        5 => Value::BigInt(BigInt::from(random.i128(..)) >> random.u8(0..128)),
        6 | 7 => Value::String(random_string(random)),
        8 => Value::Date(f64::from(random.i32(..))),
        9 => RegExp {
            source: "a+".into(),
            flags: random
                .choice(["", "g", "dimsuy", "v"])
                .unwrap()
                .parse()
                .unwrap(),
        }
        .into(),
        10 => random_bytes(random),
        11 => Value::Boxed(Box::new(match random.u8(0..4) {
            0 => Boxed::Bool(random.bool()),
            1 => Boxed::Number(random.f64()),
            2 => Boxed::BigInt(random.i64(..).into()),
            _ => Boxed::String(random_string(random)),
        })),
        12 => list(random, depth).into(),
        13 => object(random, depth).into(),
        14 => Value::Map(
            list(random, depth)
                .into_iter()
                .map(|v| (unique(random), v))
                .collect(),
        ),
        15 => Value::Set((0..random.u8(0..4)).map(|_| unique(random)).collect()),
        16 => {
            let mut array = SparseArray::new(random.u32(1..100));
            for value in list(random, depth) {
                array.insert(random.u32(0..200), value);
            }
            array.properties = Object::from([("extra", random_value(random, depth - 1))]);
            array.into()
        }
        _ => {
            let classes = ["Error", "TypeError", "RangeError", "URIError"];
            let mut error = JsError::new(*random.choice(&classes).unwrap(), "message");
            error.stack = Some("stack".to_owned());
            error.cause = random
                .bool()
                .then(|| Box::new(random_value(random, depth - 1)));
            error.into()
        }
    }
}

fn list(random: &mut fastrand::Rng, depth: u32) -> Vec<Value> {
    (0..random.u8(0..6))
        .map(|_| random_value(random, depth - 1))
        .collect()
}

fn object(random: &mut fastrand::Rng, depth: u32) -> Object {
    let values = list(random, depth);
    values
        .into_iter()
        .map(|value| (random_name(random), value))
        .collect()
}

fn random_name(random: &mut fastrand::Rng) -> JsString {
    match random.u8(0..3) {
        0 => random.u32(..).to_string().into(),
        1 => random.u8(..).to_string().into(),
        _ => random_string(random),
    }
}

/// A key or element that no other equals, as Maps and Sets need.
fn unique(random: &mut fastrand::Rng) -> Value {
    Value::from(random.u64(..).to_string())
}

fn random_string(random: &mut fastrand::Rng) -> JsString {
    let length = random.usize(0..12);
    let limit = *random.choice(&[0x7f, 0xff, 0xffff]).unwrap();
    let units: Vec<u16> = (0..length).map(|_| random.u16(0..limit)).collect();
    JsString::from_utf16(&units)
}

fn random_bytes(random: &mut fastrand::Rng) -> Value {
    let kinds = [
        "Uint8Array",
        "Int16Array",
        "Float32Array",
        "BigInt64Array",
        "DataView",
    ];
    let kind = ViewKind::from_name(random.choice(kinds).unwrap()).unwrap();
    let bytes = (0..8 * random.usize(0..3)).map(|_| random.u8(..)).collect();
    match random.bool() {
        true => Value::ArrayBuffer(bytes),
        false => View::new(kind, bytes).into(),
    }
}
