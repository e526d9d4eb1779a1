//! What is tried again, and when.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::ai::options::Backoff;
use crate::ai::upstream::UpstreamError;

/// The longest pause between two attempts. A provider that asks for a longer one is not retried.
pub(in crate::ai) const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How often a provider is asked, and how long is waited between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ai) struct Attempts {
    /// All of them, the first included: 1 to 5.
    pub(in crate::ai) max: u32,
    /// How long before the second.
    pub(in crate::ai) delay: Duration,
    /// How that grows.
    pub(in crate::ai) backoff: Backoff,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy)]
pub(in crate::ai) enum Outcome<'a> {
    /// An answer.
    Answer(StatusCode, &'a HeaderMap),
    /// None.
    Error(&'a UpstreamError),
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ai) enum Next {
    /// It is a success.
    Done,
    /// Ask the same provider again after this pause.
    Again(Duration),
    /// The next request of the list is worth a try; if there is none, this outcome is the caller's.
    GiveUp,
}

/// Attempts at one provider for one request.
#[derive(Debug, Clone)]
pub(in crate::ai) struct Tries {
    attempts: Attempts,
    made: u32,
}

impl Attempts {
    /// Begins.
    pub(in crate::ai) fn begin(self) -> Tries {
        Tries {
            attempts: self,
            made: 0,
        }
    }

    /// The pause after so many attempts.
    fn pause(&self, made: u32) -> Duration {
        let factor = match self.backoff {
            Backoff::Constant => 1,
            Backoff::Linear => made,
            Backoff::Exponential => 1u32.checked_shl(made.saturating_sub(1)).unwrap_or(u32::MAX),
        };
        self.delay.saturating_mul(factor).min(MAX_PAUSE)
    }
}

impl Tries {
    /// How many attempts were made.
    #[cfg(test)]
    pub(in crate::ai) fn made(&self) -> u32 {
        self.made
    }

    /// Counts an attempt that has ended, and says what to do.
    ///
    /// Any error of a provider, of the client's making or not, is a reason for the next request of the list, as with
    /// Cloudflare: another provider may know the model that this one does not. Only what passes by itself is a reason
    /// to ask the same one again.
    pub(in crate::ai) fn after(&mut self, outcome: Outcome<'_>) -> Next {
        self.made = self.made.saturating_add(1);
        if outcome.is_success() {
            return Next::Done;
        }
        if !outcome.is_passing() || self.made >= self.attempts.max {
            return Next::GiveUp;
        }
        let pause = self.attempts.pause(self.made);
        match outcome.retry_after() {
            Some(asked) if asked > MAX_PAUSE => Next::GiveUp,
            Some(asked) => Next::Again(pause.max(asked)),
            None => Next::Again(pause),
        }
    }
}

impl Outcome<'_> {
    fn is_success(self) -> bool {
        matches!(self, Self::Answer(status, _) if status.as_u16() < 400)
    }

    /// Whether the same request may be answered a little later.
    fn is_passing(self) -> bool {
        match self {
            // 529: Anthropic's "overloaded".
            Self::Answer(status, _) => {
                matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504 | 529)
            }
            Self::Error(error) => error.is_passing(),
        }
    }

    /// The pause that the provider asks for.
    fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Answer(_, headers) => retry_after(headers, SystemTime::now()),
            Self::Error(UpstreamError::Open { retry_after, .. }) => Some(*retry_after),
            Self::Error(_) => None,
        }
    }
}

