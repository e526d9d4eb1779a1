//! What a hostile peer may send: no panic, no deep recursion, no memory beyond a small multiple of
//! what came in. Its own binary, because it counts every allocation of the process.

mod counting;
mod support;

use counting::measured;
use js_value::{
    DecodeErrorKind as Kind, DecodeLimits, EncodeOptions, ErrorForm, ExpandError, HeaderError,
    JsonError, Value, decode, decode_args, encode, encode_with, from_value, to_value,
};
use support::{from_hex, random_value, to_hex};

/// The most that reading `length` bytes may hold at once: see `DecodeLimits`.
fn allowance(length: usize) -> isize {
    160 * length as isize + 100 * 1024
}

/// Everything that a program does with a peer's bytes.
fn use_it(bytes: &[u8]) -> Result<(), js_value::DecodeError> {
    let limits = DecodeLimits::default();
    let (decoded, peak) = measured(|| decode(bytes, &limits));
    assert!(
        peak <= allowance(bytes.len()),
        "{peak} bytes for {}",
        to_hex(bytes)
    );
    let _ = decode_args(bytes, &limits);
    let value = decoded?;
    let _ = value.to_string();
    let _ = value.to_json().map(Value::from_json);
    let _ = from_value::<serde_json::Value>(value.clone());
    for errors in [ErrorForm::Plain, ErrorForm::Native] {
        // What was read can be written, unless a reference leads to what the plain form leaves out,
        // and then is read as the same.
        if let Ok(written) = encode_with(&value, EncodeOptions { errors }) {
            let again = decode(&written.bytes, &limits);
            assert!(
                again.is_ok(),
                "{} rewritten as {}",
                to_hex(bytes),
                to_hex(&written.bytes)
            );
            if errors == ErrorForm::Native && !to_hex(bytes).contains("7e") {
                let twice = encode_with(&again?, EncodeOptions { errors });
                assert_eq!(twice, Ok(written), "{}", to_hex(bytes));
            }
        } else {
            assert_eq!(errors, ErrorForm::Plain, "{}", to_hex(bytes));
        }
    }
    Ok(())
}

/// Runs on the stack that our daemons' threads have.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work);
    thread.unwrap().join().unwrap();
}

fn table() -> Vec<Vec<u8>> {
    let lines = include_str!("cases.jsonl").lines();
    lines
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            from_hex(row["hex"].as_str().unwrap())
        })
        .collect()
}

fn kind_of(hex: &str) -> Result<(), Kind> {
    use_it(&from_hex(hex)).map_err(|error| error.kind)
}

