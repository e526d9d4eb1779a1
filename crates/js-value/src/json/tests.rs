use super::*;
use crate::{JsError, JsString, Object, SparseArray, Value, View, ViewKind};
use serde_json::json;

#[test]
fn a_hole_is_not_undefined() {
    let mut array = SparseArray::new(2);
    array.insert(0, 1);
    assert_eq!(
        Value::from(array).to_json().unwrap(),
        json!({"$array": {"length": 2, "elements": {"0": 1}}})
    );
    let _ = (
        JsError::error(""),
        JsString::default(),
        Object::new(),
        View::uint8([]),
        ViewKind::DataView,
    );
}
