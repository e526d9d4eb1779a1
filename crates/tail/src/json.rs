//! Tail events as JSON: how each part is written, and how a line is read.
//!
//! JSON has no NaN and no infinities; they are written as the strings `"NaN"`, `"Infinity"` and
//! `"-Infinity"`, as Protocol Buffers' JSON does, and come back as strings. (`JSON.stringify` in a tail
//! worker prints `null` for all three, which is read as NaN.) In
//! a list with numbers they come back as numbers. Int64 is an integer of JSON, all 64 bits;
//! a double that is integral is written with `.0`, so that its type survives.
//!
//! A line may go to a terminal, so what [`text::is_hidden`] names is written as `\u` escapes: same
//! JSON, nothing that a terminal acts on.

pub(crate) mod stringify;
mod value;

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use binding_span::{Attribute, AttributeList, AttributeValue};
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::ser::{SerializeSeq, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Event, text};

pub use self::value::JsonText;
pub(crate) use self::value::{AsJson, date, parse, present, uuid};

/// The longest line that is read, 4 MiB: an event of the largest enrichment is below 2 MiB, and one that came from
/// another process below 4.
pub const MAX_LINE: usize = 4 * 1024 * 1024;

/// A line that is not a tail event.
#[derive(Debug, thiserror::Error)]
#[error("not a tail event: {0}")]
pub struct InvalidLine(#[from] serde_json::Error);

impl Event {
    /// The event as one line of JSON, without the newline.
    ///
    /// ```
    /// let line = r#"{"spanContext":{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"},"invocationId":"ffef0102030405060708090a0b0c0d0e","timestamp":"2026-11-22T07:18:14.585Z","sequence":3,"event":{"type":"spanClose","outcome":"ok"}}"#;
    /// let event = tail::Event::from_line(line).unwrap();
    /// assert_eq!(event.to_line(), line);
    /// ```
    pub fn to_line(&self) -> String {
        let mut line = Vec::new();
        // Writing to memory does not fail, and the formatter writes UTF-8 only.
        let _ = self.write_line(&mut line);
        String::from_utf8(line).unwrap_or_default()
    }

    /// Writes the event as one line of JSON, without the newline.
    pub(crate) fn write_line(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        self.serialize(&mut serde_json::Serializer::with_formatter(out, Printable))
    }

    /// Reads one line. Fields that are not known are ignored.
    ///
    /// # Errors
    /// When it is not JSON, or not a tail event.
    pub fn from_line(line: &str) -> Result<Self, InvalidLine> {
        read(line)
    }
}

/// Reads a line. What comes before it in a file, a byte order mark, is skipped; a lone surrogate, as
/// `JSON.stringify` writes it of a text that was cut, is U+FFFD, since texts here are Unicode.
pub(crate) fn read<T: DeserializeOwned>(line: &str) -> Result<T, InvalidLine> {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    match serde_json::from_str(line) {
        Err(error) if line.contains("\\u") => match without_surrogates(line) {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => Err(error.into()),
        },
        read => Ok(read?),
    }
}

/// The same JSON with U+FFFD for every lone surrogate, if it has one.
fn without_surrogates(line: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = line.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut out, mut at) = (String::new(), 0);
    let mut copied = 0;
    while let Some(found) = line[at..].find('\\') {
        at += found;
        at += match unit(at) {
            Some(0xd800..0xdc00) if matches!(unit(at + 6), Some(0xdc00..0xe000)) => 12,
            Some(0xd800..0xe000) => {
                out.push_str(&line[copied..at]);
                out.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            // What it escapes is one character, which may be another backslash.
            _ => 1 + line[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    out.push_str(&line[copied..]);
    (copied > 0).then_some(out)
}

/// Compact JSON, with what a terminal must not see as escapes.
struct Printable;

impl serde_json::ser::Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Nearly every fragment; what is below a space is escaped before it comes here.
        if fragment.bytes().all(|b| b < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(text::is_hidden) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut after = rest[at..].chars();
            let hidden = after.next().unwrap_or_default();
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = after.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// The last `n` hex digits, without a formatter: ids are half of a line.
fn digits(id: u128, buffer: &mut [u8; 32], n: usize) -> &str {
    for (i, digit) in buffer[..n].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(id >> (4 * i)) as usize & 15];
    }
    str::from_utf8(&buffer[..n]).unwrap_or_default()
}

macro_rules! hex {
    ($module:ident, $id:ident, $int:ty) => {
        pub(crate) mod $module {
            use super::*;
            use binding_span::$id;

            pub(crate) fn serialize<S: Serializer>(id: &$id, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(digits(id.0.into(), &mut [0; 32], size_of::<$int>() * 2))
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$id, D::Error> {
                let digits = String::deserialize(from)?;
                let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
                let parsed = <$int>::from_str_radix(&digits, 16).ok().filter(|_| hex);
                parsed
                    .map($id)
                    .ok_or_else(|| D::Error::custom("an id that is not hex"))
            }
        }
    };
}

hex!(trace_id, TraceId, u128);
hex!(invocation_id, InvocationId, u128);
hex!(span_id, SpanId, u64);

pub(crate) mod optional_span_id {
    use super::*;
    use binding_span::SpanId;

    pub(crate) fn serialize<S: Serializer>(id: &Option<SpanId>, to: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => span_id::serialize(id, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SpanId>, D::Error> {
        span_id::deserialize(from).map(|id| Some(id).filter(|id| id.is_valid()))
    }
}

pub(crate) mod timestamp {
    use super::*;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    /// ISO 8601 in milliseconds, UTC, as `Date.prototype.toISOString` has it.
    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let date =
            OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second) = date.to_hms();
        let milli = since.subsec_millis();
        to.serialize_str(&format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        ))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        let date = OffsetDateTime::parse(&text, &Rfc3339).map_err(D::Error::custom)?;
        let nanos = u64::try_from(date.unix_timestamp_nanos()).unwrap_or(0);
        Ok(UNIX_EPOCH + Duration::from_nanos(nanos))
    }
}

/// Milliseconds, as an integer or a double.
pub(crate) fn milliseconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Ok(f64::deserialize(from)? as u64)
}

pub(crate) mod attributes {
    use super::*;

    struct Written<'a>(&'a Attribute);

    impl Serialize for Written<'_> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut object = to.serialize_struct("Attribute", 2)?;
            object.serialize_field("name", &self.0.key)?;
            match &self.0.value {
                AttributeValue::String(text) => object.serialize_field("value", text)?,
                AttributeValue::Bool(value) => object.serialize_field("value", value)?,
                AttributeValue::Int64(value) => object.serialize_field("value", value)?,
                AttributeValue::Float64(value) => {
                    object.serialize_field("value", &Double(*value))?;
                }
                AttributeValue::List(list) => match &**list {
                    AttributeList::Strings(list) => object.serialize_field("value", list)?,
                    AttributeList::Bools(list) => object.serialize_field("value", list)?,
                    AttributeList::Int64s(list) => object.serialize_field("value", list)?,
                    AttributeList::Float64s(list) => {
                        object.serialize_field("value", &Doubles(list))?;
                    }
                },
            }
            object.end()
        }
    }

    struct Double(f64);

    impl Serialize for Double {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            match not_a_number(self.0) {
                Some(word) => to.serialize_str(word),
                None => to.serialize_f64(self.0),
            }
        }
    }

    struct Doubles<'a>(&'a [f64]);

    impl Serialize for Doubles<'_> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(self.0.iter().map(|&value| Double(value)))
        }
    }

    fn not_a_number(value: f64) -> Option<&'static str> {
        match value {
            f64::INFINITY => Some("Infinity"),
            f64::NEG_INFINITY => Some("-Infinity"),
            value if value.is_nan() => Some("NaN"),
            _ => None,
        }
    }

    pub(crate) fn serialize<S: Serializer>(
        attributes: &[Attribute],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(attributes.len()))?;
        for attribute in attributes {
            list.serialize_element(&Written(attribute))?;
        }
        list.end()
    }

    #[derive(Deserialize)]
    struct Read {
        name: String,
        #[serde(default)]
        value: Value,
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Attribute>, D::Error> {
        let read = Vec::<Read>::deserialize(from)?;
        let attribute = |Read { name, value }| Attribute::new(name, read_value(value));
        Ok(read.into_iter().map(attribute).collect())
    }

    /// One of several types, which workerd can have and we cannot, is shown as its JSON, and so is an empty one.
    fn read_value(value: Value) -> AttributeValue {
        if let Value::Array(elements) = &value {
            // Beside a number, what stands for one that JSON has not is one.
            let numbers = elements.iter().any(Value::is_number);
            let element = |value: &Value| match value {
                Value::Array(_) | Value::Object(_) => None,
                Value::Null if !numbers => None,
                Value::String(word) if numbers => a_number(word).map(AttributeValue::Float64),
                value => Some(scalar(value.clone())),
            };
            if let Some(list) = AttributeList::from_elements(elements.iter().map(element)) {
                return list.into();
            }
        }
        scalar(value)
    }

    fn a_number(word: &str) -> Option<f64> {
        match word {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        }
    }

    fn scalar(value: Value) -> AttributeValue {
        match value {
            Value::String(text) => text.into(),
            Value::Bool(value) => value.into(),
            Value::Number(number) => match number.as_i64() {
                Some(int) => int.into(),
                None => number.as_f64().unwrap_or(f64::NAN).into(),
            },
            Value::Null => f64::NAN.into(),
            other => other.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_was_cut_within_a_character_is_read() {
        for (text, read_as) in [
            (r#""cut \ud83d""#, "cut \u{fffd}"),
            (r#""\ude00\ud83d\ude00\uD83D""#, "\u{fffd}😀\u{fffd}"),
            (r#""\\ud83d \ud83d""#, "\\ud83d \u{fffd}"),
            (r#""\\\ud83d\"""#, "\\\u{fffd}\""),
            ("\u{feff}\"plain\"", "plain"),
        ] {
            assert_eq!(read::<String>(text).unwrap(), read_as, "{text}");
        }
        for wrong in [
            r#""\ud83d"#,
            r#""\ud83"#,
            r#""\ud83d\q""#,
            "\"\\é\"",
            r"\",
            r"\u",
        ] {
            assert!(read::<String>(wrong).is_err(), "{wrong}");
        }
    }
}
