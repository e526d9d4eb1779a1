//! JSON text, also such as `JSON.stringify` writes of a string that is no well-formed Unicode.
//!
//! A lone surrogate is written as an escape (`"\ud83d"`), which no Rust string can hold and `serde_json` refuses.
//! Such a string is rewritten as the word of ours that stands for it before the text is parsed. Nearly every text
//! has none, which a single pass finds out.

use std::borrow::Cow;

use serde_json::Value as Json;

/// Why a text cannot be read as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonTextError {
    /// It is no JSON, or the name of a property has a lone surrogate.
    #[error("{message} at line {line} column {column}")]
    Syntax {
        /// What is wrong.
        message: String,
        /// The line, from 1.
        line: usize,
        /// The byte of the line, from 1; 0 before its first.
        column: usize,
    },
    /// Strings with lone surrogates have more than 1,048,576 UTF-16 code units together.
    #[error("strings with lone surrogates have more than {MAX_UNITS} UTF-16 code units together")]
    TooLong,
}

/// Each takes the memory of a number while it is read.
const MAX_UNITS: usize = 1 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads JSON text. A byte order mark in front is skipped. A string with a lone surrogate comes as
/// `{"$text": [..]}`, from which [`Value::from_json`](crate::Value::from_json) makes that string.
///
/// ```
/// use js_value::{Value, JsString, json_from_text};
/// let json = json_from_text(br#"["caf\u00e9", "\ud83d"]"#).unwrap();
/// let Value::Array(values) = Value::from_json(json).unwrap() else { panic!() };
/// assert_eq!(values[0], Value::from("café"));
/// assert_eq!(values[1], Value::String(JsString::from_utf16(&[0xd83d])));
/// ```
///
/// # Errors
/// When it is no JSON; when the name of a property has a lone surrogate, which no [`Object`](crate::Object) can
/// have; when strings with lone surrogates are too long together.
pub fn json_from_text(text: &[u8]) -> Result<Json, JsonTextError> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let rewritten = Rewritten::of(text)?;
    serde_json::from_slice(&rewritten.text).map_err(|error| rewritten.explain(&error))
}

/// A text without lone surrogates, and which parts of it are other ones.
struct Rewritten<'a> {
    text: Cow<'a, [u8]>,
    /// Where each part that was replaced ends, before and after.
    ends: Vec<(usize, usize)>,
}

impl<'a> Rewritten<'a> {
    fn of(text: &'a [u8]) -> Result<Self, JsonTextError> {
        let mut this = Self {
            text: Cow::Borrowed(text),
            ends: Vec::new(),
        };
        if !may_have_surrogate(text) {
            return Ok(this);
        }
        let (mut out, mut copied, mut at, mut units) = (Vec::new(), 0, 0, 0);
        while let Some(begin) = quote(text, at) {
            let Some(string) = JsonString::read(text, begin) else {
                // No JSON: the parser says so.
                break;
            };
            at = string.end;
            let Some(lone) = string.lone else { continue };
            if is_name(text, at) {
                return Err(syntax(
                    text,
                    lone,
                    "the name of a property has a lone surrogate",
                ));
            }
            let Some(content) = decoded(&text[begin + 1..at - 1]) else {
                break;
            };
            units += content.len();
            if units > MAX_UNITS {
                return Err(JsonTextError::TooLong);
            }
            out.extend_from_slice(&text[copied..begin]);
            out.extend_from_slice(b"{\"$text\":[");
            for (i, unit) in content.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(unit.to_string().as_bytes());
            }
            out.extend_from_slice(b"]}");
            copied = at;
            this.ends.push((at, out.len()));
        }
        if copied > 0 {
            out.extend_from_slice(&text[copied..]);
            this.text = Cow::Owned(out);
        }
        Ok(this)
    }

    /// An error of the parser, with its place in the text that was given.
    fn explain(&self, error: &serde_json::Error) -> JsonTextError {
        let text = error.to_string();
        let (line, mut column) = (error.line(), error.column());
        let place = format!(" at line {line} column {column}");
        let message = text.strip_suffix(&place).unwrap_or(&text).to_owned();
        // No string has a newline, so lines are the same.
        let begin = line_begin(&self.text, line);
        let of_line = |(_, end): &&(usize, usize)| (begin..=begin + column).contains(end);
        let last = self.ends.iter().rfind(of_line).copied();
        if let Some((before, after)) = last {
            let first = self.ends.iter().rfind(|(_, end)| *end < begin);
            let own_begin = first.map_or(begin, |(before, after)| begin - after + before);
            column = before + (begin + column - after) - own_begin;
        }
        JsonTextError::Syntax {
            message,
            line,
            column,
        }
    }
}

