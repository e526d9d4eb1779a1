//! Messages that no honest callee sends, made word by word. Nothing panics, everything that is kept is
//! within the limits, and what is not kept is counted.

mod words;

use std::time::{Duration, Instant};

use binding_span::binding_span_capnp::binding_span_enrichment;
use binding_span::{AttributeList, AttributeValue, DropReason, Enrichment, Limits};
use capnp::message::{Reader, ReaderOptions, SegmentArray};

use words::{BYTES, STRUCTS, Words};

/// What takes longer is not bounded. Far above what is measured, for slow machines in debug builds.
const SOON: Duration = Duration::from_secs(5);

/// Reads a message, checks what must hold for every one, and that the rest of it can still be read.
fn read(bytes: &[u8]) -> Enrichment {
    let segments = [bytes];
    let message = Reader::new(SegmentArray::new(&segments), ReaderOptions::new());
    let Ok(root) = message.get_root::<binding_span_enrichment::Reader<'_>>() else {
        return Enrichment::new();
    };
    let name = root.has_name().then(|| root.get_name().is_ok());
    let said = binding_span::read(root, Limits::DEFAULT);
    assert_eq!(root.has_name().then(|| root.get_name().is_ok()), name);
    assert!(said.size() <= Limits::DEFAULT.total_bytes);
    assert!(said.attributes().len() <= Limits::DEFAULT.attributes);
    for (i, attribute) in said.iter().enumerate() {
        assert!((1..=256).contains(&attribute.key.len()));
        let longest = match &attribute.value {
            AttributeValue::List(list) => {
                assert!((2..=Limits::DEFAULT.list_elements).contains(&list.len()));
                match &**list {
                    AttributeList::Strings(list) => list.iter().map(|text| text.len()).max(),
                    _ => None,
                }
            }
            value => Some(value.size()),
        };
        assert!(longest.unwrap_or(0) <= Limits::DEFAULT.string_bytes);
        assert!(
            said.attributes()[..i]
                .iter()
                .all(|a| a.key != attribute.key)
        );
    }
    said
}

/// Where the first attribute of [`aliased`] is: after the root, the name's text and the list's tag.
const ALIASED_FIRST: usize = 3 + 2 + 1;

/// `count` attributes that all point at one value, a text of `len` bytes; `keys` of them differ.
fn aliased(count: u64, keys: u64, len: usize) -> Words {
    let mut words = Words::new();
    let name = words.text(b"d1.query");
    words.point_text(1, name);
    let first = words.attributes(count);
    let text = words.text(&vec![b'x'; len]);
    let value = words.values(first + 1, &[(0, 0)]);
    words.point_text(value + 2, text);
    let keys: Vec<_> = (0..keys)
        .map(|i| words.text(format!("k{i}").as_bytes()))
        .collect();
    for i in 0..count as usize {
        words.point_text(first + 2 * i, keys[i % keys.len()]);
        words.point(first + 2 * i + 1, value - 1, STRUCTS, 3);
    }
    words
}

#[test]
fn many_pointers_at_one_text_are_copied_within_the_total() {
    let said = read(&aliased(256, 256, 128 * 1024).bytes());
    assert_eq!(said.span_name(), Some("d1.query"));
    assert_eq!(said.attributes().len(), 1);
    assert_eq!(said.dropped().count(DropReason::TotalBytes), 255);
}

#[test]
fn values_that_replace_each_other_for_ever_are_not_copied_for_ever() {
    let started = Instant::now();
    let said = read(&aliased(100_000, 1, 100 * 1024).bytes());
    assert_eq!(said.attributes().len(), 1);
    assert!(said.dropped().total() > 99_000);
    assert!(started.elapsed() < SOON);
}

#[test]
fn a_text_that_is_far_too_long_does_not_use_up_the_message() {
    let said = read(&aliased(1000, 1000, 1024 * 1024).bytes());
    assert!(said.attributes().is_empty());
    assert_eq!(said.dropped().total(), 1000, "each is counted");
}

