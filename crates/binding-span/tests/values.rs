//! What becomes an attribute's value: numbers at their edges, typed values, JSON.

use binding_span::AttributeValue::{self, Bool, Float64, Int64};
use binding_span::{AttributeList, Enrichment, IntoAttributeValue, Maybe};
use serde_json::json;

const TWO_POW_53: f64 = 9_007_199_254_740_992.0;
const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;

/// Equal, with NaN equal to itself and 0 different from -0.
fn same(a: &AttributeValue, b: &AttributeValue) -> bool {
    match (a, b) {
        (Float64(a), Float64(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

#[test]
fn a_number_is_int64_exactly_when_it_is_one() {
    let below_2_63 = f64::from_bits(TWO_POW_63.to_bits() - 1);
    let cases = [
        (0.0, Int64(0)),
        (-0.0, Int64(0)),
        (-1.0, Int64(-1)),
        (1.5, Float64(1.5)),
        (5e-324, Float64(5e-324)),
        (TWO_POW_53 - 1.0, Int64((1 << 53) - 1)),
        (TWO_POW_53, Int64(1 << 53)),
        (TWO_POW_53 + 2.0, Int64((1 << 53) + 2)),
        (below_2_63, Int64(i64::MAX - 1023)),
        (TWO_POW_63, Float64(TWO_POW_63)),
        (-TWO_POW_63, Int64(i64::MIN)),
        (-TWO_POW_63 - 2048.0, Float64(-TWO_POW_63 - 2048.0)),
        (f64::MAX, Float64(f64::MAX)),
        (f64::NAN, Float64(f64::NAN)),
        (f64::INFINITY, Float64(f64::INFINITY)),
        (f64::NEG_INFINITY, Float64(f64::NEG_INFINITY)),
    ];
    for (number, expected) in cases {
        let value = AttributeValue::from_number(number);
        assert!(same(&value, &expected), "{number}: {value:?}");
    }
}

#[test]
fn a_typed_value_keeps_its_type() {
    let cases: [(AttributeValue, AttributeValue); 9] = [
        (3.0_f64.into(), Float64(3.0)),
        ((-0.0_f64).into(), Float64(-0.0)),
        (f64::NAN.into(), Float64(f64::NAN)),
        (3_i64.into(), Int64(3)),
        (i64::MIN.into(), Int64(i64::MIN)),
        ((i64::MAX as u64).into(), Int64(i64::MAX)),
        ((i64::MAX as u64 + 1).into(), Float64(TWO_POW_63)),
        (u64::MAX.into(), Float64(2.0 * TWO_POW_63)),
        (true.into(), Bool(true)),
    ];
    for (value, expected) in cases {
        assert!(same(&value, &expected), "{value:?} is not {expected:?}");
    }
}

#[test]
fn json_scalars_and_lists_of_them_are_values_and_the_rest_is_skipped() {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let cases = [
        (json!("text"), Some("text".into())),
        (json!(false), Some(Bool(false))),
        (parse("3"), Some(Int64(3))),
        (parse("3.0"), Some(Int64(3))),
        (parse("-0"), Some(Int64(0))),
        (parse("1e3"), Some(Int64(1000))),
        (parse("1.5"), Some(Float64(1.5))),
        (
            parse("9007199254740993"),
            Some(Int64(9_007_199_254_740_993)),
        ),
        (parse("9223372036854775807"), Some(Int64(i64::MAX))),
        (parse("9223372036854775808"), Some(Float64(TWO_POW_63))),
        (parse("-9223372036854775808"), Some(Int64(i64::MIN))),
        (parse("1e300"), Some(Float64(1e300))),
        (json!(null), None),
        (json!([1, 2]), Some([1_i64, 2].into())),
        (parse("[1.0, -0]"), Some([1_i64, 0].into())),
        (parse("[1, 2.5]"), Some([1.0, 2.5].into())),
        (parse("[2.5, 1]"), Some([2.5, 1.0].into())),
        (
            parse("[1, 9223372036854775808]"),
            Some([1.0, TWO_POW_63].into()),
        ),
        (json!(["a", ""]), Some(["a", ""].into())),
        (json!([true]), Some([true].into())),
        (json!([]), None),
        (json!([1, "a"]), None),
        (json!([true, 1]), None),
        (json!(["a", null]), None),
        (json!([null, "a"]), None),
        (json!([[1], [2]]), None),
        (json!([1, [2]]), None),
        (json!([{"a": 1}]), None),
        (json!({"a": 1}), None),
    ];
    for (value, expected) in cases {
        assert_eq!((&value).into_attribute_value(), expected, "{value}");
        assert_eq!(value.into_attribute_value(), expected);
    }
}

#[test]
fn what_holds_elements_of_one_type_is_a_list() {
    let strings = || AttributeList::Strings(vec!["a".into(), "b".into()]);
    let cases: [(AttributeValue, AttributeList); 9] = [
        (["a", "b"].into(), strings()),
        (vec!["a", "b"].into(), strings()),
        (["a", "b"].as_slice().into(), strings()),
        (vec!["a".to_owned(), "b".to_owned()].into(), strings()),
        (
            ["a".to_owned(), "b".to_owned()].as_slice().into(),
            strings(),
        ),
        (
            [true, false].into(),
            AttributeList::Bools(vec![true, false]),
        ),
        ([1, -2].into(), AttributeList::Int64s(vec![1, -2])),
        (
            vec![u32::MAX].into(),
            AttributeList::Int64s(vec![u32::MAX.into()]),
        ),
        ([1.0, 2.5].into(), AttributeList::Float64s(vec![1.0, 2.5])),
    ];
    for (value, list) in cases {
        assert_eq!(value, AttributeValue::from(list));
    }
}

#[test]
fn an_empty_list_is_no_value() {
    let empty = Vec::<String>::new;
    assert_eq!(empty().into_attribute_value(), None);
    assert_eq!(Maybe(Some(empty())).into_attribute_value(), None);
    let list = AttributeValue::from(AttributeList::Bools(Vec::new()));
    assert!(Enrichment::new().attribute("k", list).is_silent());
}

#[test]
fn a_value_is_as_large_as_its_text() {
    assert_eq!(size_of::<AttributeValue>(), size_of::<String>());
}

#[test]
fn what_a_list_takes_in_memory_is_more_than_what_it_counts_for() {
    let empty = AttributeValue::from([""; 64]);
    assert_eq!(empty.size(), 0);
    assert!(empty.footprint() >= 64 * size_of::<String>());
    assert_eq!(AttributeValue::from("text").footprint(), 4);
    assert_eq!(AttributeValue::from([1.5, 2.5]).size(), 16);
}

#[test]
fn a_list_is_printed_so_that_its_elements_can_be_told_apart() {
    let cases: [(AttributeValue, &str); 4] = [
        (
            ["a, b", "c\"\u{1b}[2J"].into(),
            r#"["a, b", "c\"\u{1b}[2J"]"#,
        ),
        ([1, 2].into(), "[1, 2]"),
        ([1.0, f64::NAN].into(), "[1.0, NaN]"),
        ([true].into(), "[true]"),
    ];
    for (value, printed) in cases {
        assert_eq!(value.to_string(), printed);
    }
}