#[test]
fn each_malformed_input_is_refused_for_its_reason() {
    let cases: &[(&str, &str, Kind)] = &[
        ("nothing", "", Kind::NoHeader),
        ("no header", "4906", Kind::NoHeader),
        ("JSON", "7b7d", Kind::NoHeader),
        ("header only", "ff0f", Kind::Truncated),
        ("version 13", "ff0d5f", Kind::Version(13)),
        ("version 17", "ff115f", Kind::Version(17)),
        ("version of six bytes", "ffffffffffff7f5f", Kind::BadNumber),
        ("two values", "ff0f5f5f", Kind::Trailing(1)),
        ("unknown tag", "ff0f01", Kind::UnknownTag(1)),
        (
            "an end without a beginning",
            "ff0f7b00",
            Kind::UnknownTag(0x7b),
        ),
        (
            "endless varint",
            "ff0f49ffffffffffffffffffffffff",
            Kind::BadNumber,
        ),
        (
            "string longer than the input",
            "ff0f22ffffffff0f61",
            Kind::Truncated,
        ),
        (
            "string of 2^63 bytes",
            "ff0f22ffffffffffffffff7f61",
            Kind::Truncated,
        ),
        (
            "two-byte string of odd length",
            "ff0f6303610061",
            Kind::Malformed("string"),
        ),
        (
            "array longer than the input",
            "ff0f41ffffffff0f5f",
            Kind::Truncated,
        ),
        (
            "array of another length",
            "ff0f41015f240002",
            Kind::BadCount("array"),
        ),
        (
            "object of another count",
            "ff0f6f22016149027b02",
            Kind::BadCount("object"),
        ),
        (
            "Map of another count",
            "ff0f3b490249023a01",
            Kind::BadCount("Map"),
        ),
        (
            "Set of another count",
            "ff0f2749022c02",
            Kind::BadCount("Set"),
        ),
        (
            "Map with half an entry",
            "ff0f3b49023a01",
            Kind::UnknownTag(0x3a),
        ),
        (
            "property named by an object",
            "ff0f6f6f7b0049027b01",
            Kind::BadKey,
        ),
        ("reference to nothing", "ff0f5e00", Kind::BadReference(0)),
        (
            "reference ahead",
            "ff0f41015e01240001",
            Kind::BadReference(1),
        ),
        (
            "reference to an error's bag",
            "ff0f41025c0a0122006f7b005e02240002",
            Kind::BadReference(2),
        ),
        (
            "buffer longer than the input",
            "ff0f42ffffffff0f",
            Kind::Truncated,
        ),
        (
            "view behind its buffer",
            "ff0f42010056420200 00",
            Kind::Malformed("view of an ArrayBuffer"),
        ),
        (
            "view longer than its buffer",
            "ff0f42010056420002 00",
            Kind::Malformed("view of an ArrayBuffer"),
        ),
        (
            "view across elements",
            "ff0f42020000 56770001 00",
            Kind::Malformed("view of an ArrayBuffer"),
        ),
        (
            "view of an unknown class",
            "ff0f420100 5678000100",
            Kind::Malformed("view of an ArrayBuffer"),
        ),
        (
            "resizable buffer beyond its maximum",
            "ff0f7e0201 0000",
            Kind::Malformed("ArrayBuffer"),
        ),
        (
            "RegExp with V8's own flag",
            "ff0f5222016140",
            Kind::Malformed("RegExp"),
        ),
        (
            "RegExp without a source",
            "ff0f5249024000",
            Kind::Malformed("string"),
        ),
        (
            "error with an unknown part",
            "ff0f7278",
            Kind::Malformed("Error"),
        ),
        (
            "error whose message is an error",
            "ff0f5c0a015c0a0122006f7b006f7b00",
            Kind::Malformed("Error"),
        ),
        (
            "error without properties",
            "ff0f5c0a0122005f",
            Kind::Malformed("Error"),
        ),
        (
            "shared memory",
            "ff0f7500",
            Kind::Unsupported("SharedArrayBuffer"),
        ),
        (
            "transferred buffer",
            "ff0f7400",
            Kind::Unsupported("transferred ArrayBuffer"),
        ),
        (
            "WebAssembly module",
            "ff0f7700",
            Kind::Unsupported("WebAssembly.Module"),
        ),
        (
            "an AbortSignal",
            "ff0f5c0900005f",
            Kind::HostObject {
                tag: 9,
                name: "AbortSignal",
            },
        ),
        (
            "Headers under an unknown guard",
            "ff0f5c040400",
            Kind::Malformed("Headers"),
        ),
        (
            "a header of an unknown number",
            "ff0f5c040301300161",
            Kind::Malformed("Headers"),
        ),
        (
            "a header whose name has a space",
            "ff0f5c04030100036120620163",
            Kind::Header(HeaderError::Name),
        ),
        (
            "a header without a name",
            "ff0f5c0403010000016300",
            Kind::Header(HeaderError::Name),
        ),
        (
            "a header with a line break",
            "ff0f5c0403011103610a62",
            Kind::Header(HeaderError::Value),
        ),
        (
            "a header with NUL",
            "ff0f5c0403011103610062",
            Kind::Header(HeaderError::Value),
        ),
        (
            "fewer headers than their count",
            "ff0f5c0403ffffffff0f",
            Kind::Truncated,
        ),
        (
            "a Request whose URL has a line break",
            "ff0f5c05030d0a786f7b00",
            Kind::Malformed("URL of a Request"),
        ),
        (
            "a Request whose method has a space",
            "ff0f5c0501686f22066d6574686f6422034120427b01",
            Kind::Malformed("method of a Request"),
        ),
        (
            "a Request whose body is text",
            "ff0f5c0501686f2204626f647922016178",
            Kind::Malformed("Request"),
        ),
        (
            "a Request from an array",
            "ff0f5c0501684100240000",
            Kind::Malformed("Request"),
        ),
        (
            "a Request whose headers are its own",
            "ff0f5c0501686f2207686561646572735e007b01",
            Kind::BadReference(0),
        ),
        (
            "a Request that refers to its members",
            "ff0f5c0501686f2201785e017b01",
            Kind::BadReference(1),
        ),
        (
            "a Response of status 99",
            "ff0f5c06306f220673746174757349c6017b01",
            Kind::Malformed("status of a Response"),
        ),
        (
            "a Response of status 200.5",
            "ff0f5c06306f22067374617475734e00000000001069407b01",
            Kind::Malformed("status of a Response"),
        ),
        (
            "a Response whose status text has a line break",
            "ff0f5c06306f220a7374617475735465787422020d0a7b01",
            Kind::Malformed("Response"),
        ),
        (
            "a Response whose body is a WritableStream",
            "ff0f41025c025c065e016f7b00240002",
            Kind::BadReference(1),
        ),
        (
            "a Response with a cf of text",
            "ff0f5c06306f220263662201617b01",
            Kind::Malformed("Response"),
        ),
        (
            "members out of order beside references",
            "ff0f41025c06306f220263666f7b002207686561646572735c0403007b025e03240002",
            Kind::AmbiguousReferences,
        ),
        (
            "a Blob longer than the input",
            "ff0f5c0f00ff01",
            Kind::Truncated,
        ),
        (
            "an unknown host object",
            "ff0f5c7f",
            Kind::HostObject {
                tag: 127,
                name: "of an unknown class",
            },
        ),
        (
            "BigInt of 64 MB",
            "ff0f5a80808040",
            Kind::BigIntTooLong(1 << 26),
        ),
        (
            "references beside duplicates",
            "ff0f41026f2201616f7b002201616f7b007b025e01240002",
            Kind::AmbiguousReferences,
        ),
    ];
    for (name, hex, kind) in cases {
        assert_eq!(kind_of(hex), Err(*kind), "{name}");
    }
}

