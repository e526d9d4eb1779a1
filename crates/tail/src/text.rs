//! Text of other processes, made fit for a terminal: escaped, shortened, and times for people.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use binding_span::{AttributeList, AttributeValue};

/// Whether a character would do something to a terminal or to what a reader believes to see instead
/// of being seen: controls (ANSI escapes begin with one, in C1 also with a single one), line and
/// paragraph separators, bidirectional overrides, invisible characters, tags.
pub(crate) fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}')
}

/// The text with every character that a terminal would act on, or that cannot be seen, as an escape:
/// `\n`, `\t`, `\u{1b}`. A backslash stays one, so this is for reading, not for parsing.
///
/// ```
/// assert_eq!(tail::escape("\u{1b}[31mred\u{202e}"), r"\u{1b}[31mred\u{202e}");
/// ```
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push_escaped(&mut out, c));
    Cow::Owned(out)
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_hidden(c) => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// A string value: quoted, quotes and backslashes escaped; at most `max` characters of it, and then
/// its true length.
pub(crate) fn quote(text: &str, max: usize) -> String {
    let mut out = String::from("\"");
    let shown = text
        .char_indices()
        .nth(max)
        .map_or(text.len(), |(at, _)| at);
    for c in text[..shown].chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        push_escaped(&mut out, c);
    }
    if shown < text.len() {
        let _ = write!(out, "…\" ({} bytes)", grouped(text.len() as u64));
    } else {
        out.push('"');
    }
    out
}

/// A value, as [`quote`] shows texts: of a list at most `max` characters of all of them, and then how many more
/// elements there are.
pub(crate) fn value(value: &AttributeValue, max: usize) -> String {
    match value {
        AttributeValue::String(text) => quote(text, max),
        AttributeValue::List(list) => match &**list {
            AttributeList::Strings(texts) => elements(texts, max, |text, left| quote(text, left)),
            AttributeList::Bools(list) => elements(list, max, |value, _| value.to_string()),
            AttributeList::Int64s(list) => elements(list, max, |value, _| value.to_string()),
            AttributeList::Float64s(list) => elements(list, max, |value, _| format!("{value:?}")),
        },
        scalar => scalar.to_string(),
    }
}

/// `["a","b", … 3 more]`
fn elements<T>(list: &[T], max: usize, shown: impl Fn(&T, usize) -> String) -> String {
    let mut out = String::from("[");
    let mut left = max;
    for (i, element) in list.iter().enumerate() {
        if left == 0 {
            let _ = write!(out, ", … {} more", grouped((list.len() - i) as u64));
            break;
        }
        if i > 0 {
            out.push(',');
        }
        let element = shown(element, left);
        left = left.saturating_sub(element.chars().count());
        out.push_str(&element);
    }
    out.push(']');
    out
}

/// A name or a key. One that could be mistaken for something else on its line (spaces, quotes,
/// signs of ours) is quoted.
pub(crate) fn name(text: &str, max: usize) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-/:@#$+*()[]<>&%?!,;~^".contains(c);
    let short = text.chars().nth(max).is_none();
    if short && !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        quote(text, max)
    }
}

/// Digits in groups of three: `12,345`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration in the unit that suits it, three digits or so: `640 µs`, `3.1 ms`, `42 ms`, `1.25 s`,
/// `2 min 5 s`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(tail::human_duration(Duration::from_micros(3140)), "3.1 ms");
/// ```
pub fn human_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..9_950 => format!("{:.1} ms", micros as f64 / 1e3),
        9_950..999_500 => format!("{:.0} ms", micros as f64 / 1e3),
        999_500..59_995_000 => format!("{:.2} s", micros as f64 / 1e6),
        _ => {
            let seconds = (duration.as_millis() + 500) / 1000;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_the_rest_is_not() {
        let cases = [
            ("plain", "plain"),
            ("naïve 数据 नमस्ते", "naïve 数据 नमस्ते"),
            ("a\u{1b}[2Jb", r"a\u{1b}[2Jb"),
            ("a\u{9b}2Jb", r"a\u{9b}2Jb"),
            ("line\r\nline\tend\0", r"line\r\nline\tend\u{0}"),
            (
                "\u{202e}\u{2066}\u{200b}\u{feff}",
                r"\u{202e}\u{2066}\u{200b}\u{feff}",
            ),
            ("\u{7f}\u{2028}\u{e0041}", r"\u{7f}\u{2028}\u{e0041}"),
        ];
        for (raw, shown) in cases {
            assert_eq!(escape(raw), shown);
        }
    }

    #[test]
    fn names_that_could_mislead_are_quoted() {
        let cases = [
            ("d1.query", "d1.query"),
            ("a b", r#""a b""#),
            ("x  3 ms  ok", r#""x  3 ms  ok""#),
            ("", r#""""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("→", r#""→""#),
        ];
        for (raw, shown) in cases {
            assert_eq!(name(raw, 64), shown);
        }
    }

    #[test]
    fn a_long_text_is_shortened_between_characters_and_tells_its_length() {
        assert_eq!(quote("äöü", 3), r#""äöü""#);
        assert_eq!(quote("äöüß", 3), r#""äöü…" (8 bytes)"#);
        assert_eq!(quote(&"x".repeat(12_345), 2), r#""xx…" (12,345 bytes)"#);
    }

    #[test]
    fn a_list_shows_its_elements_as_far_as_there_is_space() {
        let cases: [(AttributeValue, &str); 7] = [
            (["a", "b"].into(), r#"["a","b"]"#),
            (["a, b", "\"\u{1b}\n"].into(), r#"["a, b","\"\u{1b}\n"]"#),
            (vec!["x".repeat(11)].into(), r#"["xxxxxxxxxx…" (11 bytes)]"#),
            (["x"; 12].into(), r#"["x","x","x","x", … 8 more]"#),
            ([1, -20].into(), "[1,-20]"),
            ([1.0, f64::INFINITY].into(), "[1.0,inf]"),
            (vec![true; 1000].into(), "[true,true,true, … 997 more]"),
        ];
        for (list, shown) in cases {
            assert_eq!(value(&list, 10), shown);
        }
        assert_eq!(value(&1.5.into(), 1), "1.5");
        assert_eq!(value(&"text".into(), 2), r#""te…" (4 bytes)"#);
    }

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        let cases = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.0 ms"),
            (9_949, "9.9 ms"),
            (9_951, "10 ms"),
            (999_499, "999 ms"),
            (999_500, "1.00 s"),
            (59_994_000, "59.99 s"),
            (60_000_000, "1 min 0 s"),
            (125_400_000, "2 min 5 s"),
        ];
        for (micros, shown) in cases {
            assert_eq!(human_duration(Duration::from_micros(micros)), shown);
        }
    }
}