/// Where a line begins.
fn line_begin(text: &[u8], line: usize) -> usize {
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    match line {
        0 | 1 => 0,
        _ => ends.map(|(at, _)| at + 1).nth(line - 2).unwrap_or(0),
    }
}

fn syntax(text: &[u8], at: usize, message: &str) -> JsonTextError {
    let before = &text[..at];
    let newline = before.iter().rposition(|byte| *byte == b'\n');
    JsonTextError::Syntax {
        message: message.to_owned(),
        line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        column: at - newline.map_or(0, |at| at + 1) + 1,
    }
}

/// Whether there is an escape of a surrogate, in a pair or alone.
fn may_have_surrogate(text: &[u8]) -> bool {
    let is_one = |bytes: &[u8]| {
        bytes[0] == b'\\'
            && bytes[1] == b'u'
            && bytes[2].eq_ignore_ascii_case(&b'd')
            && matches!(bytes[3], b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F')
    };
    text.windows(4).any(is_one)
}

fn quote(text: &[u8], from: usize) -> Option<usize> {
    let found = text.get(from..)?.iter().position(|byte| *byte == b'"');
    found.map(|at| from + at)
}

/// Whether what ends here is the name of a property.
fn is_name(text: &[u8], end: usize) -> bool {
    let rest = &text[end..];
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// A string of a text.
struct JsonString {
    /// Behind its closing quote.
    end: usize,
    /// Where its first lone surrogate is.
    lone: Option<usize>,
}

impl JsonString {
    /// The string whose opening quote is there, if it is closed.
    fn read(text: &[u8], begin: usize) -> Option<Self> {
        let (mut at, mut lone) = (begin + 1, None);
        loop {
            match *text.get(at)? {
                b'"' => return Some(Self { end: at + 1, lone }),
                b'\\' => {
                    let length = match escaped_unit(&text[at..]) {
                        Some(0xd800..0xdc00)
                            if matches!(escaped_unit(&text[at + 6..]), Some(0xdc00..0xe000)) =>
                        {
                            12
                        }
                        Some(0xd800..0xe000) => {
                            lone = lone.or(Some(at));
                            6
                        }
                        Some(_) => 6,
                        None => 2,
                    };
                    at += length;
                }
                _ => at += 1,
            }
        }
    }
}

/// The code unit of an escape such as `\ud83d` that begins a text.
fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.get(..6)?.strip_prefix(b"\\u")?;
    let digits = str::from_utf8(digits).ok()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u16::from_str_radix(digits, 16).ok())?
}

