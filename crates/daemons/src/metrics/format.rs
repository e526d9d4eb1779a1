//! In which of its two text formats metrics are written: what the request says that it takes.
//!
//! Prometheus asks for OpenMetrics by name; curl, Telegraf and older scrapers do not, and read the classic
//! format only.

use http::HeaderMap;
use http::header::ACCEPT;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    Open,
    /// The classic format of Prometheus, 0.0.4.
    Classic,
}

/// How well a range of an `Accept` header fits: not at all, by `*/*`, by its type, by its whole name.
type Fit = u8;

const NAMED: Fit = 3;

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What to answer a request with that has these headers. Whoever takes neither gets the classic one.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter();
        let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let [open, classic] = [Self::Open, Self::Classic].map(|format| format.weight(&values));
        // Where both are as welcome, it has to be named: `*/*` is what anybody says.
        let named = open.0 > 0 && open.1 == NAMED;
        match open.0 > classic.0 || open.0 == classic.0 && named {
            true => Self::Open,
            false => Self::Classic,
        }
    }

    /// How welcome it is, in thousandths, and how well the range fits that says so: the one that fits best
    /// counts, of several the most welcoming.
    fn weight(self, values: &[&str]) -> (u16, Fit) {
        let ranges = values.iter().flat_map(|value| value.split(','));
        let fitting = ranges.filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next()?.to_ascii_lowercase();
            let parameters: Vec<(String, &str)> = parts
                .filter_map(|part| part.split_once('='))
                .map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim()))
                .collect();
            let parameter = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key == name);
                found.map(|(_, value)| value.trim_matches('"'))
            };
            let fit = self.fit(&kind, parameter("version"))?;
            Some((fit, parameter("q").map_or(1000, quality)))
        });
        let best = fitting.max();
        best.map_or((0, 0), |(fit, quality)| (quality, fit))
    }

    fn fit(self, kind: &str, version: Option<&str>) -> Option<Fit> {
        let (family, name, ours) = match self {
            Self::Open => ("application/*", "application/openmetrics-text", "1.0.0"),
            Self::Classic => ("text/*", "text/plain", "0.0.4"),
        };
        match kind {
            "*/*" => Some(1),
            kind if kind == family => Some(2),
            kind if kind == name && version.is_none_or(|version| version == ours) => Some(NAMED),
            _ => None,
        }
    }
}

/// `0.5` in thousandths; what cannot be read counts as nothing said.
fn quality(text: &str) -> u16 {
    match text.parse::<f32>() {
        // At most 1000, and not negative.
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0).round() as u16,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn wanted(values: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        Format::wanted(&headers)
    }

    #[test]
    fn only_who_asks_for_openmetrics_gets_it() {
        use Format::{Classic, Open};
        for (accept, format) in [
            (&[][..], Classic),
            (&["*/*"], Classic),
            (&["text/html, */*;q=0.1"], Classic),
            (&["application/json"], Classic),
            (&["application/openmetrics-text"], Open),
            (&["Application/OpenMetrics-Text; Version=1.0.0"], Open),
            (&["application/openmetrics-text;version=\"1.0.0\""], Open),
            (
                &["application/openmetrics-text;version=0.0.1, */*;q=0.1"],
                Classic,
            ),
            (
                &["application/openmetrics-text;q=0.4,text/plain;q=0.5"],
                Classic,
            ),
            (
                &["application/openmetrics-text;q=0.5,text/plain;q=0.5"],
                Open,
            ),
            (
                &[
                    "text/plain;version=0.0.4;q=0.5",
                    "application/openmetrics-text;q=0.9",
                ],
                Open,
            ),
            (&["application/openmetrics-text;q=0"], Classic),
            (
                &["application/openmetrics-text;q=0, text/plain;q=0"],
                Classic,
            ),
            // The range that fits best counts.
            (&["text/plain;q=0.1, */*;q=0.9"], Open),
            (&["*/*, application/openmetrics-text;q=0.2"], Classic),
            (&["application/*"], Open),
            (&["text/*, application/*;q=0.5"], Classic),
            (
                &["application/openmetrics-text;q=nonsense, text/plain;q=0.9"],
                Open,
            ),
            (&[",;=,;q,"], Classic),
        ] {
            assert_eq!(wanted(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn scrapers_get_what_they_read() {
        // Prometheus 3, Prometheus before 2.31, Telegraf.
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,\
                   text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                   text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let old =
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let telegraf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                        encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3";
        assert_eq!(wanted(&[new]), Format::Open);
        assert_eq!(wanted(&[old]), Format::Classic);
        assert_eq!(wanted(&[telegraf]), Format::Classic);
    }
}
