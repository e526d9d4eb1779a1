//! What one side writes the other reads, and what absence costs.

use binding_span::wire::{self, DROPPED_KEY};
use binding_span::{
    AttributeValue, CallScope, DropReason, Enrichment, Limits, Policy, SpanContext, SpanId,
    TraceId,
    binding_span_capnp::{binding_span_enrichment, span_context},
};
use binding_span_schema::js_rpc_capnp::js_rpc_target::call_results;
use capnp::message::{Builder, Reader, ReaderOptions, SegmentArray};
use capnp::serialize::compute_serialized_size_in_words as size_in_words;

/// Through the bytes of a message.
fn over_the_wire(said: &Enrichment) -> Enrichment {
    let mut message = Builder::new_default();
    binding_span::write(said, || message.init_root());
    let bytes = capnp::serialize::write_message_to_words(&message);
    let reader = capnp::serialize::read_message(&*bytes, ReaderOptions::new()).unwrap();
    let enrichment = reader.get_root::<binding_span_enrichment::Reader<'_>>();
    binding_span::read(enrichment.unwrap(), Limits::DEFAULT)
}

#[test]
fn names_and_typed_values_arrive_in_order() {
    let said = Enrichment::new()
        .name("ai_gateway.run é 🚀")
        .attribute("string", "")
        .attribute("bool", false)
        .attribute("min", i64::MIN)
        .attribute("max", i64::MAX)
        .attribute("float", 3.0)
        .attribute("minus zero", -0.0)
        .attribute("infinity", f64::INFINITY)
        .attribute("ключ", "NUL \0 inside")
        .attribute("long", "x".repeat(Limits::DEFAULT.string_bytes));
    assert_eq!(over_the_wire(&said), said);
}

#[test]
fn lists_arrive_as_lists_and_one_of_a_single_element_as_that() {
    let said = Enrichment::new()
        .attribute("strings", ["stop", "", "длина"])
        .attribute("bools", [true, false])
        .attribute("integers", [i64::MIN, 0, i64::MAX])
        .attribute("doubles", [3.0, -0.0, f64::INFINITY])
        .attribute("most", vec![1_i64; 64])
        .attribute("after", "a list");
    assert_eq!(over_the_wire(&said), said);
    let single = Enrichment::new().attribute("single", ["stop"]);
    assert_eq!(
        over_the_wire(&single),
        Enrichment::new().attribute("single", "stop")
    );
    let none = Enrichment::new().attribute("none", Vec::<String>::new());
    assert!(none.is_silent(), "an empty list is no value");
}

#[test]
fn lists_of_the_wire_are_held_to_the_readers_limits() {
    let mut message = Builder::new_default();
    let said = Enrichment::new()
        .attribute("a", [1_i64, 2])
        .attribute("b", [1_i64, 2, 3])
        .attribute("c", ["four", "five5"]);
    binding_span::write(&said, || message.init_root());
    let limits = Limits {
        list_elements: 2,
        string_bytes: 4,
        ..Limits::DEFAULT
    };
    let read = binding_span::read(message.get_root_as_reader().unwrap(), limits);
    assert_eq!(read.attributes().len(), 1);
    assert_eq!(read.get("a"), Some(&[1_i64, 2].into()));
    assert_eq!(
        read.dropped().to_string(),
        "string_too_long=1 list_too_long=1"
    );
}

#[test]
fn nan_arrives_as_nan() {
    let read = over_the_wire(&Enrichment::new().attribute("nan", f64::NAN));
    assert!(matches!(read.get("nan"), Some(AttributeValue::Float64(x)) if x.is_nan()));
}

#[test]
fn the_largest_enrichment_arrives_whole() {
    let mut said = Enrichment::new().name("n".repeat(256));
    for i in 0..256 {
        said.set_attribute(format!("{i:0256}"), "v".repeat(767));
    }
    assert_eq!(said.size(), Limits::DEFAULT.total_bytes);
    assert_eq!(over_the_wire(&said), said);
}

#[test]
fn the_callees_drops_travel_outside_of_the_caps_and_the_caller_adds_its_own() {
    let mut said = Enrichment::new().attribute("rpc.x", 1);
    for i in 0..257 {
        said.set_attribute(format!("k{i}"), 1);
    }
    said.set_name("n".repeat(257));
    assert_eq!(said.attributes().len(), 256);
    let read = Policy::default().accept(over_the_wire(&said));
    assert_eq!(read.attributes().len(), 255);
    assert_eq!(read.get(DROPPED_KEY), None, "counted, not an attribute");
    assert_eq!(read.dropped().to_string(), "denied_key=1 callee=3");
}

#[test]
fn the_drop_count_is_the_last_attribute_and_an_int64() {
    let mut message = Builder::new_default();
    let said = Enrichment::new().attribute("k", true).attribute("", 1);
    binding_span::write(&said, || message.init_root());
    let root = message.get_root_as_reader::<binding_span_enrichment::Reader<'_>>();
    let list = root.unwrap().get_attributes().unwrap();
    assert_eq!(list.len(), 2);
    let last = list.get(1);
    assert_eq!(last.get_name().unwrap(), DROPPED_KEY);
    let tag = last.get_value().unwrap().get(0);
    use binding_span::binding_span_capnp::tag_value::Int64;
    assert!(matches!(tag.which(), Ok(Int64(1))));
}

