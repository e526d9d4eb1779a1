//! What a callee may say: merging, the caps at their limit and one past it.

use binding_span::{AttributeValue, DropReason, Enrichment, Limits, Maybe};

fn keys(said: &Enrichment) -> Vec<&str> {
    said.iter().map(|a| a.key.as_ref()).collect()
}

#[test]
fn the_latest_name_wins_and_attributes_are_upserted_in_place() {
    let mut said = Enrichment::new()
        .name("first")
        .attribute("a", 1)
        .attribute("b", "two");
    said.merge(
        Enrichment::new()
            .name("second")
            .attribute("c", true)
            .attribute("a", 1.5),
    );
    assert_eq!(said.span_name(), Some("second"));
    assert_eq!(keys(&said), ["a", "b", "c"]);
    assert_eq!(said.get("a"), Some(&AttributeValue::Float64(1.5)));
    assert!(said.dropped().is_empty());
}

#[test]
fn attributes_alone_leave_the_name() {
    let mut said = Enrichment::new().name("d1.query");
    said.merge(Enrichment::new().attribute("rows", 3));
    assert_eq!(said.span_name(), Some("d1.query"));
}

#[test]
fn an_empty_name_is_ignored_and_not_counted() {
    let said = Enrichment::new().name("d1.query").name("");
    assert_eq!(said.span_name(), Some("d1.query"));
    assert!(said.dropped().is_empty());
}

#[test]
fn no_value_is_skipped_and_leaves_the_earlier_one() {
    let said = Enrichment::new()
        .attribute("a", 1)
        .attribute("a", Maybe(None::<i64>));
    assert_eq!(said.get("a"), Some(&AttributeValue::Int64(1)));
    assert!(said.dropped().is_empty());
}

/// Something that fits, something one byte past the cap, and the reason that is counted.
struct Cap {
    fits: Enrichment,
    too_much: Enrichment,
    reason: DropReason,
}

fn attributes(n: usize) -> Enrichment {
    (0..n).fold(Enrichment::new(), |said, i| {
        said.attribute(format!("k{i}"), true)
    })
}

/// Exactly `bytes` by the total cap: two texts and their keys of one byte.
fn of_size(bytes: usize) -> Enrichment {
    let first = Limits::DEFAULT.string_bytes - 1;
    Enrichment::new()
        .attribute("a", "x".repeat(first))
        .attribute("b", "x".repeat(bytes - first - 2))
}

#[test]
fn every_cap_holds_at_its_limit_and_not_one_past_it() {
    let Limits {
        attributes: most,
        key_bytes,
        string_bytes,
        name_bytes,
        total_bytes,
        list_elements,
    } = Limits::DEFAULT;
    assert_eq!(list_elements, 64);
    assert_eq!(
        (most, key_bytes, string_bytes, name_bytes, total_bytes),
        (256, 256, 131_072, 256, 262_144)
    );
    let cases = [
        Cap {
            fits: Enrichment::new().name("n".repeat(name_bytes)),
            too_much: Enrichment::new().name("n".repeat(name_bytes + 1)),
            reason: DropReason::NameTooLong,
        },
        Cap {
            // The length is in bytes of UTF-8, not in characters.
            fits: Enrichment::new().name("é".repeat(name_bytes / 2)),
            too_much: Enrichment::new().name("é".repeat(name_bytes / 2) + "n"),
            reason: DropReason::NameTooLong,
        },
        Cap {
            fits: Enrichment::new().attribute("k".repeat(key_bytes), 1),
            too_much: Enrichment::new().attribute("k".repeat(key_bytes + 1), 1),
            reason: DropReason::KeyTooLong,
        },
        Cap {
            fits: Enrichment::new().attribute("k", 1),
            too_much: Enrichment::new().attribute("", 1),
            reason: DropReason::KeyEmpty,
        },
        Cap {
            fits: Enrichment::new().attribute("k", "v".repeat(string_bytes)),
            too_much: Enrichment::new().attribute("k", "v".repeat(string_bytes + 1)),
            reason: DropReason::StringTooLong,
        },
        Cap {
            fits: Enrichment::new().attribute("k", vec!["v".repeat(string_bytes)]),
            too_much: Enrichment::new().attribute("k", vec!["v".repeat(string_bytes + 1)]),
            reason: DropReason::StringTooLong,
        },
        Cap {
            fits: Enrichment::new().attribute("k", vec![true; list_elements]),
            too_much: Enrichment::new().attribute("k", vec![true; list_elements + 1]),
            reason: DropReason::ListTooLong,
        },
        Cap {
            // Each of the texts fits.
            fits: Enrichment::new().attribute("k", vec!["v".repeat(total_bytes / 4); 3]),
            too_much: Enrichment::new().attribute("k", vec!["v".repeat(total_bytes / 4); 4]),
            reason: DropReason::TotalBytes,
        },
        Cap {
            fits: attributes(most),
            too_much: attributes(most + 1),
            reason: DropReason::TooManyAttributes,
        },
        Cap {
            fits: of_size(total_bytes),
            too_much: of_size(total_bytes + 1),
            reason: DropReason::TotalBytes,
        },
        Cap {
            fits: Enrichment::new(),
            too_much: Enrichment::new().attribute("binding_span.dropped", 7),
            reason: DropReason::DeniedKey,
        },
    ];
    for Cap {
        fits,
        too_much,
        reason,
    } in cases
    {
        assert!(fits.dropped().is_empty(), "{reason}: {}", fits.dropped());
        assert_eq!(too_much.dropped().count(reason), 1, "{reason}");
        assert_eq!(too_much.dropped().total(), 1, "{reason}");
        assert!(too_much.size() <= total_bytes);
    }
}

