//! Spans in files of tail events.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use crate::util;

/// A span as far as it was told.
#[derive(Debug, Clone, Default)]
pub struct Span {
    pub trace: String,
    /// At first.
    pub opened: String,
    /// In the end.
    pub name: String,
    pub attributes: Vec<(String, Json)>,
    /// `None` while it is open.
    pub outcome: Option<String>,
    /// The class and the message.
    pub error: Option<(String, String)>,
}

impl Span {
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.attributes.iter().rev().find(|(name, _)| name == key);
        found.and_then(|(_, value)| value.as_str())
    }

    pub fn error_type(&self) -> Option<&str> {
        self.get("error.type")
    }

    /// Whether it is the callee's view of a call.
    pub fn is_served(&self) -> bool {
        !self.opened.starts_with("jsRpc") && self.get("jsrpc.method").is_some()
    }

    /// Whether it is the caller's view of one.
    pub fn is_called(&self) -> bool {
        self.opened.starts_with("jsRpc")
    }
}

/// The spans in a file, in the order in which they opened.
pub fn read(path: &Path) -> Vec<Span> {
    let text = util::read(path);
    let mut spans: Vec<Span> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    // By invocation: the span that its onset opened.
    let mut onsets: HashMap<String, usize> = HashMap::new();
    // A line that is being written has no end yet.
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    for line in whole {
        let json: Json = serde_json::from_str(line).unwrap();
        let (event, context) = (&json["event"], &json["spanContext"]);
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        let invocation = text(&json["invocationId"]);
        let info = match event["type"].as_str() {
            Some("onset") => &event["attributes"],
            _ => &event["info"],
        };
        match event["type"].as_str().unwrap() {
            "onset" | "spanOpen" => {
                let mut name = text(&event["name"]);
                for attribute in info.as_array().into_iter().flatten() {
                    if attribute["name"] == "span.name" {
                        name = text(&attribute["value"]);
                    }
                }
                places.insert(text(&event["spanId"]), spans.len());
                if event["type"] == "onset" {
                    onsets.insert(invocation, spans.len());
                }
                spans.push(Span {
                    trace: text(&context["traceId"]),
                    opened: name.clone(),
                    name,
                    ..Span::default()
                });
            }
            kind => {
                let Some(span) = places.get(&text(&context["spanId"])) else {
                    continue;
                };
                let span = &mut spans[*span];
                match kind {
                    "attributes" => {
                        for attribute in info.as_array().unwrap() {
                            let (key, value) = (text(&attribute["name"]), &attribute["value"]);
                            match key.as_str() {
                                "span.name" => span.name = text(value),
                                _ => span.attributes.push((key, value.clone())),
                            }
                        }
                    }
                    "exception" => {
                        span.error = Some((text(&event["name"]), text(&event["message"])));
                    }
                    "spanClose" => span.outcome = Some(text(&event["outcome"])),
                    "outcome" => {
                        let onset = &mut spans[onsets[&invocation]];
                        onset.outcome = Some(text(&event["outcome"]));
                    }
                    _ => {}
                }
            }
        }
    }
    spans
}