/// The code units of a string's content, if it is as JSON has it.
fn decoded(content: &[u8]) -> Option<Vec<u16>> {
    let content = str::from_utf8(content).ok()?;
    let mut units = Vec::new();
    let mut rest = content;
    while let Some(next) = rest.chars().next() {
        let (unit, length) = match next {
            '\\' => match rest.as_bytes().get(1)? {
                b'u' => (escaped_unit(rest.as_bytes())?, 6),
                b'b' => (8, 2),
                b'f' => (12, 2),
                b'n' => (10, 2),
                b'r' => (13, 2),
                b't' => (9, 2),
                plain @ (b'"' | b'\\' | b'/') => (u16::from(*plain), 2),
                _ => return None,
            },
            '\0'..' ' => return None,
            other => {
                units.extend_from_slice(other.encode_utf16(&mut [0; 2]));
                rest = &rest[other.len_utf8()..];
                continue;
            }
        };
        units.push(unit);
        rest = &rest[length..];
    }
    Some(units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JsString, Value};

    fn value(text: &str) -> Result<Value, String> {
        let json = json_from_text(text.as_bytes()).map_err(|error| error.to_string())?;
        Value::from_json(json).map_err(|error| error.to_string())
    }

    fn lone(units: &[u16]) -> Value {
        Value::String(JsString::from_utf16(units))
    }

    #[test]
    fn a_lone_surrogate_is_read_as_javascript_has_it() {
        let a = u16::from(b'a');
        let cases: [(&str, &[u16]); 9] = [
            (r#""\ud83d""#, &[0xd83d]),
            (r#""\uD83D""#, &[0xd83d]),
            (r#""\ude00""#, &[0xde00]),
            (r#""a\ud83d""#, &[a, 0xd83d]),
            (r#""\ud83da""#, &[0xd83d, a]),
            (r#""\ud83d\ud83d\ude00""#, &[0xd83d, 0xd83d, 0xde00]),
            (r#""\ude00\ud83d""#, &[0xde00, 0xd83d]),
            (
                r#""\"\\\/\b\f\n\r\t\u0061\ud83d""#,
                &[34, 92, 47, 8, 12, 10, 13, 9, a, 0xd83d],
            ),
            ("\"\u{1f600}\\ud83d\"", &[0xd83d, 0xde00, 0xd83d]),
        ];
        for (text, units) in cases {
            assert_eq!(value(text), Ok(lone(units)), "{text}");
            let nested = value(&format!(
                "{{\"k\": [1, {text}], \"e\": \"\\ud83d\\ude00\"}}"
            ));
            let nested = nested.unwrap();
            let expected = Value::Array(vec![Value::from(1), lone(units)]);
            assert_eq!(nested.get("k"), Some(&expected), "{text}");
            assert_eq!(nested.get("e"), Some(&Value::from("😀")), "{text}");
            // And written so that it can be read again.
            let json = lone(units).to_json().unwrap();
            assert_eq!(Value::from_json(json), Ok(lone(units)));
        }
    }

    #[test]
    fn what_only_looks_like_one_is_left_alone() {
        for (text, read) in [
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\\ud83d""#, "\\ud83d"),
            (r#""\\\\ud83d \ud83d\ude00""#, "\\\\ud83d 😀"),
            ("\u{feff}\"a\"", "a"),
        ] {
            assert_eq!(value(text), Ok(Value::from(read)), "{text}");
        }
        // An error's text is Unicode.
        let error = value(r#"{"$error": {"name": "E", "message": "cut \ud83d"}}"#).unwrap();
        let Value::Error(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(error.message, "cut \u{fffd}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_in_the_text_as_given() {
        for (text, says) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("\u{feff}{a", "key must be a string at line 1 column 2"),
            (r#"["\ud83d", x]"#, "expected value at line 1 column 12"),
            (
                "[\"\\ud83d\",\n \"\\ud83d\", \"\\ude00\", x]",
                "expected value at line 2 column 22",
            ),
            (
                "[\n\"\\ud83d\", \"",
                "EOF while parsing a string at line 2 column 11",
            ),
            (
                "[1,\n{\"a\\ud83d\" : 1}]",
                "the name of a property has a lone surrogate at line 2 column 4",
            ),
            (r#"["\ud83d\q"]"#, "hex escape at line 1 column 10"),
            (r#"["\ud83"]"#, "invalid escape at line 1 column 8"),
        ] {
            let error = value(text).unwrap_err();
            assert!(error.ends_with(says), "{text}: {error}");
        }
        let long = format!("[\"\\ud83d{}\"]", "a".repeat(MAX_UNITS));
        assert_eq!(json_from_text(long.as_bytes()), Err(JsonTextError::TooLong));
    }
}
