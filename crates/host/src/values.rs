//! What options and keys of a file take: times, sizes, numbers, switches, texts that may be secrets.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// Reads a time span: `500ms`, `5s`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a time such as 500ms, 5s or 2m"))
}

/// Reads a time span that is not zero.
pub fn deadline(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing is done in no time; write a time such as 5s".into()),
        deadline => Ok(deadline),
    }
}

/// Reads how long ago, or when; at the earliest 1970.
pub fn since(text: &str) -> Result<SystemTime, String> {
    let first = SystemTime::UNIX_EPOCH;
    if let Ok(ago) = humantime::parse_duration(text) {
        let then = SystemTime::now().checked_sub(ago);
        return Ok(then.map_or(first, |then| then.max(first)));
    }
    let time = humantime::parse_rfc3339_weak(text);
    time.map_err(|_| {
        format!("write how long ago, such as 10m, or when: 2026-11-22T07:18:14Z, not {text}")
    })
}

/// Splits `NAME=REST`.
pub fn named<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), String> {
    match text.split_once('=') {
        Some((name, rest)) if !name.is_empty() && !rest.is_empty() => Ok((name, rest)),
        _ => Err(format!("write {form}")),
    }
}

/// Reads how many of something there may be.
pub fn count<T: FromStr>(text: &str) -> Result<T, String> {
    let error = || format!("write a whole number that is not negative, not {text}");
    text.parse().map_err(|_| error())
}

/// The same, but not none.
pub fn positive<T: FromStr + PartialEq + From<bool>>(text: &str) -> Result<T, String> {
    match count::<T>(text)? {
        none if none == T::from(false) => {
            Err("with none of them nothing works; write 1 or more".into())
        }
        count => Ok(count),
    }
}

/// A number of bytes: `65536`, `64KiB`, `33MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(
    /// The number.
    pub u64,
);

impl Size {
    /// The same, as lengths in memory are.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = text.parse::<bytesize::ByteSize>();
        let size =
            size.map_err(|_| format!("write a size such as 65536, 64KiB or 33MiB, not {text}"))?;
        Ok(Self(size.as_u64()))
    }
}

/// Reads a number of bytes, but not none.
pub fn some_bytes(text: &str) -> Result<Size, String> {
    match text.parse()? {
        Size(0) => Err("with none nothing works; write a size such as 64KiB".into()),
        size => Ok(size),
    }
}

/// A text that is a secret, or may have become one by mistake: a key where its file's name is expected. Neither
/// messages nor debug output repeat it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sensitive(
    /// The text.
    pub String,
);

impl FromStr for Sensitive {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive(..)")
    }
}

/// A switch that is on or off by a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(
    /// Whether it is on.
    pub bool,
);

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" | "true" => Ok(Self(true)),
            "off" | "false" => Ok(Self(false)),
            _ => Err("write on or off"),
        }
    }
}

/// A switch that can also say where: `on`, `off`, or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchOrPath {
    /// `off`.
    Off,
    /// `on`.
    On,
    /// A path.
    At(PathBuf),
}

impl FromStr for SwitchOrPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" | "true" | "yes" | "1" => Ok(Self::On),
            "off" | "false" | "no" | "0" => Ok(Self::Off),
            "" => Err("behind = there is no directory; leave out the = or write one"),
            path => Ok(Self::At(path.into())),
        }
    }
}

/// The name that occurs twice, if one does.
pub fn twice<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

/// Reads a host that requests may name.
pub fn host(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!(
            "{text:?} is not a host; write a name or an address, without a scheme"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit_and_deadlines_a_length() {
        assert_eq!(deadline("1m 500ms"), Ok(Duration::from_millis(60_500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "5", "-5s", "soon"] {
            assert!(duration(wrong).unwrap_err().contains("500ms"), "{wrong}");
        }
        assert!(deadline("0s").unwrap_err().contains("no time"));
    }

    #[test]
    fn a_time_in_the_past_is_how_long_ago_or_when() {
        let time = since("2026-11-22T07:18:14Z").unwrap();
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(seconds, Duration::from_secs(1_795_331_894));
        let ago = since("10m").unwrap().elapsed().unwrap().as_secs();
        assert!((600..610).contains(&ago), "{ago}");
        // What comes of it is written as a date, which there is none of before.
        for long in ["100years", "500000000000years"] {
            assert_eq!(since(long), Ok(SystemTime::UNIX_EPOCH), "{long}");
        }
        assert!(since("yesterday").unwrap_err().contains("10m"));
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("64KiB", 65_536),
            ("1.5 MiB", 1_572_864),
            ("2kB", 2_000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for wrong in ["", "-1", "many", "5 apples"] {
            assert!(
                wrong.parse::<Size>().unwrap_err().contains("64KiB"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn limits_that_let_nothing_through_are_refused() {
        assert_eq!(positive::<usize>("1"), Ok(1));
        assert_eq!(some_bytes("1B"), Ok(Size(1)));
        for refused in [
            positive::<usize>("0").unwrap_err(),
            some_bytes("0").unwrap_err(),
        ] {
            assert!(refused.contains("nothing works"), "{refused}");
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_found() {
        assert_eq!(twice(["a", "b", "a", "b"]), Some("a"));
        assert_eq!(twice(["a", "b"]), None);
    }
}
