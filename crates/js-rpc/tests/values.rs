//! Every kind of JavaScript value goes through a call and back unchanged.

mod common;

use common::{World, every_way, service};
use js_rpc::{Args, Context, JsError, Value};
use js_value::{BigInt, Boxed, JsString, Object, RegExp, SparseArray, View, ViewBuffer, ViewKind};

fn view(kind: ViewKind) -> Value {
    Value::from(View::new(kind, (0..16).collect()))
}

fn values() -> Vec<Value> {
    let text = |units: &[u16]| Value::String(JsString::from_utf16(units));
    let mut sparse = SparseArray::new(5);
    sparse.insert(1, "x");
    let mut properties = SparseArray::new(1);
    properties.insert(0, 1);
    properties.properties.insert("extra", true);
    let error = JsError::range_error("far")
        .with_cause(JsError::new("QuotaError", "near"))
        .with_property("code", 7);
    let window = View {
        kind: ViewKind::DataView,
        buffer: ViewBuffer::Own(vec![1, 2, 3, 4]),
        offset: 1,
        length: 2,
    };
    let mut all = vec![
        Value::Undefined,
        Value::Null,
        Value::Bool(true),
        Value::Number(-0.0),
        Value::Number(1.5),
        Value::Number(f64::INFINITY),
        Value::from(i64::from(i32::MIN)),
        Value::from(9_007_199_254_740_993_i64),
        Value::BigInt("-123456789012345678901234567890".parse::<BigInt>().unwrap()),
        Value::BigInt(BigInt::from(0)),
        Value::from(""),
        Value::from("latin é"),
        Value::from("wide 漢字 🦀"),
        Value::from("x".repeat(100_000)),
        text(&[0xd800, 0x61]),
        Value::Date(0.0),
        Value::Date(-8.64e15),
        Value::from(RegExp {
            source: "a/b".into(),
            flags: "gi".parse().unwrap(),
        }),
        Value::Array(vec![]),
        Value::from(vec![Value::from(1), Value::Undefined, Value::from("x")]),
        Value::from(sparse),
        Value::from(properties),
        Value::from(Object::new()),
        Value::from(Object::from([
            ("7", Value::from(1)),
            ("b", Value::from(vec![Value::Null])),
            ("", Value::from(Object::from([("é", true)]))),
        ])),
        Value::Map(vec![
            (Value::from(1), Value::from("one")),
            (Value::from(Object::new()), Value::Undefined),
        ]),
        Value::Set(vec![Value::from("a"), Value::Set(vec![])]),
        Value::ArrayBuffer(vec![]),
        Value::ArrayBuffer(vec![0, 255]),
        Value::from(window),
        Value::from(error),
        Value::from(JsError::type_error("")),
        Value::Boxed(Box::new(Boxed::Number(1.0))),
        Value::Boxed(Box::new(Boxed::String("s".into()))),
        Value::Boxed(Box::new(Boxed::Bool(false))),
        Value::Boxed(Box::new(Boxed::BigInt(BigInt::from(9)))),
        // An array that holds itself.
        Value::Array(vec![Value::BackRef(0), Value::from(1)]),
    ];
    use ViewKind::*;
    let kinds = [
        Int8Array,
        Uint8Array,
        Uint8ClampedArray,
        Int16Array,
        Uint16Array,
        Int32Array,
        Uint32Array,
        Float16Array,
        Float32Array,
        Float64Array,
        BigInt64Array,
        BigUint64Array,
        DataView,
    ];
    all.extend(kinds.map(view));
    all
}

fn echo() -> impl js_rpc::Service {
    service(async |method: &str, args: Args, _: &Context| {
        let value = match method {
            "first" => args.values.into_iter().next().unwrap(),
            _ => Value::Array(args.values),
        };
        Ok(value.into())
    })
}

#[tokio::test(flavor = "local")]
async fn every_kind_of_value_comes_back_as_it_went() {
    every_way(echo, async |world: &World| {
        for value in values() {
            let args = Args::from(vec![value.clone()]);
            let reply = world.binding().call("first", args).await;
            let reply = reply.unwrap_or_else(|e| panic!("{value:?}: {e}"));
            let back = reply.value();
            match &value {
                Value::Number(number) => {
                    let same = back.as_f64().unwrap().to_bits();
                    assert_eq!(same, number.to_bits());
                }
                _ => assert_eq!(format!("{back:?}"), format!("{value:?}")),
            }
        }
        let args = Args::from(vec![Value::Number(f64::NAN)]);
        let reply = world.binding().call("first", args).await.unwrap();
        assert!(reply.value().as_f64().unwrap().is_nan());
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn arguments_are_as_many_as_were_given() {
    every_way(echo, async |world: &World| {
        for n in [0, 1, 2, 7, 1000] {
            let args: Vec<Value> = (0..n).map(Value::from).collect();
            let call = world.binding().call("echo", Args::from(args.clone()));
            assert_eq!(call.await.unwrap().value(), &Value::Array(args));
        }
        let none = world.binding().call("echo", ()).await.unwrap();
        assert_eq!(none.value(), &Value::Array(vec![]));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn rust_types_go_through_serde_both_ways() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug, Clone)]
    struct Order {
        id: u64,
        lines: Vec<(String, f64)>,
        note: Option<String>,
        paid: bool,
    }
    let order = Order {
        id: 1 << 60,
        lines: vec![("a".into(), 1.5), ("b".into(), -3.0)],
        note: None,
        paid: true,
    };
    every_way(echo, async |world: &World| {
        let call = world.binding().call("echo", (order.clone(), 7, "x"));
        let (back, seven, x): (Order, i64, String) = call.await.unwrap().parse().unwrap();
        assert_eq!((back, seven, x.as_str()), (order.clone(), 7, "x"));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_value_of_many_megabytes_arrives_whole() {
    every_way(echo, async |world: &World| {
        let bytes = Value::ArrayBuffer((0..8 << 20).map(|i: u32| (i % 251) as u8).collect());
        let call = world
            .binding()
            .call("first", Args::from(vec![bytes.clone()]));
        assert!(call.await.unwrap().value() == &bytes);
    })
    .await;
}
