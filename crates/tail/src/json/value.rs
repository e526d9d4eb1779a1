//! JSON that other processes wrote, and the values of details: dates, UUIDs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How deep JSON within an event is nested at most; below it stand the event's own levels, and a reader follows
/// 128 in all.
pub(super) const DEPTH: usize = 100;

/// A text that is JSON, as its source says. It is written as JSON, and as a string if it is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonText(pub String);

impl JsonText {
    /// What it says; the text itself if it is no JSON.
    pub(crate) fn value(&self) -> Value {
        parse(&self.0).unwrap_or_else(|| Value::String(self.0.clone()))
    }
}

/// What a text says, if it is JSON and not nested too deeply.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let value: Value = super::read(text).ok()?;
    fits(&value, DEPTH).then_some(value)
}

fn fits(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => false,
        Value::Array(list) => list.iter().all(|value| fits(value, depth - 1)),
        Value::Object(object) => object.values().all(|value| fits(value, depth - 1)),
        _ => true,
    }
}

/// A text that is written as the JSON that it is.
pub(crate) struct AsJson<'a>(pub(crate) &'a str);

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match parse(self.0) {
            Some(value) => value.serialize(to),
            None => to.serialize_str(self.0),
        }
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        AsJson(&self.0).serialize(to)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Value::deserialize(from).map(|value| Self(value.to_string()))
    }
}

/// A field that is there, even if it is `null`.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// A date as `JSON.stringify` writes it: `null` if it is none.
pub(crate) mod date {
    use super::*;
    use crate::json::timestamp;

    /// The last millisecond that a date has with four digits for the year.
    const LAST: f64 = 253_402_300_799_999.0;

    /// A time of so many milliseconds since 1970, if that is a date here.
    pub(crate) fn of_millis(millis: f64) -> Option<SystemTime> {
        let known = (0.0..=LAST).contains(&millis);
        known.then(|| UNIX_EPOCH + Duration::from_millis(millis as u64))
    }

    /// Milliseconds since 1970; NaN for none.
    pub(crate) fn millis(time: Option<SystemTime>) -> f64 {
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map_or(f64::NAN, |since| since.as_millis() as f64)
    }

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => timestamp::serialize(time, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        #[derive(Deserialize)]
        struct Time(#[serde(with = "timestamp")] SystemTime);
        Option::<Time>::deserialize(from).map(|time| time.map(|Time(time)| time))
    }
}

/// A UUID with its hyphens.
pub(crate) mod uuid {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(id: &Option<u128>, to: S) -> Result<S::Ok, S::Error> {
        let hex = format!("{:032x}", id.unwrap_or_default());
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        to.serialize_str(&parts.join("-"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<u128>, D::Error> {
        let hex = String::deserialize(from)?.replace('-', "");
        let id = u128::from_str_radix(&hex, 16)
            .ok()
            .filter(|_| hex.len() == 32);
        id.map(Some)
            .ok_or_else(|| D::Error::custom("an id that is no UUID"))
    }
}
