//! `GET /tail` on the admin port: a daemon's tail events while they happen, as lines of JSON.
//!
//! The body goes on until the daemon ends or the reader goes away. It begins with who this is
//! ([`tail::Notice`]) and how invocations began that are open, and has an empty line now and then, so that a
//! reader that is gone is noticed. Each reader is a place in one history: one that reads too slowly loses
//! events, is told how many, and nobody waits for it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use binding_span::SpanId;
use futures::stream;
use http::StatusCode;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use percent_encoding::percent_decode_str;
use tail::{Batch, Event, EventKind, History, HistoryLimits, HistoryReader, Notice, Start};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::admin::Page;
use crate::cli::since;
use crate::http::{Answer, answer, streaming};
use crate::tail_args::LiveLimits;

/// What the lines are.
const LINES: &str = "application/x-ndjson";
const TEXT: &str = "text/plain; charset=utf-8";
/// After so long without an event an empty line is sent.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long is waited for more, so that a busy daemon does not wake the reader for each event.
const LINGER: Duration = Duration::from_millis(10);
/// Events that are written in one piece, and bytes of them.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1024 * 1024;

/// A daemon's live tail. Clones are the same.
#[derive(Clone)]
pub(crate) struct LiveTail {
    program: &'static str,
    /// This run of the program.
    instance: String,
    /// None where nothing is kept.
    history: Option<Arc<History>>,
    room: Arc<Semaphore>,
    readers: usize,
}

impl LiveTail {
    /// What `program` keeps.
    pub(crate) fn new(program: &'static str, limits: LiveLimits) -> Self {
        let LiveLimits { history, readers } = limits;
        let limits = HistoryLimits {
            bytes: history,
            ..HistoryLimits::default()
        };
        Self {
            program,
            instance: SpanId::random().to_string(),
            history: (history > 0).then(|| Arc::new(History::new(limits))),
            room: Arc::new(Semaphore::new(readers)),
            readers,
        }
    }

    /// What takes the events.
    pub(crate) fn history(&self) -> Option<&Arc<History>> {
        self.history.as_ref()
    }

    /// The page of the admin port.
    pub(crate) fn page(&self) -> Page {
        let (tail, says) = (self.clone(), "spans while they happen, see caller tail");
        Page::new("/tail", says, move |head| {
            std::future::ready(tail.answer(head.uri.query()))
        })
        .long()
    }

    /// The answer to `GET /tail?since=TIME`, or `?after=INSTANCE.PLACE` of a reader that was here before.
    fn answer(&self, query: Option<&str>) -> Answer {
        let Some(history) = &self.history else {
            let says = "there is no live tail: --tail-history is 0\n";
            return answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, says);
        };
        let start = match start(query.unwrap_or_default(), &self.instance) {
            Ok(start) => start,
            Err(says) => return answer(StatusCode::BAD_REQUEST, TEXT, says + "\n"),
        };
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            let says = format!(
                "the tail has {} readers, and there may not be more; see --tail-readers\n",
                self.readers
            );
            return answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, says);
        };
        let body = stream::unfold(self.feeding(history, start, place), |feeding| {
            feeding.next()
        });
        streaming(StatusCode::OK, LINES, StreamBody::new(body).boxed_unsync())
    }

    fn feeding(
        &self,
        history: &Arc<History>,
        start: Start,
        place: OwnedSemaphorePermit,
    ) -> Feeding {
        let reader = history.read_from(start);
        // Whoever comes back knows how they began.
        let begun = match start {
            Start::Place(_) => Vec::new(),
            _ => reader.begun(),
        };
        let stats = history.stats();
        let hello = Notice::Hello {
            program: self.program.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            instance: self.instance.clone(),
            place: reader.place(),
            begun: begun.len() as u64,
            behind: stats.next.saturating_sub(reader.place()),
            since: stats.since,
        };
        Feeding {
            hello: Some(hello),
            begun: begun.into(),
            reader,
            quiet: false,
            ended: false,
            _place: place,
        }
    }
}

/// Where a reader begins. One that knows another run of the program has everything of this one before it.
fn start(query: &str, instance: &str) -> Result<Start, String> {
    let mut start = Start::Now;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        start = match key {
            "since" => Start::Time(since(&value)?),
            "after" => match value.split_once('.') {
                Some((run, place)) if run == instance => {
                    let place = place.parse();
                    Start::Place(place.map_err(|_| "after: write INSTANCE.PLACE".to_owned())?)
                }
                Some(_) => Start::Place(0),
                None => return Err("after: write INSTANCE.PLACE".into()),
            },
            other => {
                return Err(format!(
                    "there is no {other:?} here; there is: since, after"
                ));
            }
        };
    }
    Ok(start)
}

/// One reader's body.
struct Feeding {
    hello: Option<Notice>,
    begun: VecDeque<Arc<Event>>,
    reader: HistoryReader,
    /// Everything that was there has been sent.
    quiet: bool,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

type Sent = Result<Frame<Bytes>, Infallible>;

impl Feeding {
    /// The next piece of the body.
    async fn next(mut self) -> Option<(Sent, Self)> {
        if self.ended {
            return None;
        }
        let mut text = String::new();
        if let Some(hello) = self.hello.take() {
            push(&mut text, &hello.to_line());
        }
        let mut begun = Batch::default();
        let mut bytes = 0;
        while begun.events.len() < BATCH
            && bytes < BATCH_BYTES
            && let Some(event) = self.begun.pop_front()
        {
            bytes += event.size();
            begun.events.push(event);
        }
        write(&mut text, &begun);
        if text.is_empty() {
            self.live(&mut text).await;
        }
        Some((Ok(Frame::data(text.into())), self))
    }

    async fn live(&mut self, text: &mut String) {
        if std::mem::take(&mut self.quiet) {
            sleep(LINGER).await;
        }
        match timeout(HEARTBEAT, self.reader.read(BATCH)).await {
            Ok(Some(batch)) => {
                self.quiet = batch.events.len() < BATCH;
                write(text, &batch);
            }
            Ok(None) => {
                self.ended = true;
                push(text, &Notice::Goodbye.to_line());
            }
            Err(_) => text.push('\n'),
        }
    }
}

fn write(text: &mut String, batch: &Batch) {
    if batch.lost > 0 {
        let count = batch.lost;
        push(text, &Notice::DroppedEvents { count }.to_line());
    }
    let known = |event: &&Arc<Event>| event.event != EventKind::Unknown;
    for event in batch.events.iter().filter(known) {
        push(text, &event.to_line());
    }
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_begins_now_in_the_past_or_where_it_was() {
        let begin = |query| start(query, "a1");
        assert_eq!(begin(""), Ok(Start::Now));
        assert_eq!(begin("after=a1.42"), Ok(Start::Place(42)));
        assert_eq!(begin("after=b2.42"), Ok(Start::Place(0)));
        for text in ["since=2026-11-22T07%3A18%3A14Z", "since=10m"] {
            assert!(matches!(begin(text), Ok(Start::Time(_))), "{text}");
        }
        for wrong in ["since=", "after=a1", "after=a1.x", "until=1", "&x"] {
            assert!(begin(wrong).is_err(), "{wrong}");
        }
    }
}
