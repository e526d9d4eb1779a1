//! Answers that a gateway keeps, for the next who asks the same.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use moka::Expiry;
use moka::policy::EvictionPolicy;
use ring::digest::{self, SHA256};

use crate::ai::account::Reading;

/// What a whole answer is kept for: a share of the cache, so that one does not push all others out.
const SHARE: u64 = 8;
/// What an entry takes beside its body.
const OVERHEAD: u64 = 512;

/// A bounded number of bytes of answers, each with its own end. Gateways may share one: keys have the gateway's id.
pub(in crate::ai) struct Cache {
    entries: moka::sync::Cache<Key, Entry>,
    max_entry: u64,
}

#[derive(Clone)]
struct Entry {
    kept: Arc<Kept>,
    ttl: Duration,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ai) struct Kept {
    /// Its status, which is 200.
    pub(in crate::ai) status: StatusCode,
    /// What is needed to read the body: its type and language.
    pub(in crate::ai) headers: HeaderMap,
    /// Its body; of a stream, all that came.
    pub(in crate::ai) body: Bytes,
    /// Whether it was a stream.
    pub(in crate::ai) stream: bool,
    /// What it says about itself.
    pub(in crate::ai) reading: Reading,
    /// Who answered.
    pub(in crate::ai) provider: String,
    /// The model as it was asked for.
    pub(in crate::ai) model: String,
    /// When.
    pub(in crate::ai) stored_at: SystemTime,
}

/// The headers of an answer that are kept with it.
pub(in crate::ai) fn kept_headers(headers: &HeaderMap) -> HeaderMap {
    const KEPT: [http::HeaderName; 4] = [
        http::header::CONTENT_TYPE,
        http::header::CONTENT_ENCODING,
        http::header::CONTENT_LANGUAGE,
        http::header::CACHE_CONTROL,
    ];
    KEPT.into_iter()
        .filter_map(|name| headers.get(&name).cloned().map(|value| (name, value)))
        .collect()
}

/// What an answer is kept under: a hash, of which no two requests have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::ai) struct Key([u8; 32]);

impl Key {
    /// The caller's own. Everybody who uses a gateway shares these, as with Cloudflare: whoever knows the key gets the
    /// answer, whatever they asked, of whom, and with which provider's key.
    pub(in crate::ai) fn custom(gateway: &str, key: &str) -> Self {
        Self::hash(&[b"custom", gateway.as_bytes(), key.as_bytes()])
    }

    /// Everything that may change the answer: gateway, provider, path, body, and the headers for the provider, keys
    /// included, so that nobody gets an answer that was paid for with somebody else's.
    pub(in crate::ai) fn of(
        gateway: &str,
        provider: &str,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let mut headers: Vec<_> = headers
            .iter()
            .filter(|(name, _)| matters(name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        headers.sort_unstable();
        let mut parts = vec![
            b"whole".as_slice(),
            gateway.as_bytes(),
            provider.as_bytes(),
            path.as_bytes(),
            body,
        ];
        for (name, value) in headers {
            parts.extend([name.as_bytes(), value]);
        }
        Self::hash(&parts)
    }

    /// Each part with its length, so that no two lists of parts are the same bytes.
    fn hash(parts: &[&[u8]]) -> Self {
        let mut hash = digest::Context::new(&SHA256);
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(hash.finish().as_ref());
        Self(key)
    }
}

/// Headers that differ from request to request and change nothing. All others do, as far as is known here.
fn matters(name: &str) -> bool {
    const IGNORED: [&str; 12] = [
        "accept-encoding",
        "baggage",
        "connection",
        "content-length",
        "date",
        "host",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-client-request-id",
        "x-request-id",
    ];
    let ours = ["cf-", "x-stainless-"];
    !IGNORED.contains(&name) && !ours.iter().any(|prefix| name.starts_with(prefix))
}

impl Cache {
    /// One of so many bytes; 0 keeps nothing.
    pub(in crate::ai) fn new(max_bytes: u64) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, entry: &Entry| u32::try_from(entry.kept.weight()).unwrap_or(u32::MAX))
            .expire_after(Ends)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self {
            entries,
            max_entry: max_bytes / SHARE,
        }
    }