#[test]
fn odd_but_harmless_inputs_are_read() {
    let cases = [
        ("padding", "ff0f00004906", "3"),
        ("an object count", "ff0f3f014906", "3"),
        ("unsigned integer", "ff0f5506", "6"),
        ("UTF-8 string", "ff0f5302c3a9", "é"),
        ("broken UTF-8", "ff0f5301ff", "\u{fffd}"),
        ("version 14", "ff0e4906", "3"),
        ("version 16", "ff104906", "3"),
        (
            "dense array with a hole",
            "ff0f410349022d4906240003",
            "Array(3) [ 0: 1, 2: 3 ]",
        ),
        (
            "properties out of order",
            "ff0f6f22016249024902 4904 7b02",
            "{ '1': 2, b: 1 }",
        ),
        (
            "duplicate property",
            "ff0f6f2201614902220161490 47b02",
            "{ a: 2 }",
        ),
        (
            "parts of an error in any order",
            "ff0f7273220173 6d220178 54 2e",
            "TypeError: x",
        ),
        (
            "an error named by a number",
            "ff0f5c0a004902220178 6f7b00",
            "1: x",
        ),
        (
            "an error of an unknown class",
            "ff0f5c0a632201786f7b00",
            "Error: x",
        ),
    ];
    for (name, hex, text) in cases {
        let value = decode(&from_hex(hex), &DecodeLimits::default());
        assert_eq!(
            value.map(|value| value.to_string()).as_deref(),
            Ok(text),
            "{name}"
        );
        assert_eq!(kind_of(hex), Ok(()), "{name}");
    }
}