#[test]
fn a_rejected_name_or_value_leaves_the_earlier_one() {
    let mut said = Enrichment::new().name("good").attribute("k", "good");
    let long = "x".repeat(Limits::DEFAULT.string_bytes + 1);
    said.merge(Enrichment::new().name(long.clone()).attribute("k", long));
    assert_eq!(said.span_name(), Some("good"));
    assert_eq!(said.get("k"), Some(&AttributeValue::from("good")));
    assert_eq!(
        said.dropped().to_string(),
        "name_too_long=1 string_too_long=1"
    );
}

#[test]
fn at_the_attribute_cap_a_known_key_can_still_be_replaced() {
    let mut said = attributes(256);
    said.set_attribute("k7", "new");
    assert_eq!(said.get("k7"), Some(&AttributeValue::from("new")));
    assert!(said.dropped().is_empty());
}

#[test]
fn the_total_counts_what_is_there_and_not_what_was_replaced() {
    let mut said = Enrichment::new();
    for _ in 0..10 {
        said.set_name("n".repeat(200));
        said.set_attribute("k", "v".repeat(100 * 1024));
    }
    assert_eq!(said.size(), 200 + 1 + 100 * 1024);
    said.set_attribute("k", 1);
    assert_eq!(said.size(), 200 + 1 + 8, "a scalar counts for eight");
    assert!(said.dropped().is_empty());
}

#[test]
fn a_list_counts_with_the_sum_of_its_elements_also_where_it_is_replaced_or_removed() {
    let mut said = Enrichment::new().attribute("k", ["stop", "length", ""]);
    assert_eq!(said.size(), 1 + 10);
    said.set_attribute("k", [1.5, 2.5, 3.5]);
    assert_eq!(said.size(), 1 + 3 * 8);
    said.set_attribute("k", [true]);
    assert_eq!(said.size(), 1 + 8);
    said.set_attribute("k", Vec::<i64>::new());
    assert_eq!(said.get("k"), Some(&[true].into()), "nothing is said");
    said.set_attribute("k", vec![0_i64; 65]);
    assert_eq!(said.get("k"), Some(&[true].into()), "it is dropped whole");
    assert_eq!(said.dropped().to_string(), "list_too_long=1");
    said.merge(Enrichment::new().attribute("k", ["a", "b"]));
    assert_eq!(said.size(), 1 + 2);
    said.remove("k");
    assert_eq!(said.size(), 0);
}

#[test]
fn a_list_changes_when_an_element_does_doubles_by_their_bits() {
    let mut said = Enrichment::new()
        .attribute("texts", ["a", "b"])
        .attribute("doubles", [f64::NAN, 0.0]);
    let same = said.clone();
    assert!(said.absorb(same).is_empty());
    let newer = Enrichment::new()
        .attribute("texts", ["a", "c"])
        .attribute("doubles", [f64::NAN, -0.0]);
    let changed = said.absorb(newer);
    assert_eq!(changed.attributes().len(), 2);
    let longer = Enrichment::new().attribute("texts", ["a", "c", "d"]);
    assert_eq!(said.absorb(longer).attributes().len(), 1);
}