#[test]
fn one_text_that_is_far_too_long_costs_nothing_but_itself() {
    let mut words = aliased(2, 2, 8 * 1024 * 1024);
    words.values(ALIASED_FIRST + 3, &[(2, 41)]);
    let said = read(&words.bytes());
    assert_eq!(said.get("k1"), Some(&AttributeValue::Int64(41)));
    assert_eq!(said.dropped().to_string(), "string_too_long=1");
}

#[test]
fn eight_million_attributes_without_a_size_take_no_time() {
    let mut words = Words::new();
    let count = 8 * 1000 * 1000;
    let tag = words.push(&[count << 2]);
    words.point(2, tag, STRUCTS, 0);
    let started = Instant::now();
    let said = read(&words.bytes());
    assert!(started.elapsed() < SOON);
    assert!(said.is_empty());
    assert_eq!(
        said.dropped().count(DropReason::TooManyAttributes),
        8_000_000 - 1024
    );
}

#[test]
fn the_longest_search_for_a_key_is_bounded() {
    let mut words = Words::new();
    let first = words.attributes(100_000);
    let value = words.values(first + 1, &[(1, 0)]);
    let keys: Vec<_> = (0..300)
        .map(|i| words.text(format!("{i:0256}").as_bytes()))
        .collect();
    for i in 0..100_000 {
        words.point_text(first + 2 * i, keys[i % keys.len()]);
        words.point(first + 2 * i + 1, value - 1, STRUCTS, 3);
    }
    let started = Instant::now();
    let said = read(&words.bytes());
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert_eq!(said.attributes().len(), 256);
}

/// Where the first attribute of [`lists`] is: after the root and the list's tag.
const LISTS_FIRST: usize = 3 + 1;

/// One attribute for each of `lists`, of the keys `k0`, `k1` and so on; where the values of each are.
fn lists(lists: &[&[(u64, u64)]]) -> (Words, Vec<usize>) {
    let mut words = Words::new();
    let first = words.attributes(lists.len() as u64);
    let mut values = Vec::new();
    for (i, tags) in lists.iter().enumerate() {
        let key = words.text(format!("k{i}").as_bytes());
        words.point_text(first + 2 * i, key);
        values.push(words.values(first + 2 * i + 1, tags));
    }
    (words, values)
}

#[test]
fn several_values_of_one_type_are_a_list_and_none_is_skipped() {
    let one_and_a_half = 1.5_f64.to_bits();
    let (mut words, values) = lists(&[
        &[(2, 1), (2, u64::MAX)],
        &[],
        &[(0, 0), (0, 0)],
        &[(1, 1 << 16); 64],
        &[(3, one_and_a_half), (3, 0)],
    ]);
    let text = words.text(b"stop");
    words.point_text(values[2] + 2, text);
    let said = read(&words.bytes());
    let keys: Vec<_> = said.iter().map(|a| &*a.key).collect();
    assert_eq!(keys, ["k0", "k2", "k3", "k4"]);
    assert_eq!(said.get("k0"), Some(&[1_i64, -1].into()));
    assert_eq!(said.get("k2"), Some(&["stop", ""].into()));
    assert_eq!(said.get("k3"), Some(&[false; 64].into()));
    assert_eq!(said.get("k4"), Some(&[1.5, 0.0].into()));
    assert!(said.dropped().is_empty(), "{}", said.dropped());
}

#[test]
fn a_list_of_several_types_is_malformed_and_one_with_an_unknown_element_unknown() {
    let (words, _) = lists(&[
        &[(2, 1), (3, 1)],
        &[(0, 0), (2, 1)],
        &[(1, 0), (0, 0)],
        &[(3, 0), (1, 0)],
        &[(2, 1), (4, 1)],
        &[(0, 0), (9, 1)],
        &[(4, 1), (2, 1)],
        &[(2, 7)],
    ]);
    let said = read(&words.bytes());
    assert_eq!(said.attributes().len(), 1, "{said:?}");
    assert_eq!(said.get("k7"), Some(&AttributeValue::Int64(7)));
    assert_eq!(said.dropped().to_string(), "unknown_value=3 malformed=4");
}