#[test]
fn each_case_cut_short_anywhere_is_refused() {
    on_a_small_stack(|| {
        for bytes in table() {
            // A view without its last part would be a whole buffer.
            for end in (0..bytes.len()).filter(|end| bytes[*end] != b'V') {
                assert!(use_it(&bytes[..end]).is_err(), "{}", to_hex(&bytes[..end]));
            }
        }
    });
}

#[test]
fn a_hundred_thousand_mutations_do_no_harm() {
    on_a_small_stack(|| {
        let mut random = fastrand::Rng::with_seed(1);
        let mut seeds = table();
        seeds.extend((0..200).map(|_| encode(&random_value(&mut random, 4)).unwrap()));
        seeds.retain(|seed| seed.len() < 400);
        for _ in 0..100_000 {
            let mut bytes = seeds[random.usize(..seeds.len())].clone();
            for _ in 0..random.u8(1..4) {
                mutate(&mut bytes, &seeds, &mut random);
            }
            let _ = use_it(&bytes);
        }
    });
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut fastrand::Rng) {
    const TAGS: &[u8] = b"?-_0TFIUNZS\"c^o{a@A$Dyxnzs R;:',B~tVupwm\\r";
    let at = random
        .usize(2.min(bytes.len())..bytes.len().max(3))
        .min(bytes.len());
    match random.u8(0..6) {
        0 if at < bytes.len() => bytes[at] = random.u8(..),
        1 if at < bytes.len() => bytes[at] = *random.choice(TAGS).unwrap(),
        2 => bytes.insert(at, *random.choice(TAGS).unwrap()),
        3 if at < bytes.len() => _ = bytes.remove(at),
        4 => {
            let other = &seeds[random.usize(..seeds.len())];
            let piece = other[random.usize(..other.len())..].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => bytes.truncate(at),
    }
}

/// `count` times `open`, then `middle`, then `count` times `close`.
fn nested(open: &str, middle: &str, close: &str, count: usize) -> Vec<u8> {
    from_hex(&format!(
        "ff0f{}{middle}{}",
        open.repeat(count),
        close.repeat(count)
    ))
}

#[test]
fn nesting_is_bounded_and_its_limit_fits_a_small_stack() {
    let shapes = [
        ("array", "4101", "5f", "240001"),
        ("sparse array", "61014900", "5f", "400101"),
        ("object", "6f220161", "5f", "7b01"),
        ("Map", "3b4902", "5f", "3a02"),
        ("Set", "27", "5f", "2c01"),
        ("plain error", "7263", "5f", "2e"),
        ("native error", "5c0a0122006f22056361757365", "5f", "7b01"),
        ("Request", "5c0501686f220178", "4902", "7b01"),
        ("Response", "5c06306f220178", "4902", "7b01"),
    ];
    on_a_small_stack(move || {
        for (name, open, middle, close) in shapes {
            let default = DecodeLimits::default();
            use_it(&nested(open, middle, close, 128)).unwrap_or_else(|e| panic!("{name}: {e}"));
            for count in [129, 20_000] {
                let error = decode(&nested(open, middle, close, count), &default).unwrap_err();
                assert_eq!(error.kind, Kind::TooDeep(128), "{name}");
            }
            let most = DecodeLimits {
                max_depth: u32::MAX,
                ..default
            };
            let value = decode(&nested(open, middle, close, 256), &most).unwrap();
            let json = value.to_json().unwrap();
            assert!(Value::from_json(json).is_ok(), "{name}");
            assert_eq!(value.expanded().as_ref(), Ok(&value));
            assert_eq!(to_value(&value).as_ref(), Ok(&value));
            assert!(encode(&value).is_ok() && !value.to_string().is_empty());
            let is_plain = !["Map", "Request", "Response"].contains(&name);
            assert_eq!(from_value::<serde_json::Value>(value).is_ok(), is_plain);
            let error = decode(&nested(open, middle, close, 257), &most).unwrap_err();
            assert_eq!(error.kind, Kind::TooDeep(256), "{name}");
        }
    });
}

#[test]
fn endless_markers_cost_no_stack() {
    on_a_small_stack(|| {
        for marker in ["00", "3f00"] {
            let bytes = from_hex(&format!("ff0f{}4906", marker.repeat(300_000)));
            assert_eq!(decode(&bytes, &DecodeLimits::default()), Ok(Value::from(3)));
        }
    });
}

#[test]
fn huge_claims_allocate_next_to_nothing() {
    for hex in [
        "ff0f41ffffffff0f",
        "ff0f22ffffffff0f",
        "ff0f63feffffff0f",
        "ff0f42ffffffff0f",
        "ff0f5affffffff0f",
        "ff0f61ffffffff0f",
    ] {
        let (result, peak) = measured(|| decode(&from_hex(hex), &DecodeLimits::default()));
        assert!(result.is_err());
        assert!(peak < 2048, "{hex}: {peak}");
    }
    // Four thousand million holes are one number.
    let holes = from_hex("ff0f61ffffffff0f4000ffffffff0f");
    let (result, peak) = measured(|| decode(&holes, &DecodeLimits::default()));
    assert!(result.is_ok() && peak < 2048);
}

#[test]
fn the_number_of_values_is_bounded() {
    let count = 2 << 20;
    let mut bytes = from_hex("ff0f4180808001");
    bytes.extend(std::iter::repeat_n(b'_', count));
    bytes.extend(from_hex("240080808001"));
    let (result, peak) = measured(|| decode(&bytes, &DecodeLimits::default()));
    assert_eq!(result.unwrap_err().kind, Kind::TooManyValues(1 << 20));
    assert!(peak < 100 << 20, "{peak}");
}

#[test]
fn many_names_in_the_worst_order_take_linear_time() {
    let mut bytes = vec![0xff, 0x0f, b'o'];
    for index in (0..200_000u32).rev() {
        bytes.push(b'N');
        bytes.extend(f64::from(index).to_le_bytes());
        bytes.push(b'_');
    }
    bytes.extend([b'{', 0xc0, 0x9a, 0x0c]);
    let value = decode(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 200_000);
}

#[test]
fn shared_objects_that_double_at_each_level_are_not_written_out() {
    // [[], [^1, ^1], [^2, ^2], ...]: 2^40 empty arrays.
    let mut bytes = from_hex("ff0f4129 4100240000");
    for level in 1..=40u8 {
        bytes.extend([b'A', 2, b'^', level, b'^', level, b'$', 0, 2]);
    }
    bytes.extend(from_hex("240029"));
    let value = decode(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!(
        value.to_json(),
        Err(JsonError::Expand(ExpandError::TooLarge))
    );
    assert!(from_value::<serde_json::Value>(value).is_err());
    // As arguments, each object is copied once for each argument at most.
    let (arguments, peak) = measured(|| decode_args(&bytes, &DecodeLimits::default()));
    assert_eq!(arguments.unwrap().len(), 41);
    assert!(peak < 1 << 20, "{peak}");
}

#[test]
fn headers_that_are_shared_often_are_not_copied_often() {
    // [headers, response, response, ..], where each response refers to the headers of 64 KiB.
    let hex = |count: u32| {
        let headers = format!("5c04030111808004{}", "61".repeat(1 << 16));
        let responses = "5c06306f2207686561646572735e017b01".repeat(count as usize);
        let length = varint(count + 1);
        format!("ff0f41{length}{headers}{responses}2400{length}")
    };
    let few = decode(&from_hex(&hex(10)), &DecodeLimits::default()).unwrap();
    let Some(Value::Response(last)) = few.get("10") else {
        panic!("{few}");
    };
    assert_eq!(
        last.headers.get("Content-Type").map(str::len),
        Some(1 << 16)
    );
    let many = from_hex(&hex(10_000));
    let (result, peak) = measured(|| decode(&many, &DecodeLimits::default()));
    assert_eq!(result.unwrap_err().kind, Kind::SharedHeaders(1 << 20));
    assert!(peak < 1 << 20, "{peak}");
}

#[test]
fn a_header_that_is_none_says_where_it_is() {
    let error = use_it(&from_hex("ff0f5c0403020001610162 1103610a62".trim())).unwrap_err();
    let wanted = "at byte 11: the value of a header has a line break or NUL in it";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn more_headers_than_workerd_takes_are_refused() {
    let hex = |count| {
        format!(
            "ff0f5c0403{}{}",
            varint(count),
            "0700".repeat(count as usize)
        )
    };
    assert_eq!(kind_of(&hex(1024)), Ok(()));
    assert_eq!(kind_of(&hex(1025)), Err(Kind::Header(HeaderError::TooMany)));
}

#[test]
fn a_buffer_that_is_shared_often_is_not_written_out_often() {
    let mut bytes = from_hex("ff0f41");
    bytes.extend([0x90, 0x4e]); // 10,000
    bytes.extend(from_hex("42808040")); // 1 MiB
    bytes.extend(std::iter::repeat_n(0, 1 << 20));
    for _ in 1..10_000 {
        bytes.extend([b'^', 1]);
    }
    bytes.extend([b'$', 0, 0x90, 0x4e]);
    let value = decode(&bytes, &DecodeLimits::default()).unwrap();
    let (result, peak) = measured(|| value.expanded());
    assert_eq!(result, Err(ExpandError::TooLarge));
    assert!(peak < 100 << 20, "{peak}");
}

#[test]
fn arguments_that_share_much_are_not_copied_often() {
    // f(o, o, o, ...), where o has 2,000 elements, or 1 MiB of bytes or text.
    let list = format!("41d00f{}2400d00f", "5f".repeat(2000));
    let bytes = format!("42808040{}", "00".repeat(1 << 20));
    let text = format!("726d22808040{}2e", "61".repeat(1 << 20));
    for shared in [list, bytes, text] {
        let hex = format!("ff0f41904e{shared}{}2400904e", "5e01".repeat(9_999));
        let (result, peak) = measured(|| decode_args(&from_hex(&hex), &DecodeLimits::default()));
        assert_eq!(
            result.unwrap_err().kind,
            Kind::SharedArguments(ExpandError::TooLarge)
        );
        assert!(peak < 100 << 20, "{peak}");
    }
}

#[test]
fn one_reference_among_many_arguments_costs_little_time() {
    let mut hex = "ff0f41c09a0c".to_owned(); // 200,000
    hex += &"6f7b00".repeat(199_999);
    hex += "5e012400c09a0c";
    let arguments = decode_args(&from_hex(&hex), &DecodeLimits::default()).unwrap();
    assert_eq!(arguments.len(), 200_000);
}

#[test]
fn references_cannot_nest_without_end() {
    // Each element is 100 levels deep and refers to the one before at its bottom.
    on_a_small_stack(|| {
        let mut hex = "ff0f41144100240000".to_owned();
        let mut first = 1u32;
        for _ in 1..20 {
            let reference = js_value::encode(&Value::from(0))
                .map(|_| varint(first))
                .unwrap();
            first += if first == 1 { 1 } else { 100 };
            hex += &"4101".repeat(100);
            hex += &format!("5e{reference}");
            hex += &"240001".repeat(100);
        }
        hex += "240014";
        let value = decode(&from_hex(&hex), &DecodeLimits::default()).unwrap();
        assert_eq!(value.expanded(), Err(ExpandError::TooDeep));
        let kind = decode_args(&from_hex(&hex), &DecodeLimits::default()).map_err(|e| e.kind);
        assert_eq!(kind, Err(Kind::SharedArguments(ExpandError::TooDeep)));
    });
}

fn varint(mut number: u32) -> String {
    let mut hex = String::new();
    while number >= 0x80 {
        hex += &format!("{:02x}", number as u8 | 0x80);
        number >>= 7;
    }
    hex + &format!("{number:02x}")
}
