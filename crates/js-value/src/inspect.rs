//! Values for people, much as a JavaScript console shows them: bounded, on one line.

use crate::{Boxed, Headers, JsError, JsString, Object, Request, Response, Value};
use std::fmt::{self, Write};

const MAX_DEPTH: usize = 4;
const MAX_ENTRIES: usize = 32;
const MAX_TEXT: usize = 256;
const MAX_BYTES: usize = 16;

/// As a JavaScript console shows the value: strings inside objects are quoted, a string by itself
/// is not. Long lists and texts, and what is deeply nested, are cut and say so; control characters
/// come out escaped.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String(text) => escaped(f, &text.to_string_lossy()),
            other => inspect(f, other, 0),
        }
    }
}

/// A number as JavaScript prints it.
pub(crate) fn number(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .into();
    }
    let size = number.abs();
    if number == 0.0 || (1e-6..1e21).contains(&size) {
        // JavaScript prints -0 as 0.
        return (number + 0.0).to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

fn inspect(f: &mut fmt::Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    match value {
        Value::Undefined => f.write_str("undefined"),
        Value::Null => f.write_str("null"),
        Value::Bool(flag) => write!(f, "{flag}"),
        Value::Number(n) if *n == 0.0 && n.is_sign_negative() && depth > 0 => f.write_str("-0"),
        Value::Number(n) => f.write_str(&number(*n)),
        Value::BigInt(n) => bigint(f, n),
        Value::String(text) => quoted(f, text),
        Value::Date(ms) => f.write_str(&crate::date::to_iso(*ms).unwrap_or("Invalid Date".into())),
        Value::RegExp(regexp) => {
            f.write_char('/')?;
            escaped(f, &regexp.source.to_string_lossy())?;
            write!(f, "/{}", regexp.flags)
        }
        Value::ArrayBuffer(data) => bytes(f, "ArrayBuffer", Some(data)),
        Value::View(view) => bytes(f, view.kind.name(), view.bytes()),
        Value::Stub(n) => write!(f, "[stub {n}]"),
        Value::ReadableStream(n) => write!(f, "[ReadableStream {n}]"),
        Value::WritableStream(n) => write!(f, "[WritableStream {n}]"),
        Value::Blob(blob) => {
            f.write_str("Blob(")?;
            escaped(f, &blob.media_type)?;
            write!(f, ") <{} bytes>", blob.bytes.len())
        }
        Value::Boxed(boxed) => inspect_boxed(f, boxed),
        Value::BackRef(n) => write!(f, "[ref *{n}]"),
        _ if depth >= MAX_DEPTH => write!(f, "[{}]", value.type_name()),
        _ => nested(f, value, depth + 1),
    }
}

fn nested(f: &mut fmt::Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    match value {
        Value::Array(elements) => list(f, "[", "]", elements, |f, value| inspect(f, value, depth)),
        Value::Set(elements) => {
            write!(f, "Set({}) ", elements.len())?;
            list(f, "{", "}", elements, |f, value| inspect(f, value, depth))
        }
        Value::Map(entries) => {
            write!(f, "Map({}) ", entries.len())?;
            list(f, "{", "}", entries, |f, (key, value)| {
                inspect(f, key, depth)?;
                f.write_str(" => ")?;
                inspect(f, value, depth)
            })
        }
        Value::SparseArray(array) => {
            write!(f, "Array({}) ", array.length())?;
            list(f, "[", "]", array.elements(), |f, (index, value)| {
                write!(f, "{index}: ")?;
                inspect(f, value, depth)
            })
        }
        Value::Object(object) => properties(f, object, depth),
        Value::Error(error) => self::error(f, error, depth),
        Value::Headers(headers) => {
            f.write_str("Headers ")?;
            self::headers(f, headers)
        }
        Value::Request(request) => self::request(f, request),
        Value::Response(response) => self::response(f, response),
        // Every other kind is printed before it gets here.
        _ => Ok(()),
    }
}

/// Headers whose values are secrets as a rule.
const SECRET: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
];

fn headers(f: &mut fmt::Formatter<'_>, headers: &Headers) -> fmt::Result {
    let all: Vec<_> = headers.iter().collect();
    list(f, "{", "}", &all, |f, (name, value)| {
        write!(f, "'{name}': ")?;
        if SECRET
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret))
        {
            return write!(f, "[{} bytes]", value.len());
        }
        f.write_char('\'')?;
        escaped(f, value)?;
        f.write_char('\'')
    })
}

/// Without the query, which often has secrets in it.
fn request(f: &mut fmt::Formatter<'_>, request: &Request) -> fmt::Result {
    let url = request.url.split(['?', '#']).next().unwrap_or_default();
    f.write_str("Request(")?;
    escaped(f, &request.method)?;
    f.write_char(' ')?;
    escaped(f, url)?;
    f.write_str(") ")?;
    headers(f, &request.headers)?;
    body(f, request.body)
}

fn response(f: &mut fmt::Formatter<'_>, response: &Response) -> fmt::Result {
    write!(f, "Response({}", response.status)?;
    if let Some(text) = &response.status_text {
        f.write_char(' ')?;
        escaped(f, text)?;
    }
    f.write_str(") ")?;
    headers(f, &response.headers)?;
    body(f, response.body)
}

fn body(f: &mut fmt::Formatter<'_>, body: Option<u32>) -> fmt::Result {
    match body {
        Some(n) => write!(f, " [ReadableStream {n}]"),
        None => Ok(()),
    }
}

