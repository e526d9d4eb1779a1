//! The table of cases made by Node and workerd (`make-cases.mjs`), and Node itself as a reader.

mod support;

use js_value::{
    DecodeLimits, EncodeOptions, ErrorForm, ExpandError, JsonError, Value, decode, encode,
    encode_with,
};
use std::io::Write;
use std::process::{Command, Stdio};
use support::{from_hex, random_value, to_hex};

struct Case {
    from: String,
    name: String,
    hex: String,
    /// None for values that contain themselves.
    json: Option<serde_json::Value>,
    canonical: bool,
}

fn cases() -> Vec<Case> {
    let lines = include_str!("cases.jsonl").lines();
    lines
        .map(|line| {
            let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            Case {
                from: text("from"),
                name: text("name"),
                hex: text("hex"),
                canonical: row["canonical"] != serde_json::Value::Bool(false),
                json: Some(row["json"].take()).filter(|json| !is_cycle(&row["name"], json)),
            }
        })
        .collect()
}

/// `null` is a value of its own once.
fn is_cycle(name: &serde_json::Value, json: &serde_json::Value) -> bool {
    json.is_null() && name != "null"
}

fn read(hex: &str) -> Value {
    decode(&from_hex(hex), &DecodeLimits::default()).unwrap_or_else(|e| panic!("{hex}: {e}"))
}

fn write(value: &Value, like: &str) -> String {
    let native = like.contains("5c0a") || like.contains("5c08");
    let errors = if native {
        ErrorForm::Native
    } else {
        ErrorForm::Plain
    };
    to_hex(&encode_with(value, EncodeOptions { errors }).unwrap().bytes)
}

#[test]
fn every_case_decodes_to_its_json() {
    for case in cases() {
        let label = format!("{} ({})", case.name, case.from);
        match (read(&case.hex).to_json(), case.json) {
            (Ok(json), Some(expected)) => assert_eq!(json, expected, "{label}"),
            (json, None) => {
                assert_eq!(json, Err(JsonError::Expand(ExpandError::Cycle)), "{label}");
            }
            (Err(error), _) => panic!("{label}: {error}"),
        }
    }
}

#[test]
fn every_canonical_case_encodes_to_the_same_bytes() {
    for case in cases() {
        let written = write(&read(&case.hex), &case.hex);
        if case.canonical {
            assert_eq!(written, case.hex, "{} ({})", case.name, case.from);
        } else {
            // What we write instead is stable, and means the same.
            assert_ne!(written, case.hex, "{} ({})", case.name, case.from);
            assert_eq!(write(&read(&written), &case.hex), written);
            assert_eq!(read(&written).to_json().unwrap(), case.json.unwrap());
        }
    }
}

#[test]
fn every_case_comes_back_from_its_json() {
    for case in cases() {
        let Some(json) = case.json else { continue };
        let value = Value::from_json(json).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        // References are written out in JSON; a view comes back with a buffer of its own.
        let expected = read(&case.hex).expanded().unwrap();
        if case.name != "part of a buffer" {
            assert_eq!(
                write(&value, &case.hex),
                write(&expected, &case.hex),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn the_table_covers_all_sources() {
    for from in ["node", "workerd", "call", "format"] {
        assert!(cases().iter().any(|case| case.from == from), "{from}");
    }
}

#[test]
fn node_reads_what_we_write() {
    let mut values: Vec<Value> = cases()
        .iter()
        .filter(|case| case.from == "node")
        .map(|case| read(&case.hex))
        .collect();
    let mut random = fastrand::Rng::with_seed(7);
    values.extend((0..2000).map(|_| random_value(&mut random, 4)));
    let ours: Vec<String> = values
        .iter()
        .map(|value| to_hex(&encode(value).unwrap()))
        .collect();

    let Some(echoed) = echo_through_node(&ours, &[]) else {
        eprintln!(
            "node is not on the PATH: nothing was read by Node now; \
             the other tests compare with the bytes that it wrote for the committed table"
        );
        return;
    };
    assert_eq!(echoed.len(), ours.len());
    for (echoed, ours) in echoed.iter().zip(&ours) {
        assert!(echoed.starts_with("ff"), "node on {ours}: {echoed}");
        // Compared as what we read: Node writes some arrays as sparse ones.
        assert_eq!(&write(&read(echoed), ""), ours);
    }
}

/// Where the binary of workerd is that the test below asks; without it, it is not asked.
const WORKERD: &str = "BINDING_SPAN_WORKERD";

#[test]
fn workerd_reads_what_we_write() {
    let Ok(binary) = std::env::var(WORKERD) else {
        eprintln!("{WORKERD} is not set: nothing was read by workerd now");
        return;
    };
    let errors = ErrorForm::Native;
    let mut values: Vec<Value> = cases()
        .iter()
        // What travels in calls alone has streams in it, and no queue takes those.
        .filter(|case| !["format", "call"].contains(&&*case.from) && case.name != "undefined")
        .map(|case| read(&case.hex))
        .collect();
    let mut random = fastrand::Rng::with_seed(8);
    values.extend((0..500).map(|_| random_value(&mut random, 4)));
    values.retain(|value| !value.is_undefined());
    let options = EncodeOptions { errors };
    let ours: Vec<String> = values
        .iter()
        .map(|value| to_hex(&encode_with(value, options).unwrap().bytes))
        .collect();
    let echoed = echo_through_node(&ours, &[&binary]).expect("node");
    assert_eq!(echoed.len(), ours.len());
    for (echoed, ours) in echoed.iter().zip(&ours) {
        assert!(echoed.starts_with("ff"), "workerd on {ours}: {echoed}");
        let again = encode_with(&read(echoed), options).unwrap();
        assert_eq!(&to_hex(&again.bytes), ours);
    }
}

/// `None` when there is no Node.
fn echo_through_node(lines: &[String], arguments: &[&str]) -> Option<Vec<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/js/echo.mjs");
    let mut node = Command::new("node")
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = node.stdin.take().unwrap();
    let input = lines.join("\n");
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = node.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    Some(
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect(),
    )
}
