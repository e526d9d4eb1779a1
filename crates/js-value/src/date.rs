//! Dates as JavaScript writes them.

use time::format_description::well_known::Rfc3339;
use time::{Date as Day, Month, OffsetDateTime};

/// The farthest that a JavaScript date may be from 1970, in milliseconds.
const MAX_MS: f64 = 8.64e15;

/// A JavaScript `Date` as a serde type: milliseconds since 1970 UTC, NaN for an invalid date.
///
/// ```
/// use js_value::{Date, Value, to_value};
/// assert_eq!(to_value(&Date(0.0))?, Value::Date(0.0));
/// assert_eq!(serde_json::to_string(&Date(0.0))?, r#"{"$date":"1970-01-01T00:00:00.000Z"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Date(pub f64);

/// As `Date.prototype.toISOString`: `None` for an invalid date.
pub(crate) fn to_iso(ms: f64) -> Option<String> {
    if ms.is_nan() || ms.abs() > MAX_MS {
        return None;
    }
    let ns = ms.trunc() as i128 * 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(ns).ok()?;
    let year = match at.year() {
        year @ 0..=9999 => format!("{year:04}"),
        year => format!("{year:+07}"),
    };
    let (month, day) = (u8::from(at.month()), at.day());
    let (hour, minute, second, ms) = at.time().as_hms_milli();
    Some(format!(
        "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
    ))
}

/// Milliseconds since 1970 of a date and time with offset (RFC 3339, or with JavaScript's six-digit
/// years), or of a date alone (UTC).
pub(crate) fn from_iso(text: &str) -> Option<f64> {
    let digits = if text.starts_with(['+', '-']) { 7 } else { 4 };
    let year: i32 = text.get(..digits)?.parse().ok()?;
    let month: u8 = text
        .get(digits..digits + 3)?
        .strip_prefix('-')?
        .parse()
        .ok()?;
    let day: u8 = text
        .get(digits + 3..digits + 6)?
        .strip_prefix('-')?
        .parse()
        .ok()?;
    let day = Day::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let time = match text.get(digits + 6..)? {
        "" => "T00:00:00Z",
        time => time,
    };
    // The time of day does not depend on the day: any will do to parse it.
    let at = OffsetDateTime::parse(&format!("2000-01-01{time}"), &Rfc3339).ok()?;
    let at = at
        .replace_date(day)
        .unix_timestamp_nanos()
        .div_euclid(1_000_000) as f64;
    (at.abs() <= MAX_MS).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_and_write_as_javascript_does() {
        for (ms, iso) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (1.0, "1970-01-01T00:00:00.001Z"),
            (-1.0, "1969-12-31T23:59:59.999Z"),
            (1_795_340_000_123.0, "2026-11-22T09:33:20.123Z"),
            (8.64e15, "+275760-09-13T00:00:00.000Z"),
            (-8.64e15, "-271821-04-20T00:00:00.000Z"),
            (-62_198_755_200_000.0, "-000001-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(to_iso(ms).as_deref(), Some(iso));
            assert_eq!(from_iso(iso), Some(ms));
        }
    }

    #[test]
    fn offsets_and_days_alone_are_understood() {
        assert_eq!(from_iso("1970-01-01T01:00:00+01:00"), Some(0.0));
        assert_eq!(from_iso("1970-01-02"), Some(86_400_000.0));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "x",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "1970-01-01T",
            "é970-01-01",
        ] {
            assert_eq!(from_iso(text), None, "{text:?}");
        }
        assert_eq!(to_iso(f64::NAN), None);
        assert_eq!(to_iso(8.64e15 + 1.0), None);
    }
}
