//! Texts in PostgreSQL, which can have no NUL, and names in SQL.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// U+0000 and U+0001 become two characters each, so that all texts can be stored and keep the order of their bytes.
pub(super) fn encode(text: &str) -> Cow<'_, str> {
    match text.contains(['\0', '\u{1}']) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(
            text.replace('\u{1}', "\u{1}\u{2}")
                .replace('\0', "\u{1}\u{1}"),
        ),
    }
}

/// What [`encode`] was given.
pub(super) fn decode(text: String) -> String {
    match text.contains('\u{1}') {
        false => text,
        true => text
            .replace("\u{1}\u{1}", "\0")
            .replace("\u{1}\u{2}", "\u{1}"),
    }
}

/// Metadata with all its texts encoded: what filters look at.
pub(super) fn encode_all(metadata: &Map<String, Value>) -> Value {
    fn value(of: &Value) -> Value {
        match of {
            Value::String(text) => Value::String(encode(text).into_owned()),
            Value::Array(items) => Value::Array(items.iter().map(value).collect()),
            Value::Object(map) => encode_all(map),
            other => other.clone(),
        }
    }
    let entries = metadata.iter();
    Value::Object(
        entries
            .map(|(key, of)| (encode(key).into_owned(), value(of)))
            .collect(),
    )
}

/// A name in SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL. Only names of properties are written so, since expressions of indexes have no parameters.
pub(super) fn literal(text: &str) -> String {
    let text = encode(text).replace('\'', "''");
    match text.contains('\\') {
        false => format!("'{text}'"),
        true => format!("E'{}'", text.replace('\\', "\\\\")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_keeps_its_place() {
        let parts = ["", "\0", "\u{1}", "\u{2}", "a", "é"];
        let mut texts = Vec::new();
        for a in parts {
            for b in parts {
                for c in parts {
                    texts.push(format!("{a}{b}{c}"));
                }
            }
        }
        texts.sort();
        texts.dedup();
        let encoded: Vec<_> = texts.iter().map(|text| encode(text).into_owned()).collect();
        assert!(encoded.is_sorted_by(|a, b| a < b));
        assert!(encoded.iter().all(|text| !text.contains('\0')));
        let decoded: Vec<_> = encoded.into_iter().map(decode).collect();
        assert_eq!(decoded, texts);
    }
}