#[test]
fn a_merge_is_held_to_the_limits_of_what_is_merged_into() {
    let wide = Limits {
        name_bytes: 1000,
        ..Limits::DEFAULT
    };
    let mut said = Enrichment::new();
    said.merge(Enrichment::with_limits(wide).name("n".repeat(1000)));
    assert_eq!(said.span_name(), None);
    assert_eq!(said.dropped().count(DropReason::NameTooLong), 1);
    assert_eq!(said.limits(), &Limits::DEFAULT);
}

#[test]
fn merging_adds_up_the_drops_of_both_without_losing_any() {
    let drops = |n| (0..n).fold(Enrichment::new(), |said, _| said.attribute("", 1));
    for first in [drops(2), drops(2).attribute("k", 1)] {
        let mut said = first;
        said.merge(drops(3));
        said.merge(drops(4).name("n"));
        assert_eq!(said.dropped().count(DropReason::KeyEmpty), 9);
    }
}

/// Everything of an enrichment, doubles by their bits.
fn shown(said: &Enrichment) -> String {
    let values = said.iter().map(|a| match a.value {
        AttributeValue::Float64(double) => format!(" {}={:x}", a.key, double.to_bits()),
        _ => format!(" {}={}", a.key, a.value),
    });
    let name = said.span_name().unwrap_or("-");
    format!("{name}{} [{}]", values.collect::<String>(), said.dropped())
}

#[test]
fn only_what_changed_is_told_of_a_merge() {
    let new = Enrichment::new;
    let odd_nan = f64::from_bits(f64::NAN.to_bits() ^ 1);
    let before = new()
        .name("d1.query")
        .attribute("a", 1)
        .attribute("nan", f64::NAN)
        .attribute("zero", 0.0);
    let cases = [
        (new(), "- []"),
        (new().name("d1.query"), "- []"),
        (new().name("d1.batch"), "d1.batch []"),
        (new().attribute("a", 1), "- []"),
        (new().attribute("a", 1.0), "- a=3ff0000000000000 []"),
        (new().attribute("b", "x").attribute("a", 2), "- b=x a=2 []"),
        (new().attribute("nan", f64::NAN), "- []"),
        (new().attribute("nan", odd_nan), "- nan=7ff8000000000001 []"),
        (new().attribute("zero", -0.0), "- zero=8000000000000000 []"),
        (new().attribute("", 1).attribute("a", 1), "- [key_empty=1]"),
    ];
    for (newer, expected) in cases {
        let (mut said, mut merged) = (before.clone(), before.clone());
        let changed = said.absorb(newer.clone());
        merged.merge(newer);
        assert_eq!(shown(&changed), expected);
        assert_eq!(shown(&said), shown(&merged), "as `merge` does");
        let mut replayed = before.clone();
        replayed.merge(changed);
        assert_eq!(
            shown(&replayed),
            shown(&said),
            "enough for who saw the rest"
        );
    }
}

#[test]
fn what_a_merge_rejects_is_told_once_and_not_again() {
    let small = Limits {
        attributes: 2,
        name_bytes: 4,
        ..Limits::DEFAULT
    };
    let newer = || {
        Enrichment::new()
            .name("too long")
            .attribute("a", 1)
            .attribute("", 1)
            .attribute("b", 2)
            .attribute("c", 3)
    };
    let dropped = "name_too_long=1 key_empty=1 too_many_attributes=1";
    let mut said = Enrichment::with_limits(small).name("d1");
    let changed = said.absorb(newer());
    assert_eq!(shown(&changed), format!("- a=1 b=2 [{dropped}]"));
    assert_eq!(changed.limits(), &small);
    assert_eq!(shown(&said), format!("d1 a=1 b=2 [{dropped}]"));
    assert_eq!(changed.size() + 2, said.size());
    let again = said.absorb(newer());
    assert_eq!(
        shown(&again),
        format!("- [{dropped}]"),
        "of this merge alone"
    );
    assert_eq!(said.dropped().total(), 6);
}

#[test]
fn what_is_said_first_is_all_new() {
    let first = Enrichment::new()
        .name("a")
        .attribute("k", 1)
        .attribute("", 1);
    let small = Limits {
        attributes: 1,
        ..Limits::DEFAULT
    };
    for mut said in [Enrichment::new(), Enrichment::with_limits(small)] {
        assert_eq!(shown(&said.absorb(Enrichment::new())), "- []");
        let changed = said.absorb(first.clone());
        assert_eq!(changed, said);
        assert_eq!(shown(&changed), "a k=1 [key_empty=1]");
    }
}
