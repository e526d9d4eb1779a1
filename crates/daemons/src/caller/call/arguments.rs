//! The arguments of a call, from the command line, files and the standard input stream.

use std::io::Read;

use js_rpc::{Args, Value};

use crate::exit::Failure;

/// Reads the arguments: each is JSON, or `@FILE`, or `@-` for `stdin`.
pub(super) fn read(texts: &[String], mut stdin: impl Read) -> Result<Args, Failure> {
    if texts.iter().filter(|text| *text == "@-").count() > 1 {
        let reason = "only one argument can be @-: stdin is read to its end";
        return Err(Failure::Usage(reason.into()));
    }
    let mut values = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        let source = Source::of(i + 1, text);
        let text = source.text(text, &mut stdin)?;
        values.push(source.value(&text)?);
    }
    Ok(Args::from(values))
}

/// Where an argument comes from.
struct Source<'a> {
    number: usize,
    file: Option<&'a str>,
}

impl<'a> Source<'a> {
    fn of(number: usize, text: &'a str) -> Self {
        Self {
            number,
            file: text.strip_prefix('@'),
        }
    }

    fn text(&self, given: &str, stdin: &mut impl Read) -> Result<String, Failure> {
        let read = match self.file {
            None => return Ok(given.to_owned()),
            Some("-") => {
                let mut text = String::new();
                stdin.read_to_string(&mut text).map(|_| text)
            }
            Some(path) => std::fs::read_to_string(path),
        };
        read.map_err(|error| {
            let number = self.number;
            Failure::Usage(format!(
                "argument {number} cannot be read: {given}: {error}"
            ))
        })
    }

    fn value(&self, text: &str) -> Result<Value, Failure> {
        let number = self.number;
        let json = js_value::json_from_text(text.as_bytes()).map_err(|error| {
            let hint = match self.file {
                None if is_bare_word(text) => format!("; for a string write '{:?}'", text.trim()),
                _ => String::new(),
            };
            Failure::Usage(format!("argument {number} is not JSON: {error}{hint}"))
        })?;
        Value::from_json(json)
            .map_err(|error| Failure::Usage(format!("argument {number} is not a value: {error}")))
    }
}

/// A text that somebody forgot to quote twice, once for the shell and once for JSON.
fn is_bare_word(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(char::is_alphabetic)
        && text.len() <= 80
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || " _-./:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn each_argument_is_a_value_and_one_may_come_from_stdin() {
        let args = read(&strings(&["1", "@-", "{\"$bigint\":\"5\"}"]), &b"[2]"[..]).unwrap();
        assert_eq!(args.values.len(), 3);
        assert_eq!(args.values[1], Value::from(vec![Value::from(2)]));
        assert_eq!(args.values[2].type_name(), "bigint");
    }

    #[test]
    fn a_cut_emoji_and_a_byte_order_mark_are_read() {
        let texts = strings(&["\"\\ud83d\"", "\u{feff}1", "@-"]);
        let args = read(&texts, &b"\xef\xbb\xbf[\"\\ude00\"]"[..]).unwrap();
        assert_eq!(args.values[0].type_name(), "string");
        assert_eq!(args.values[1], Value::from(1));
        assert_eq!(args.values[2].type_name(), "Array");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases: [(&[&str], &str); 6] = [
            (
                &["1", "{\"a\":}"],
                "argument 2 is not JSON: expected value at line 1 column 6",
            ),
            (&["Ada"], "for a string write '\"Ada\"'"),
            (&[""], "argument 1 is not JSON: EOF"),
            (&["@-", "@-"], "only one argument can be @-"),
            (
                &["@/nowhere/x.json"],
                "argument 1 cannot be read: @/nowhere/x.json: No such file",
            ),
            (&["{\"$date\":7}"], "argument 1 is not a value"),
        ];
        for (texts, says) in cases {
            let error = read(&strings(texts), &b""[..]).unwrap_err();
            assert!(error.to_string().contains(says), "{texts:?}: {error}");
            assert_eq!(error.code(), 2);
        }
    }
}
