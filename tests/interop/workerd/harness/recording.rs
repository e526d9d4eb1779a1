//! What a tail Worker printed: the events of each invocation, as JSON, in the order in which they came.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// The events so far.
#[derive(Debug, Default)]
pub struct Recording {
    /// One list an invocation, in the order of their onsets.
    pub streams: Vec<Vec<Value>>,
    /// Lines that are not events.
    pub other: Vec<String>,
    /// How many streams have ended.
    pub ended: usize,
    places: HashMap<String, usize>,
}

impl Recording {
    /// Adds a line of a tail Worker.
    pub fn add(&mut self, line: &str) {
        let Some(json) = line.strip_prefix("TAIL ") else {
            self.other.push(line.to_owned());
            return;
        };
        let event: Value = serde_json::from_str(json).unwrap();
        let id = event["invocationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let place = *self.places.entry(id).or_insert(self.streams.len());
        if place == self.streams.len() {
            self.streams.push(Vec::new());
        }
        self.ended += usize::from(event["event"]["type"] == "outcome");
        self.streams[place].push(event);
    }

    /// The outcomes of the streams that have ended.
    pub fn outcomes(&self) -> Vec<&str> {
        let last = self.streams.iter().filter_map(|stream| stream.last());
        last.filter_map(|event| event["event"]["outcome"].as_str())
            .collect()
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stream in &self.streams {
            writeln!(f, "invocation:")?;
            stream
                .iter()
                .try_for_each(|event| writeln!(f, "  {event}"))?;
        }
        self.other.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// All attributes that a stream's events give to a span, in order, renames included.
pub fn attributes_of<'a>(stream: &'a [Value], span: &Value) -> Vec<(&'a str, &'a Value)> {
    let of_span = |event: &&Value| {
        event["event"]["type"] == "attributes" && event["spanContext"]["spanId"] == *span
    };
    let infos = stream.iter().filter(of_span);
    infos
        .flat_map(|event| event["event"]["info"].as_array().into_iter().flatten())
        .map(|info| (info["name"].as_str().unwrap_or_default(), &info["value"]))
        .collect()
}

/// The name that a span has in the end.
pub fn renamed<'a>(stream: &'a [Value], span: &Value) -> Option<&'a str> {
    let names = attributes_of(stream, span);
    names
        .into_iter()
        .rev()
        .find(|(name, _)| *name == "span.name")
        .and_then(|(_, value)| value.as_str())
}

/// The events in a file, as soon as so many invocations have ended.
pub async fn in_file(path: &Path, ended: usize) -> Vec<Vec<Value>> {
    loop {
        let mut recording = Recording::default();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .for_each(|line| recording.add(&format!("TAIL {line}")));
        if recording.ended == ended {
            return recording.streams;
        }
        assert!(recording.ended < ended, "{recording}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As text: the order of the keys counts. What tail.js writes of a BigInt is the number that it is.
pub fn text(streams: &[Vec<Value>]) -> Vec<String> {
    let line = |event: &Value| plain(event.clone()).to_string();
    streams.iter().flatten().map(line).collect()
}

fn plain(value: Value) -> Value {
    match value {
        Value::Object(object) => match object.get("int64").and_then(Value::as_str) {
            Some(digits) if object.len() == 1 => digits.parse::<i64>().unwrap().into(),
            _ => object
                .into_iter()
                .map(|(key, value)| (key, plain(value)))
                .collect(),
        },
        Value::Array(list) => list.into_iter().map(plain).collect(),
        other => other,
    }
}