#[test]
fn counts_from_the_wire_saturate_and_only_integers_count() {
    let cases = [
        (AttributeValue::Int64(5), 5, DropReason::Callee),
        (
            AttributeValue::Int64(i64::MAX),
            u32::MAX,
            DropReason::Callee,
        ),
        (AttributeValue::Int64(-5), 0, DropReason::Callee),
        (AttributeValue::Int64(0), 0, DropReason::Callee),
        (AttributeValue::from("5"), 1, DropReason::UnknownValue),
        (AttributeValue::Float64(5.0), 1, DropReason::UnknownValue),
        ([5_i64, 6].into(), 1, DropReason::UnknownValue),
    ];
    for (value, count, reason) in cases {
        let mut message = Builder::new_default();
        let root = message.init_root::<binding_span_enrichment::Builder<'_>>();
        wire::write_attribute(root.init_attributes(1).get(0), DROPPED_KEY, &value);
        let root = message.get_root_as_reader().unwrap();
        let read = binding_span::read(root, Limits::DEFAULT);
        assert!(read.is_empty());
        assert_eq!(read.dropped().count(reason), count, "{value:?}");
        assert_eq!(read.dropped().total(), u64::from(count), "{value:?}");
    }
}

#[test]
fn several_counts_add_up() {
    let mut message = Builder::new_default();
    let root = message.init_root::<binding_span_enrichment::Builder<'_>>();
    let mut list = root.init_attributes(2);
    for i in 0..2 {
        wire::write_attribute(list.reborrow().get(i), DROPPED_KEY, &3_i64.into());
    }
    let read = binding_span::read(message.get_root_as_reader().unwrap(), Limits::DEFAULT);
    assert_eq!(read.dropped().count(DropReason::Callee), 6);
}

#[test]
fn a_reader_with_narrow_limits_of_its_own_still_sees_the_callees_drops() {
    let mut said = Enrichment::new().name("n").attribute("", 1);
    for i in 0..256 {
        said.set_attribute(format!("k{i}"), "v".repeat(900));
    }
    let mut message = Builder::new_default();
    binding_span::write(&said, || message.init_root());
    let narrow = Limits {
        attributes: 2,
        total_bytes: 1000,
        ..Limits::DEFAULT
    };
    let read = binding_span::read(message.get_root_as_reader().unwrap(), narrow);
    assert_eq!(read.attributes().len(), 1);
    assert_eq!(read.dropped().to_string(), "total_bytes=255 callee=1");
}

#[test]
fn nothing_said_opens_nothing() {
    for said in [Enrichment::new(), CallScope::detached().drain()] {
        binding_span::write(&said, || panic!("the field is not opened"));
    }
}

/// The results of a call as they were before they had the field: one data word, three pointers.
const OLDER_RESULTS: [u64; 5] = [1 << 32 | 3 << 48, 0, 0, 0, 0];

#[test]
fn an_absent_enrichment_adds_exactly_one_null_pointer() {
    let mut message = Builder::new_default();
    let mut results = message.init_root::<call_results::Builder<'_>>();
    binding_span::write(&Enrichment::new(), || {
        results.reborrow().init_binding_span_enrichment()
    });
    assert!(!results.has_binding_span_enrichment());
    assert_eq!(message.get_segments_for_output().len(), 1);
    let older_bytes = OLDER_RESULTS.len() * 8;
    let words = message.get_segments_for_output()[0];
    assert_eq!(words.len(), older_bytes + 8);
    assert_eq!(words[older_bytes..], [0; 8]);
    assert_eq!(size_in_words(&message) * 8, older_bytes + 8 + 8, "header");
}

#[test]
fn results_of_an_older_callee_have_no_enrichment() {
    let bytes: Vec<u8> = OLDER_RESULTS.iter().flat_map(|w| w.to_le_bytes()).collect();
    let segments = [&bytes[..]];
    let message = Reader::new(SegmentArray::new(&segments), ReaderOptions::new());
    let results: call_results::Reader<'_> = message.get_root().unwrap();
    assert!(!results.has_binding_span_enrichment());
    let enrichment = results.get_binding_span_enrichment().unwrap();
    assert!(binding_span::read(enrichment, Limits::DEFAULT).is_silent());
}

#[test]
fn span_contexts_arrive_with_flags_or_without() {
    let ids = [(1 << 127 | 5, 7), (u128::MAX, u64::MAX), (9, 0)];
    for (trace, span) in ids {
        for flags in [None, Some(0), Some(1), Some(255)] {
            let context = SpanContext {
                trace_id: TraceId(trace),
                span_id: SpanId(span),
                flags,
            };
            let mut message = Builder::new_default();
            wire::write_span_context(&context, message.init_root());
            let reader = message.get_root_as_reader().unwrap();
            assert_eq!(wire::read_span_context(reader), Some(context));
        }
    }
}

#[test]
fn a_null_span_context_is_none() {
    let mut message = Builder::new_default();
    message.init_root::<span_context::Builder<'_>>();
    let reader = message.get_root_as_reader().unwrap();
    assert_eq!(wire::read_span_context(reader), None);
}