    /// How long an answer may be to be kept, in bytes.
    pub(in crate::ai) fn max_body(&self) -> usize {
        usize::try_from(self.max_entry.saturating_sub(OVERHEAD)).unwrap_or(usize::MAX)
    }

    /// What is kept, if its time has not passed.
    pub(in crate::ai) fn get(&self, key: &Key) -> Option<Arc<Kept>> {
        self.entries.get(key).map(|entry| entry.kept)
    }

    /// Keeps an answer, unless it is too long, or no success. Whether it does.
    pub(in crate::ai) fn put(&self, key: Key, kept: Kept, ttl: Duration) -> bool {
        if kept.status != StatusCode::OK || ttl.is_zero() || kept.weight() > self.max_entry {
            return false;
        }
        let kept = Arc::new(kept);
        self.entries.insert(key, Entry { kept, ttl });
        // Else it is done later, and many long answers may be there until then.
        self.entries.run_pending_tasks();
        true
    }

    /// Begins to record an answer as it passes.
    pub(in crate::ai) fn record(&self) -> Recording {
        Recording {
            bytes: Some(BytesMut::new()),
            max: self.max_body(),
        }
    }

    /// Bytes that are kept.
    pub(in crate::ai) fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }
}

impl Kept {
    fn weight(&self) -> u64 {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let headers: usize = self.headers.values().map(|value| value.len()).sum();
        let reasons: usize = self.reading.finish_reasons.iter().map(String::len).sum();
        let strings = self.provider.len()
            + self.model.len()
            + headers
            + reasons
            + text(&self.reading.id)
            + text(&self.reading.model);
        OVERHEAD + (self.body.len() + strings) as u64
    }
}

/// An answer that passes, as far as it may be kept.
#[derive(Debug)]
pub(in crate::ai) struct Recording {
    bytes: Option<BytesMut>,
    max: usize,
}

impl Recording {
    /// One that keeps nothing.
    pub(in crate::ai) fn off() -> Self {
        Self {
            bytes: None,
            max: 0,
        }
    }

    /// Adds a chunk. What has become too long to be kept is let go at once.
    pub(in crate::ai) fn push(&mut self, chunk: &[u8]) {
        match &mut self.bytes {
            Some(bytes) if bytes.len() + chunk.len() <= self.max => bytes.extend_from_slice(chunk),
            bytes => *bytes = None,
        }
    }

    /// All of it, when the answer has ended as it should; `None` if it was too long.
    pub(in crate::ai) fn finish(self) -> Option<Bytes> {
        self.bytes.map(BytesMut::freeze)
    }
}

struct Ends;

impl Expiry<Key, Entry> for Ends {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn kept(bytes: usize) -> Kept {
        Kept {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(vec![b'x'; bytes]),
            stream: false,
            reading: Reading::default(),
            provider: "p".into(),
            model: "m".into(),
            stored_at: SystemTime::UNIX_EPOCH,
        }
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_may_change_the_answer_changes_the_key() {
        let auth = headers(&[("authorization", "Bearer a")]);
        let same = Key::of("g", "p", "path", &auth, b"{}");
        for (what, other) in [
            ("gateway", Key::of("h", "p", "path", &auth, b"{}")),
            ("provider", Key::of("g", "q", "path", &auth, b"{}")),
            ("path", Key::of("g", "p", "path2", &auth, b"{}")),
            ("body", Key::of("g", "p", "path", &auth, b"{ }")),
            ("border", Key::of("g", "pp", "ath", &auth, b"{}")),
            (
                "key",
                Key::of(
                    "g",
                    "p",
                    "path",
                    &headers(&[("authorization", "Bearer b")]),
                    b"{}",
                ),
            ),
            (
                "no key",
                Key::of("g", "p", "path", &HeaderMap::new(), b"{}"),
            ),
            (
                "header",
                Key::of(
                    "g",
                    "p",
                    "path",
                    &headers(&[("authorization", "Bearer a"), ("openai-organization", "o")]),
                    b"{}",
                ),
            ),
            ("custom", Key::custom("g", "p")),
        ] {
            assert_ne!(same, other, "{what}");
        }
        assert_ne!(Key::custom("g", "k"), Key::custom("h", "k"));
        assert_ne!(Key::custom("gk", ""), Key::custom("g", "k"));
    }

