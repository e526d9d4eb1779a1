//! What a tail Worker printed: the events of each invocation, as JSON, in the order in which they came.

use std::fmt;

use serde_json::Value;

/// The events so far.
#[derive(Debug, Default)]
pub struct Recording {
    /// One list an invocation, in the order of their onsets.
    pub streams: Vec<Vec<Value>>,
    /// Lines that are not events.
    pub other: Vec<String>,
}

impl Recording {
    pub(super) fn add(&mut self, line: &str) {
        let Some(json) = line.strip_prefix("TAIL ") else {
            self.other.push(line.to_owned());
            return;
        };
        let event: Value = serde_json::from_str(json).unwrap();
        let same = |stream: &&mut Vec<Value>| stream[0]["invocationId"] == event["invocationId"];
        match self.streams.iter_mut().find(same) {
            Some(stream) => stream.push(event),
            None => self.streams.push(vec![event]),
        }
    }

    /// The streams that have ended.
    pub fn ended(&self) -> impl Iterator<Item = &Vec<Value>> {
        let over = |stream: &&Vec<Value>| stream.iter().any(|e| e["event"]["type"] == "outcome");
        self.streams.iter().filter(over)
    }

    /// The outcomes of the streams that have ended.
    pub fn outcomes(&self) -> Vec<&str> {
        let outcome = |event: &'_ Value| event["event"]["type"] == "outcome";
        self.ended()
            .filter_map(|stream| stream.iter().find(|e| outcome(e)))
            .filter_map(|event| event["event"]["outcome"].as_str())
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
