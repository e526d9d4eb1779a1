//! Small calls are the usual ones: they must stay cheap. Its own binary, because it counts every
//! allocation of the process.

mod counting;

use counting::counted;
use js_value::{DecodeLimits, Object, Value, decode_args, encode_args, from_value, to_value};

/// Arguments, and how often reading and writing them may allocate.
fn calls() -> Vec<(&'static str, Vec<Value>, usize, usize)> {
    let model = Object::from([("model", "x")]);
    let wide: Object = (0..12).map(|i| (format!("column {i}"), i)).collect();
    vec![
        // The list.
        ("two numbers", vec![1.into(), 2.into()], 1, 1),
        // The list, the object's properties, a name and a string.
        ("an object", vec![model.into()], 4, 1),
        // The list, the properties (grown twice), twelve names; the bytes grow twice.
        ("a row", vec![wide.into()], 16, 3),
    ]
}

#[test]
fn small_calls_allocate_only_what_they_keep() {
    for (name, arguments, read, written) in calls() {
        let (bytes, count) = counted(|| encode_args(&arguments).unwrap());
        assert!(count <= written, "writing {name}: {count}");
        let (decoded, count) = counted(|| decode_args(&bytes, &DecodeLimits::default()).unwrap());
        assert!(count <= read, "reading {name}: {count}");
        assert_eq!(decoded, arguments);
    }
}

#[test]
fn serde_adds_little() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Request {
        model: String,
        tokens: u32,
    }
    let request = Request {
        model: "x".into(),
        tokens: 5,
    };
    // The properties, two names and a string.
    let (value, count) = counted(|| to_value(&request).unwrap());
    assert!(count <= 4, "{count}");
    // Everything that is needed is moved.
    let (request, count) = counted(|| from_value::<Request>(value).unwrap());
    assert!(count == 0, "{count}");
    assert_eq!((request.model.as_str(), request.tokens), ("x", 5));
}