    #[test]
    fn what_changes_nothing_does_not_change_the_key() {
        let one = headers(&[("a", "1"), ("b", "2"), ("user-agent", "x")]);
        let other = headers(&[
            ("b", "2"),
            ("traceparent", "00"),
            ("x-stainless-os", "y"),
            ("a", "1"),
        ]);
        let key = |headers| Key::of("g", "p", "path", headers, b"");
        assert_eq!(key(&one), key(&other));
    }

    #[test]
    fn an_answer_is_there_until_its_time_has_passed() {
        let cache = Cache::new(1 << 20);
        let (short, long) = (Key::custom("g", "short"), Key::custom("g", "long"));
        assert_eq!(cache.get(&short), None);
        assert!(cache.put(short, kept(10), Duration::from_millis(400)));
        assert!(cache.put(long, kept(20), HOUR));
        assert_eq!(cache.get(&short).unwrap().body.len(), 10);
        std::thread::sleep(Duration::from_millis(450));
        assert_eq!(cache.get(&short), None);
        assert_eq!(cache.get(&long).unwrap().body.len(), 20);
    }

    #[test]
    fn an_answer_that_is_put_again_has_the_new_time() {
        let cache = Cache::new(1 << 20);
        let key = Key::custom("g", "k");
        assert!(cache.put(key, kept(10), HOUR));
        assert!(cache.put(key, kept(11), Duration::from_millis(400)));
        assert_eq!(cache.get(&key).unwrap().body.len(), 11);
        std::thread::sleep(Duration::from_millis(450));
        assert_eq!(cache.get(&key), None);
    }

    #[test]
    fn only_successes_of_a_fair_size_are_kept() {
        let cache = Cache::new(80_000);
        let key = Key::custom("g", "k");
        assert!(!cache.put(key, kept(10_000), HOUR));
        assert!(!cache.put(key, kept(10), Duration::ZERO));
        let failed = Kept {
            status: StatusCode::CREATED,
            ..kept(1)
        };
        assert!(!cache.put(key, failed, HOUR));
        assert!(cache.put(key, kept(9_000), HOUR));
        assert!(!Cache::new(0).put(key, kept(0), HOUR));
    }

    #[test]
    fn the_cache_does_not_grow_beyond_its_size_and_keeps_the_newest() {
        let cache = Cache::new(1 << 20);
        let keys: Vec<_> = (0..1000)
            .map(|n| Key::custom("g", &n.to_string()))
            .collect();
        for key in &keys {
            assert!(cache.put(*key, kept(100_000), HOUR));
            let bytes = cache.entries.weighted_size();
            assert!(bytes <= 1 << 20, "{bytes}");
        }
        let bytes = cache.bytes();
        assert!(bytes <= 1 << 20 && bytes > 1 << 19, "{bytes}");
        assert!(cache.get(&keys[999]).is_some());
        assert!(cache.get(&keys[0]).is_none());
    }

    #[test]
    fn a_recording_ends_where_it_is_too_long() {
        let cache = Cache::new(80_000);
        let mut recording = cache.record();
        recording.push(b"data: 1\n\n");
        recording.push(b"data: 2\n\n");
        assert_eq!(recording.finish().unwrap(), "data: 1\n\ndata: 2\n\n");
        let mut recording = cache.record();
        recording.push(&[0; 9000]);
        recording.push(&[0; 9000]);
        recording.push(b"x");
        assert_eq!(recording.finish(), None);
        let mut off = Recording::off();
        off.push(b"x");
        assert_eq!(off.finish(), None);
    }

    #[test]
    fn only_what_a_reader_needs_is_kept_of_the_headers() {
        let given = headers(&[
            ("content-type", "text/event-stream"),
            ("set-cookie", "secret"),
            ("x-request-id", "1"),
            ("x-ratelimit-remaining", "3"),
        ]);
        let kept = kept_headers(&given);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept["content-type"], "text/event-stream");
    }
}