#[test]
fn a_list_that_is_too_long_is_dropped_whole_however_much_it_claims() {
    let (mut words, values) = lists(&[&[(2, 1); 64], &[(2, 1); 65], &[(2, 1); 2]]);
    // Elements without a size: a word that claims millions.
    words.0[values[2] - 1] = 5_000_000 << 2;
    words.point(LISTS_FIRST + 5, values[2] - 1, STRUCTS, 0);
    let started = Instant::now();
    let said = read(&words.bytes());
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert_eq!(said.get("k0"), Some(&[1_i64; 64].into()));
    assert_eq!(said.attributes().len(), 1);
    assert_eq!(said.dropped().to_string(), "list_too_long=2");
}

/// `count` attributes of the same list of `elements`, which all are the same text of `len` bytes.
fn aliased_lists(count: u64, elements: usize, len: usize) -> Words {
    let mut words = Words::new();
    let first = words.attributes(count);
    let text = words.text(&vec![b'x'; len]);
    let value = words.values(first + 1, &vec![(0, 0); elements]);
    for i in 0..elements {
        words.point_text(value + 3 * i + 2, text);
    }
    for i in 0..count as usize {
        let key = words.text(format!("k{i}").as_bytes());
        words.point_text(first + 2 * i, key);
        words.point(first + 2 * i + 1, value - 1, STRUCTS, 3 * elements as u64);
    }
    words
}

#[test]
fn texts_of_a_list_are_held_to_the_limits_before_they_are_copied() {
    // Each of the texts fits, and so does a list of two, once; of three all together do not.
    let said = read(&aliased_lists(3, 2, 127 * 1024).bytes());
    assert_eq!(said.attributes().len(), 1);
    assert_eq!(said.dropped().to_string(), "total_bytes=2");
    let said = read(&aliased_lists(1, 3, 127 * 1024).bytes());
    assert!(said.is_empty());
    assert_eq!(said.dropped().to_string(), "total_bytes=1");
    let said = read(&aliased_lists(1, 2, 128 * 1024 + 1).bytes());
    assert_eq!(said.dropped().to_string(), "string_too_long=1");
}

#[test]
fn many_lists_of_one_large_text_take_neither_time_nor_the_rest_of_the_message() {
    for len in [200, 4 * 1024, 128 * 1024, 1024 * 1024] {
        let words = aliased_lists(100_000, 64, len);
        let started = Instant::now();
        // It looks itself whether the rest can be read.
        let said = read(&words.bytes());
        assert!(started.elapsed() < SOON, "{len}: {:?}", started.elapsed());
        let all = said.attributes().len() as u64 + said.dropped().total();
        assert_eq!(all, 100_000, "each is kept or counted");
    }
}

#[test]
fn a_text_of_a_list_that_cannot_be_read_costs_that_list_only() {
    let (mut words, values) = lists(&[&[(0, 0); 2], &[(0, 0); 2], &[(0, 0); 2]]);
    let (good, bad) = (words.text(b"good"), words.text(b"\xff"));
    words.point_text(values[0] + 2, good);
    words.point_text(values[0] + 5, bad);
    words.0[values[1] + 5] = 3;
    words.point_text(values[2] + 5, good);
    let said = read(&words.bytes());
    assert_eq!(said.attributes().len(), 1);
    assert_eq!(said.get("k2"), Some(&["", "good"].into()));
    assert_eq!(said.dropped().to_string(), "invalid_utf8=1 malformed=1");
}

