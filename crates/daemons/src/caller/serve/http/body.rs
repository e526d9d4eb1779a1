//! Bodies: how long one may be, how much all that are there may hold, and how many values one may have. Its memory
//! grows with the bytes that arrive, not with those that its head promises.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use js_rpc::{Budget, Hold, LARGE, PeerKey, offload};

use super::answer::Refusal;
use super::call::ending;

/// Bytes of a body: 8 MiB.
const BYTES: usize = 8 * 1024 * 1024;
/// Bytes of all bodies that are there, from when they arrive until they are read, beyond the first 64 KiB of each:
/// 64 MiB.
const ALL_BYTES: usize = 64 * 1024 * 1024;
/// How long a body may take to arrive.
const TIME: Duration = Duration::from_secs(30);
/// How long one waits for others to be read: they hold their memory for no longer, unless they are slow to arrive.
const PATIENCE: Duration = Duration::from_millis(250);
/// Values of a body: what our own callees take of a call. Parsed, each holds up to a hundred bytes.
const VALUES: usize = 1 << 20;

/// The bodies that are there.
#[derive(Default)]
pub(super) struct Bodies(Budget);

/// A body as far as it has arrived, and what it holds of the memory for all.
pub(super) struct Body {
    bytes: Vec<u8>,
    hold: Hold,
    /// Bytes that it has the memory for.
    reserved: usize,
}

impl Bodies {
    /// Receives a client's body. One that says its length takes its share before it is read, so that bodies that
    /// have half arrived do not wait for each other.
    pub(super) async fn receive(&self, body: Incoming, client: PeerKey) -> Result<Body, Refusal> {
        let length = body.size_hint().lower();
        // One that says its length needs not to be read to be refused.
        if length > BYTES as u64 {
            return Err(too_long());
        }
        let mut arriving = Body {
            bytes: Vec::new(),
            hold: self.0.hold(client, ALL_BYTES),
            reserved: 0,
        };
        let late = |_| {
            let message = "the body did not arrive in time";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "body", message)
        };
        let received = tokio::time::timeout(TIME, async {
            arriving
                .reserve(usize::try_from(length).unwrap_or(BYTES))
                .await?;
            arriving.all(body).await
        });
        received.await.map_err(late)??;
        Ok(arriving)
    }
}

impl Body {
    /// Has it read, elsewhere if it is long.
    pub(super) async fn read<T: Send + 'static>(self, read: fn(&[u8]) -> T) -> Result<T, Refusal> {
        let Self { bytes, hold, .. } = self;
        if bytes.len() <= LARGE {
            return Ok(read(&bytes));
        }
        let done = offload(move || {
            // Also if nobody waits for it any more.
            let _hold = hold;
            read(&bytes)
        });
        done.await.ok_or_else(ending)
    }

    async fn all(&mut self, mut body: Incoming) -> Result<(), Refusal> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| bad(format!("the body cannot be read: {error}")))?;
            if let Ok(data) = frame.into_data() {
                let length = self.bytes.len() + data.len();
                if length > BYTES {
                    return Err(too_long());
                }
                self.reserve(length).await?;
                self.bytes.extend_from_slice(&data);
            }
        }
        Ok(())
    }

    /// Takes its share of the memory for bodies, when that is there.
    async fn reserve(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.reserved >= bytes {
            return Ok(());
        }
        let reserved = tokio::time::timeout(PATIENCE, self.hold.resize(bytes)).await;
        self.reserved = bytes;
        reserved.map_err(|_| {
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many long bodies of this client arrive at once; the call did not run",
            )
        })
    }
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
