//! Order and lookup of properties, below and above the size at which they are hashed.

use super::*;

fn names(object: &Object) -> Vec<String> {
    object.keys().map(JsString::to_string).collect()
}

#[test]
fn indexes_come_first_and_ascending_however_they_are_inserted() {
    for size in [3, 40] {
        let mut object = Object::new();
        for i in (0..size).rev() {
            object.insert(format!("k{i}"), i);
            object.insert(i.to_string(), i);
        }
        let mut expected: Vec<String> = (0..size).map(|i| i.to_string()).collect();
        expected.extend((0..size).rev().map(|i| format!("k{i}")));
        assert_eq!(names(&object), expected);
        let collected: Object = object.clone().into_iter().rev_pairs().collect();
        assert_eq!(
            names(&collected)[..size as usize],
            expected[..size as usize]
        );
    }
}

trait RevPairs: Iterator<Item = (JsString, Value)> + Sized {
    fn rev_pairs(self) -> std::iter::Rev<std::vec::IntoIter<(JsString, Value)>> {
        self.collect::<Vec<_>>().into_iter().rev()
    }
}
impl<I: Iterator<Item = (JsString, Value)>> RevPairs for I {}

#[test]
fn a_replaced_value_keeps_its_place() {
    let mut object = Object::from([("a", 1), ("b", 2)]);
    assert_eq!(object.insert("a", 3), Some(Value::from(1)));
    assert_eq!(object, Object::from([("a", 3), ("b", 2)]));
}

#[test]
fn of_equal_names_the_last_value_counts() {
    assert_eq!(
        Object::from([("a", 1), ("b", 2), ("a", 3)]),
        Object::from([("a", 3), ("b", 2)])
    );
    let many: Object = (0..100).map(|i| (format!("k{}", i % 50), i)).collect();
    assert_eq!(many.len(), 50);
    assert_eq!(many["k7"], Value::from(57));
}

#[test]
fn only_canonical_numbers_below_2_32_minus_1_are_indexes() {
    for (name, index) in [
        ("0", Some(0)),
        ("4294967294", Some(4294967294)),
        ("4294967295", None),
        ("01", None),
        ("-1", None),
        ("", None),
        ("1.5", None),
        ("99999999999", None),
    ] {
        assert_eq!(array_index(&JsString::from(name)), index, "{name:?}");
    }
}

#[test]
fn look_up_and_removal_work_in_both_sizes() {
    for size in [2, 50] {
        let mut object: Object = (0..size).map(|i| (format!("k{i}"), i)).collect();
        assert_eq!(object.get("k1"), Some(&Value::from(1)));
        *object.get_mut("k1").unwrap() = Value::from("new");
        assert_eq!(object.remove("k0"), Some(Value::from(0)));
        assert_eq!(object["k1"], Value::from("new"));
        assert_eq!(object["missing"], Value::Undefined);
    }
}