#[test]
fn an_unknown_kind_of_value_is_dropped_counted_and_does_not_hide_the_rest() {
    let mut words = Words::new();
    let first = words.attributes(3);
    for (i, tag) in [(4, 1), (2, 7), (u64::from(u16::MAX), 1)]
        .into_iter()
        .enumerate()
    {
        let key = words.text(format!("k{i}").as_bytes());
        words.point_text(first + 2 * i, key);
        words.values(first + 2 * i + 1, &[tag]);
    }
    let said = read(&words.bytes());
    assert_eq!(said.attributes().len(), 1);
    assert_eq!(said.get("k1"), Some(&AttributeValue::Int64(7)));
    assert_eq!(said.dropped().to_string(), "unknown_value=2");
}

#[test]
fn text_that_is_not_utf8_is_dropped_counted_and_does_not_hide_the_rest() {
    let mut words = Words::new();
    let bad = words.text(b"\xff\xfe");
    let good = words.text(b"good");
    words.point_text(1, bad);
    let first = words.attributes(3);
    for i in 0..3 {
        words.point_text(first + 2 * i, if i == 0 { bad } else { good });
        let value = words.values(first + 2 * i + 1, &[(0, 0)]);
        words.point_text(value + 2, if i == 2 { bad } else { good });
    }
    let said = read(&words.bytes());
    assert_eq!(said.span_name(), None);
    assert_eq!(said.get("good"), Some(&AttributeValue::from("good")));
    assert_eq!(said.dropped().to_string(), "invalid_utf8=3");
}

#[test]
fn a_value_without_a_key_is_counted() {
    let mut words = Words::new();
    let first = words.attributes(1);
    words.values(first + 1, &[(2, 1)]);
    assert_eq!(read(&words.bytes()).dropped().to_string(), "key_empty=1");
}

#[test]
fn pointers_that_lead_nowhere_are_counted() {
    let outside = 1 | 1000 << 2 | BYTES << 32 | 8 << 35;
    let capability = 3;
    let structure = 1 << 32;
    let far_away = 2 | 9 << 32;
    let no_terminator = 1 | 1 << 2 | BYTES << 32 | 8 << 35;
    for pointer in [outside, capability, structure, far_away, no_terminator] {
        let mut words = Words::new();
        words.push(&[u64::MAX; 4]);
        words.0[1] = pointer;
        let said = read(&words.bytes());
        assert_eq!(
            said.dropped().to_string(),
            "malformed=1",
            "name {pointer:x}"
        );

        let mut words = Words::new();
        words.push(&[u64::MAX; 4]);
        words.0[2] = pointer;
        let said = read(&words.bytes());
        // Bytes may be read as structs without fields: those have no value, which is no error.
        let counted = u64::from(pointer != no_terminator);
        assert!(said.is_empty());
        assert_eq!(said.dropped().total(), counted, "list {pointer:x}");

        let mut words = Words::new();
        let first = words.attributes(2);
        for i in 0..2 {
            let key = words.text(format!("k{i}").as_bytes());
            words.point_text(first + 2 * i, key);
            words.values(first + 2 * i + 1, &[(2, 1)]);
        }
        for at in [first, first + 1] {
            let mut words = words.clone();
            words.0[at] = pointer;
            let said = read(&words.bytes());
            assert!(said.get("k1").is_some(), "the next one is not hidden");
        }
    }
}

#[test]
fn no_damaged_message_makes_the_reader_panic() {
    let mut words = aliased(5, 3, 40);
    words.values(ALIASED_FIRST + 3, &[(3, 1.5_f64.to_bits()), (3, 1)]);
    let texts = words.values(ALIASED_FIRST + 5, &[(0, 0), (0, 0), (0, 0)]);
    let text = words.text(b"stop");
    words.point_text(texts + 2, text);
    words.point_text(texts + 8, text);
    let honest = words.bytes();
    assert_eq!(read(&words.bytes()).attributes().len(), 3);
    let mut random = fastrand::Rng::with_seed(2026);
    for _ in 0..100_000 {
        let mut bytes = honest.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(1..=bytes.len() / 8) * 8);
        let _ = read(&bytes);
    }
}