/// An error with its own properties and its cause.
pub(crate) fn error(f: &mut fmt::Formatter<'_>, error: &JsError, depth: usize) -> fmt::Result {
    escaped(f, &error.to_string())?;
    if !error.properties.is_empty() {
        f.write_char(' ')?;
        properties(f, &error.properties, depth)?;
    }
    match &error.cause {
        Some(cause) => {
            f.write_str(" [cause: ")?;
            inspect(f, cause, depth)?;
            f.write_char(']')
        }
        None => Ok(()),
    }
}

fn properties(f: &mut fmt::Formatter<'_>, object: &Object, depth: usize) -> fmt::Result {
    list(f, "{", "}", object.iter(), |f, (name, value)| {
        match name.as_str() {
            Some(plain) if is_identifier(plain) => f.write_str(plain)?,
            _ => quoted(f, name)?,
        }
        f.write_str(": ")?;
        inspect(f, value, depth)
    })
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_' || c == '$')
        && name.len() <= MAX_TEXT
        && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

fn list<I: IntoIterator<IntoIter: ExactSizeIterator>>(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    close: &str,
    items: I,
    mut item: impl FnMut(&mut fmt::Formatter<'_>, I::Item) -> fmt::Result,
) -> fmt::Result {
    let items = items.into_iter();
    let total = items.len();
    if total == 0 {
        return write!(f, "{open}{close}");
    }
    write!(f, "{open} ")?;
    for (at, each) in items.take(MAX_ENTRIES).enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        item(f, each)?;
    }
    if total > MAX_ENTRIES {
        write!(f, ", ... {} more", total - MAX_ENTRIES)?;
    }
    write!(f, " {close}")
}

fn inspect_boxed(f: &mut fmt::Formatter<'_>, boxed: &Boxed) -> fmt::Result {
    match boxed {
        Boxed::Bool(flag) => write!(f, "[Boolean: {flag}]"),
        Boxed::Number(n) => write!(f, "[Number: {}]", number(*n)),
        Boxed::BigInt(n) => {
            f.write_str("[BigInt: ")?;
            bigint(f, n)?;
            f.write_char(']')
        }
        Boxed::String(text) => {
            f.write_str("[String: ")?;
            quoted(f, text)?;
            f.write_char(']')
        }
    }
}

fn bigint(f: &mut fmt::Formatter<'_>, n: &num_bigint::BigInt) -> fmt::Result {
    // To print a long one takes quadratic time, and nobody reads it.
    if n.bits() > 1024 {
        return write!(f, "[BigInt of {} bits]", n.bits());
    }
    write!(f, "{n}n")
}

fn bytes(f: &mut fmt::Formatter<'_>, name: &str, data: Option<&[u8]>) -> fmt::Result {
    let Some(data) = data else {
        return write!(f, "{name} <shared>");
    };
    write!(f, "{name} <")?;
    for (at, byte) in data.iter().take(MAX_BYTES).enumerate() {
        write!(f, "{}{byte:02x}", if at > 0 { " " } else { "" })?;
    }
    if data.len() > MAX_BYTES {
        write!(f, " ... {} more bytes", data.len() - MAX_BYTES)?;
    }
    f.write_char('>')
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &JsString) -> fmt::Result {
    f.write_char('\'')?;
    escaped(f, &text.to_string_lossy())?;
    f.write_char('\'')
}

/// Text that cannot disturb a terminal or a log: no control characters, no bidirectional overrides.
fn escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for (at, c) in text.char_indices() {
        if at >= MAX_TEXT {
            return write!(f, "... {} more bytes", text.len() - at);
        }
        match c {
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() || is_bidirectional(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::View;

    #[test]
    fn values_look_as_on_a_console() {
        let cases: Vec<(Value, &str)> = vec![
            (Value::from("a'b\n"), "a'b\\n"),
            (Value::from(vec!["a"]), "[ 'a' ]"),
            (Value::Array(vec![]), "[]"),
            (
                Value::from(Object::from([("a", 1), ("b c", 2)])),
                "{ a: 1, 'b c': 2 }",
            ),
            (Value::from(vec![Value::Number(-0.0)]), "[ -0 ]"),
            (Value::Number(1e21), "1e+21"),
            (Value::Number(1.5e-7), "1.5e-7"),
            (Value::Number(123456789.5), "123456789.5"),
            (Value::Date(0.0), "1970-01-01T00:00:00.000Z"),
            (Value::Date(f64::NAN), "Invalid Date"),
            (Value::from(View::uint8([1, 255])), "Uint8Array <01 ff>"),
            (
                JsError::type_error("x").with_property("code", 5).into(),
                "TypeError: x { code: 5 }",
            ),
            (Value::Map(vec![(1.into(), 2.into())]), "Map(1) { 1 => 2 }"),
        ];
        for (value, text) in cases {
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn what_is_long_or_deep_is_cut() {
        let mut deep = Value::from(1);
        for _ in 0..100 {
            deep = Value::Array(vec![deep]);
        }
        assert_eq!(deep.to_string(), "[ [ [ [ [Array] ] ] ] ]");
        assert!(
            Value::from(vec![0; 1000])
                .to_string()
                .ends_with(", ... 968 more ]")
        );
        assert!(Value::from("x".repeat(10_000)).to_string().len() < 300);
    }
}
