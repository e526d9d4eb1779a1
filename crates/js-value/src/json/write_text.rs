//! JSON as text, with numbers as JavaScript writes them.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value as Json;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// JSON as text on one line. Numbers are written as `JSON.stringify` writes them: `2 ** 63` as
/// `9223372036854776000`, `1e21` as `1e+21`, `-0` as `0`. An integer that no number equals, which stands for a
/// BigInt, keeps its digits.
///
/// ```
/// use js_value::{Value, json_text};
/// let json = Value::from(vec![Value::Number(2f64.powi(63)), Value::Number(1e21)]).to_json()?;
/// assert_eq!(json_text(&json), "[9223372036854776000,1e+21]");
/// # Ok::<(), js_value::JsonError>(())
/// ```
pub fn json_text(json: &Json) -> String {
    write(json, CompactFormatter)
}

/// The same with an indented line for each part.
pub fn json_text_pretty(json: &Json) -> String {
    write(json, PrettyFormatter::new())
}

fn write(json: &Json, formatter: impl Formatter) -> String {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, Numbers(formatter));
    // Neither JSON nor memory refuses.
    let _ = json.serialize(&mut serializer);
    String::from_utf8(text).unwrap_or_default()
}

/// Another formatter, but for numbers.
struct Numbers<F>(F);

/// The number that the integer is, unless it is none.
fn exact(integer: i128) -> Option<f64> {
    let number = integer as f64;
    (number as i128 == integer).then_some(number)
}

fn write_integer(to: &mut (impl Write + ?Sized), integer: i128) -> io::Result<()> {
    match exact(integer) {
        Some(number) => write_number(to, number),
        None => write!(to, "{integer}"),
    }
}

fn write_number(to: &mut (impl Write + ?Sized), number: f64) -> io::Result<()> {
    to.write_all(crate::inspect::number(number).as_bytes())
}

/// What the formatter inside does by itself.
macro_rules! inside {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        fn $name<W: ?Sized + Write>(&mut self, to: &mut W, $($arg: $type),*) -> io::Result<()> {
            self.0.$name(to, $($arg),*)
        }
    )*};
}

impl<F: Formatter> Formatter for Numbers<F> {
    fn write_i64<W: ?Sized + Write>(&mut self, to: &mut W, value: i64) -> io::Result<()> {
        write_integer(to, value.into())
    }

    fn write_u64<W: ?Sized + Write>(&mut self, to: &mut W, value: u64) -> io::Result<()> {
        write_integer(to, value.into())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, to: &mut W, value: f64) -> io::Result<()> {
        write_number(to, value)
    }

    inside! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Value;

    #[test]
    fn numbers_are_written_as_json_stringify_writes_them() {
        // As `node -p 'JSON.stringify(x)'` prints them.
        let cases = [
            (2f64.powi(63), "9223372036854776000"),
            (-(2f64.powi(63)), "-9223372036854776000"),
            (2f64.powi(64), "18446744073709552000"),
            (2f64.powi(53), "9007199254740992"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (1_234_567_890_123_456_768.0, "1234567890123456800"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (0.1 + 0.2, "0.30000000000000004"),
            (100.0, "100"),
            (0.0, "0"),
            (-0.0, "0"),
            (-1.5, "-1.5"),
        ];
        for (number, text) in cases {
            let json = Value::Number(number).to_json().unwrap();
            assert_eq!(json_text(&json), text, "{number:?}");
            let read: f64 = serde_json::from_str(text).unwrap();
            assert_eq!(read, number, "{text}");
        }
    }

    #[test]
    fn a_bigint_that_is_no_number_keeps_its_digits() {
        for text in [
            "9007199254740993",
            "9223372036854775807",
            "-9007199254740993",
        ] {
            let read = Value::from_json(serde_json::from_str(text).unwrap()).unwrap();
            assert_eq!(read.type_name(), "bigint", "{text}");
            assert_eq!(json_text(&read.to_json().unwrap()), text);
        }
    }

    #[test]
    fn everything_else_is_written_as_ever() {
        let json = json!({"a": [1, {"b": null}, "ä\n", true], "c": {}, "d": []});
        assert_eq!(json_text(&json), json.to_string());
        let pretty = serde_json::to_string_pretty(&json).unwrap();
        assert_eq!(json_text_pretty(&json), pretty);
    }
}
