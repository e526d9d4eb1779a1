//! Bodies: how long one may be, how much all that arrive at a time may hold, and how many values one may
//! have. Its memory grows with the bytes that arrive, not with those that its head promises.

use std::cell::Cell;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::answer::Refusal;

/// Bytes of a body: 8 MiB.
const BYTES: usize = 8 * 1024 * 1024;
/// Bytes of all bodies that are arriving, beyond the first [`FREE`] of each: 64 MiB.
const ALL_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that every body may have, however many others arrive.
const FREE: usize = 64 * 1024;
/// How long a body may take to arrive.
const TIME: Duration = Duration::from_secs(30);
/// Values of a body: what our own callees take of a call. Parsed, each holds up to a hundred bytes.
const VALUES: usize = 1 << 20;

/// The bodies that are arriving.
#[derive(Default)]
pub(super) struct Bodies(Cell<usize>);

/// A body as far as it has arrived.
struct Arriving<'a> {
    bodies: &'a Bodies,
    bytes: Vec<u8>,
}

impl Bodies {
    pub(super) async fn receive(&self, body: Incoming) -> Result<Vec<u8>, Refusal> {
        // One that says its length needs not to be read to be refused.
        if body.size_hint().lower() > BYTES as u64 {
            return Err(too_long());
        }
        let arriving = Arriving {
            bodies: self,
            bytes: Vec::new(),
        };
        let late = |_| {
            let message = "the body did not arrive in time";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "body", message)
        };
        let received = tokio::time::timeout(TIME, arriving.all(body)).await;
        received.map_err(late)?
    }
}

impl Arriving<'_> {
    async fn all(mut self, mut body: Incoming) -> Result<Vec<u8>, Refusal> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| bad(format!("the body cannot be read: {error}")))?;
            if let Ok(data) = frame.into_data() {
                self.add(&data)?;
            }
        }
        Ok(std::mem::take(&mut self.bytes))
    }

    fn add(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let length = self.bytes.len() + data.len();
        if length > BYTES {
            return Err(too_long());
        }
        let all = self.bodies.0.get() - counted(self.bytes.len()) + counted(length);
        if all > ALL_BYTES && length > FREE {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many long bodies arrive at once; the call did not run",
            ));
        }
        self.bodies.0.set(all);
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        let rest = self.bodies.0.get() - counted(self.bytes.len());
        self.bodies.0.set(rest);
    }
}

/// What counts of so many bytes.
const fn counted(bytes: usize) -> usize {
    bytes.saturating_sub(FREE)
}

/// Refuses a text that would be more values than may be, before there is memory for any.
pub(super) fn check_values(json: &[u8]) -> Result<(), Refusal> {
    match values(json) > VALUES {
        true => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body",
            "the body has more than 1048576 values; bytes can be sent as {\"$bytes\": BASE64}",
        )),
        false => Ok(()),
    }
}

/// How many values a JSON text has at most: each but the first stands behind a comma or a bracket that
/// opens. What is no JSON has some number as well.
fn values(json: &[u8]) -> usize {
    let (mut count, mut string, mut escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = string,
            b'"' => string = !string,
            b',' | b'[' | b'{' if !string => count += 1,
            _ => {}
        }
    }
    count
}

fn too_long() -> Refusal {
    let message = "the body is longer than 8 MiB";
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body", message)
}

pub(super) fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "body", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        for (json, count) in [
            ("[]", 2),
            ("[1,2]", 3),
            (r#"[{"a,b":"[{,\\"},3]"#, 4),
            (r#"["\"[,", 1]"#, 3),
            ("", 1),
        ] {
            assert_eq!(values(json.as_bytes()), count, "{json}");
        }
        let most = format!("[{}0]", "0,".repeat(VALUES - 2));
        assert!(check_values(most.as_bytes()).is_ok());
        assert!(check_values(format!("[{most}]").as_bytes()).is_err());
    }
}
