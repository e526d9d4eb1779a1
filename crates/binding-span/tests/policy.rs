//! What of an enrichment a caller lets count, and what it counts as dropped.

use binding_span::{DENIED_PREFIXES, DropReason, Enrichment, Policy, PolicyConfig, Rename};

fn renaming(rename: Rename) -> Policy {
    Policy::new(PolicyConfig {
        rename,
        ..PolicyConfig::default()
    })
}

#[test]
fn names_are_let_through_by_rule() {
    let matching =
        |patterns: &[&str]| Rename::Matching(patterns.iter().copied().map(String::from).collect());
    let cases = [
        (Rename::Any, "whatever", None),
        (Rename::Off, "d1.query", Some(DropReason::RenameOff)),
        (matching(&["d1.*"]), "d1.query", None),
        (matching(&["d1.*"]), "d1.", None),
        (matching(&["d1.*"]), "d1", Some(DropReason::RenamePattern)),
        (
            matching(&["d1.*"]),
            "xd1.q",
            Some(DropReason::RenamePattern),
        ),
        (matching(&["d1.?"]), "d1.é", None),
        (
            matching(&["d1.?"]),
            "d1.qq",
            Some(DropReason::RenamePattern),
        ),
        (matching(&["a", "b"]), "b", None),
        (matching(&[]), "b", Some(DropReason::RenamePattern)),
    ];
    for (rename, name, expected) in cases {
        let policy = renaming(rename);
        let said = policy.accept(Enrichment::new().name(name).attribute("kept", 1));
        let reason = said.dropped().iter().next().map(|(reason, _)| reason);
        assert_eq!(reason, expected, "{name} under {:?}", policy.config());
        assert_eq!(said.span_name().is_some(), expected.is_none());
        assert_eq!(said.attributes().len(), 1, "attributes do not depend on it");
    }
}

#[test]
fn the_201st_distinct_name_is_dropped_and_the_200_stay() {
    let policy = Policy::default();
    for round in 0..2 {
        for i in 0..200 {
            let said = policy.accept(Enrichment::new().name(format!("name {i}")));
            assert!(said.dropped().is_empty(), "round {round}, name {i}");
        }
    }
    let said = policy.accept(Enrichment::new().name("one more").attribute("k", 1));
    assert_eq!(said.span_name(), None);
    assert_eq!(said.dropped().count(DropReason::RenameDistinct), 1);
    assert_eq!(said.attributes().len(), 1);
}

#[test]
fn a_name_that_no_pattern_matches_does_not_use_up_a_place() {
    let policy = Policy::new(PolicyConfig {
        rename: Rename::Matching(vec!["good".into()]),
        max_distinct_names: 1,
        ..PolicyConfig::default()
    });
    for name in ["bad", "worse"] {
        let said = policy.accept(Enrichment::new().name(name));
        assert_eq!(said.dropped().count(DropReason::RenamePattern), 1);
    }
    assert!(!policy.accept(Enrichment::new().name("good")).is_empty());
}

#[test]
fn keys_of_the_caller_and_the_protocol_are_denied() {
    let mut said = Enrichment::new();
    for prefix in DENIED_PREFIXES {
        said.set_attribute(format!("{prefix}x"), 1);
    }
    said.set_attribute("span.name", "d1.query");
    said.set_attribute("service", 1);
    said.set_attribute("error.type", "SQLITE_BUSY");
    said.set_attribute("my.rpc.method", 1);
    let size = said.size();
    let said = Policy::default().accept(said);
    let kept: Vec<&str> = said.iter().map(|a| a.key.as_ref()).collect();
    assert_eq!(kept, ["service", "error.type", "my.rpc.method"]);
    assert_eq!(said.dropped().count(DropReason::DeniedKey), 8);
    assert!(said.size() < size);
}

#[test]
fn attributes_can_be_off_and_prefixes_ones_own() {
    let off = Policy::new(PolicyConfig {
        attributes: false,
        ..PolicyConfig::default()
    });
    let said = off.accept(
        Enrichment::new()
            .name("n")
            .attribute("a", 1)
            .attribute("b", 2),
    );
    assert_eq!(said.span_name(), Some("n"));
    assert_eq!(said.dropped().count(DropReason::AttributesOff), 2);

    let own = Policy::new(PolicyConfig {
        denied_prefixes: vec!["secret.".into()],
        ..PolicyConfig::default()
    });
    let said = own.accept(
        Enrichment::new()
            .attribute("secret.x", 1)
            .attribute("rpc.x", 1),
    );
    assert_eq!(said.attributes().len(), 1);
}

#[test]
fn deny_all_leaves_nothing_and_counts_everything() {
    let said = Enrichment::new().name("n").attribute("a", 1);
    let said = Policy::new(PolicyConfig::deny_all()).accept(said);
    assert!(said.is_empty());
    assert_eq!(said.size(), 0);
    assert_eq!(said.dropped().to_string(), "rename_off=1 attributes_off=1");
}

#[test]
fn what_was_dropped_before_is_not_forgotten() {
    let said = Enrichment::new().attribute("", 1).attribute("rpc.x", 1);
    let said = Policy::default().accept(said);
    assert_eq!(said.dropped().to_string(), "key_empty=1 denied_key=1");
}