/// `retry-after-ms` (OpenAI's, exact), else `Retry-After` in seconds or as a date. What is neither is ignored.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| *number >= 0.0);
    let at_most = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    if let Some(ms) = text("retry-after-ms").and_then(number) {
        return Some(at_most(ms / 1000.0));
    }
    let text = text(RETRY_AFTER.as_str())?;
    if let Some(seconds) = number(text) {
        return Some(at_most(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn attempts(max: u32, backoff: Backoff) -> Attempts {
        Attempts {
            max,
            delay: SECOND,
            backoff,
        }
    }

    fn answer(tries: &mut Tries, status: u16, headers: &[(&'static str, &str)]) -> Next {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        tries.after(Outcome::Answer(
            StatusCode::from_u16(status).unwrap(),
            &headers,
        ))
    }

    #[test]
    fn pauses_grow_as_the_backoff_says() {
        for (backoff, seconds) in [
            (Backoff::Constant, [1, 1, 1, 1]),
            (Backoff::Linear, [1, 2, 3, 4]),
            (Backoff::Exponential, [1, 2, 4, 8]),
        ] {
            let mut tries = attempts(5, backoff).begin();
            for seconds in seconds {
                let next = answer(&mut tries, 503, &[]);
                assert_eq!(next, Next::Again(SECOND * seconds), "{backoff:?}");
            }
            assert_eq!(answer(&mut tries, 503, &[]), Next::GiveUp);
            assert_eq!(tries.made(), 5);
        }
    }

    #[test]
    fn a_pause_has_an_end() {
        let slow = Attempts {
            delay: Duration::from_secs(5),
            ..attempts(5, Backoff::Exponential)
        };
        assert_eq!(slow.pause(4), MAX_PAUSE);
        assert_eq!(slow.pause(u32::MAX), MAX_PAUSE);
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        for status in [408, 429, 500, 502, 503, 504, 529] {
            let mut tries = attempts(2, Backoff::Constant).begin();
            assert_eq!(
                answer(&mut tries, status, &[]),
                Next::Again(SECOND),
                "{status}"
            );
            assert_eq!(answer(&mut tries, status, &[]), Next::GiveUp, "{status}");
        }
        for status in [400, 401, 403, 404, 413, 422, 501, 505] {
            let mut tries = attempts(5, Backoff::Constant).begin();
            assert_eq!(answer(&mut tries, status, &[]), Next::GiveUp, "{status}");
        }
        for status in [200, 201, 204, 304] {
            let mut tries = attempts(1, Backoff::Constant).begin();
            assert_eq!(answer(&mut tries, status, &[]), Next::Done, "{status}");
        }
    }

    #[test]
    fn the_provider_is_left_alone_as_long_as_it_asks_but_not_for_ever() {
        for (header, value, next) in [
            ("retry-after", "3", Next::Again(3 * SECOND)),
            ("retry-after", "0", Next::Again(SECOND)),
            ("retry-after", "0.2", Next::Again(SECOND)),
            ("retry-after", "31", Next::GiveUp),
            ("retry-after", "1e300", Next::GiveUp),
            ("retry-after", "-5", Next::Again(SECOND)),
            ("retry-after", "NaN", Next::Again(SECOND)),
            ("retry-after", "inf", Next::GiveUp),
            ("retry-after", "soon", Next::Again(SECOND)),
            (
                "retry-after-ms",
                "1500",
                Next::Again(Duration::from_millis(1500)),
            ),
            (
                "retry-after",
                "Sun, 06 Nov 1994 08:49:37 GMT",
                Next::Again(SECOND),
            ),
            ("retry-after", "Sun, 06 Nov 2050 08:49:37 GMT", Next::GiveUp),
        ] {
            let mut tries = attempts(5, Backoff::Constant).begin();
            let got = answer(&mut tries, 429, &[(header, value)]);
            assert_eq!(got, next, "{header}: {value}");
        }
    }

    #[test]
    fn a_date_is_waited_for() {
        let now = SystemTime::now();
        let mut headers = HeaderMap::new();
        let date = httpdate::fmt_http_date(now + 10 * SECOND);
        headers.insert(RETRY_AFTER, HeaderValue::from_str(&date).unwrap());
        let wait = retry_after(&headers, now).unwrap();
        assert!(wait > 8 * SECOND && wait <= 10 * SECOND, "{wait:?}");
    }

    #[test]
    fn a_key_that_cannot_be_read_is_no_reason_to_try_again_and_an_open_circuit_only_after_its_time()
    {
        let key = UpstreamError::Key {
            name: "p".into(),
            reason: "gone".into(),
        };
        let mut tries = attempts(5, Backoff::Constant).begin();
        assert_eq!(tries.after(Outcome::Error(&key)), Next::GiveUp);
        let open = |seconds| UpstreamError::Open {
            name: "p".into(),
            retry_after: SECOND * seconds,
        };
        let mut tries = attempts(5, Backoff::Constant).begin();
        let next = tries.after(Outcome::Error(&open(9)));
        assert_eq!(next, Next::Again(9 * SECOND));
        assert_eq!(tries.after(Outcome::Error(&open(60))), Next::GiveUp);
    }
}
