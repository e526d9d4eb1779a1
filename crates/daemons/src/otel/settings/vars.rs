//! Reading variables: what is empty is not set, and what cannot be used is ignored with a warning.

use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// The variables, and what was wrong with them.
pub(super) struct Vars<'a> {
    source: &'a dyn Fn(&str) -> Option<String>,
    pub(super) warnings: Vec<String>,
}

/// What `OTEL_TRACES_EXPORTER` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exporters {
    /// Nothing: the other variables decide.
    Unsaid,
    /// OTLP, even if no address is said.
    Otlp,
    /// No export.
    None,
}

impl<'a> Vars<'a> {
    pub(super) fn new(source: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            source,
            warnings: Vec::new(),
        }
    }

    pub(super) fn warn(&mut self, line: String) {
        self.warnings.push(line);
    }

    /// A value is ignored, because it is not `wanted`.
    pub(super) fn ignore(&mut self, name: &str, value: &str, wanted: &str) {
        self.warn(format!("{name}={value:?} is ignored: write {wanted}"));
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = (self.source)(name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The value of an enumerated variable, whose case does not count.
    pub(super) fn word(&self, name: &str) -> Option<String> {
        self.text(name).map(|text| text.to_ascii_lowercase())
    }

    /// The first of several variables that is set.
    pub(super) fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        names
            .iter()
            .find_map(|name| Some((*name, self.text(name)?)))
    }

    /// The value of the first variable that can be read; the others are warned of.
    fn parsed<T: FromStr>(&mut self, names: &[&str], wanted: &str) -> Option<T> {
        for name in names {
            let Some(text) = self.text(name) else {
                continue;
            };
            match text.parse() {
                Ok(value) => return Some(value),
                Err(_) => self.ignore(name, &text, wanted),
            }
        }
        None
    }

    pub(super) fn number(&mut self, names: &[&str]) -> Option<usize> {
        self.parsed(names, "a whole number")
    }

    pub(super) fn positive(&mut self, names: &[&str]) -> Option<usize> {
        let number: std::num::NonZeroUsize = self.parsed(names, "a whole number from 1")?;
        Some(number.get())
    }

    pub(super) fn millis(&mut self, names: &[&str]) -> Option<Duration> {
        let millis: u32 = self.parsed(names, "a number of milliseconds")?;
        Some(Duration::from_millis(millis.into()))
    }

    /// How long something may take: 0 means that there is no end to it, which is the longest time here.
    pub(super) fn timeout(&mut self, names: &[&str]) -> Option<Duration> {
        let timeout = self.millis(names)?;
        Some(match timeout.is_zero() {
            true => Duration::from_millis(u32::MAX.into()),
            false => timeout,
        })
    }

    /// As the specification has it: `true` in any case is true, everything else is false.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let Some(text) = self.text(name) else {
            return false;
        };
        let set = text.eq_ignore_ascii_case("true");
        if !set && !text.eq_ignore_ascii_case("false") {
            self.ignore(name, &text, "true or false");
        }
        set
    }

    /// Reads `key=value,key=value`, percent-encoded.
    pub(super) fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let text = self.text(name).unwrap_or_default();
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let parts = pair
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()));
            let decoded = parts
                .filter(|(key, _)| !key.is_empty())
                .and_then(|(key, value)| {
                    let key = percent_decode_str(key).decode_utf8().ok()?;
                    let value = percent_decode_str(value).decode_utf8().ok()?;
                    Some((key.into_owned(), value.into_owned()))
                });
            match decoded {
                Some((key, value)) => {
                    pairs.retain(|(known, _)| *known != key);
                    pairs.push((key, value));
                }
                // Not shown: headers are secrets.
                None => self.warn(format!(
                    "an entry of {name} is ignored: write key=value,key=value, percent-encoded"
                )),
            }
        }
        pairs
    }

    pub(super) fn exporters(&mut self) -> Exporters {
        let name = "OTEL_TRACES_EXPORTER";
        let text = self.word(name).unwrap_or_default();
        let mut asked = Exporters::Unsaid;
        for exporter in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            match exporter {
                "otlp" => asked = Exporters::Otlp,
                "none" if asked == Exporters::Unsaid => asked = Exporters::None,
                "console" => self.warn(format!(
                    "{name}: there is no console exporter here; --tail stderr shows spans"
                )),
                other => self.ignore(name, other, "otlp or none"),
            }
        }
        asked
    }
}
