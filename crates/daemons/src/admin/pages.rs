//! What can be asked on the admin port: one table of paths.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{ALLOW, HeaderValue, VARY};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::health::{ALIVE, Health, Phase};
use crate::http::gate::{self, Hosts};
use crate::http::{self as server, Answer, Client, Handler, LongReaders};
use crate::kinds::Meters;
use crate::metrics::{Format, Links, Metrics};

const ACCEPT_NAME: HeaderValue = HeaderValue::from_static("accept");

/// An answer on its way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Answer>>>;

/// What a page is answered with, given the head of the request.
type Answers = Box<dyn Fn(&Parts) -> Answering + Send>;

/// A path that can be asked for with GET.
pub(crate) struct Page {
    path: &'static str,
    /// What it says, in a line.
    says: &'static str,
    answer: Answers,
    /// It may be read for as long as its reader likes.
    long: bool,
}

impl Page {
    /// The same, which may be read for long: so many readers at a time, besides those of other pages.
    pub(crate) fn long(self) -> Self {
        Self { long: true, ..self }
    }

    pub(crate) fn new<A: Future<Output = Answer> + 'static>(
        path: &'static str,
        says: &'static str,
        answer: impl Fn(&Parts) -> A + Send + 'static,
    ) -> Self {
        Self {
            path,
            says,
            answer: Box::new(move |head| Box::pin(answer(head))),
            long: false,
        }
    }
}

/// The pages of every daemon.
pub(super) fn common(health: &Health, metrics: &Arc<Metrics>) -> Vec<Page> {
    let (live, ready, healthy) = (health.clone(), health.clone(), health.clone());
    let (metrics, turn) = (Arc::clone(metrics), Arc::new(Semaphore::new(1)));
    let [of_ready, of_healthy] = [(); 2].map(|()| {
        let links = metrics.links.clone();
        (links, metrics.meters.clone())
    });
    vec![
        Page::new("/metrics", "what is counted, for Prometheus", move |head| {
            let format = Format::wanted(&head.headers);
            let (metrics, turn) = (Arc::clone(&metrics), Arc::clone(&turn));
            async move {
                // One at a time, and others in between: a probe waits for one scrape and not for all.
                let _turn = turn.acquire().await;
                let answer = counted(&metrics, format);
                tokio::task::yield_now().await;
                answer
            }
        }),
        Page::new("/livez", "200 while calls are handled", move |_| {
            livez(live.clone())
        }),
        Page::new(
            "/readyz",
            "200 while calls are taken, 503 while starting, draining, or while a binding needs somebody to look after it; how bindings are doing",
            move |_| std::future::ready(readyz(ready.phase(), &of_ready)),
        ),
        Page::new("/healthz", "the same as /readyz", move |_| {
            std::future::ready(readyz(healthy.phase(), &of_healthy))
        }),
    ]
}

fn counted(metrics: &Arc<Metrics>, format: Format) -> Answer {
    match metrics.text(format) {
        Ok(text) => {
            let mut answer = server::answer(StatusCode::OK, format.content_type(), text);
            answer.headers_mut().insert(VARY, ACCEPT_NAME);
            answer
        }
        Err(error) => text_answer(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn livez(health: Health) -> Answer {
    // What is opened at the start may take the thread for itself, and is no reason to be killed.
    if health.phase() == Phase::Starting {
        return text_answer(StatusCode::OK, "starting".into());
    }
    match health.beat().await {
        Some(took) => {
            let took = tail::human_duration(took);
            text_answer(StatusCode::OK, format!("ok: answered within {took}"))
        }
        None => text_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the thread that handles calls has not answered for {ALIVE:?}"),
        ),
    }
}

/// A callee that is away makes nobody unready: calls of other bindings are taken, and without calls nobody
/// would connect to it again. So it is with what a binding says that is not as it should be. One that needs somebody to
/// look after it does: until then its calls fail.
fn readyz(phase: Phase, (links, meters): &(Links, Meters)) -> Answer {
    match phase {
        Phase::Starting => text_answer(StatusCode::SERVICE_UNAVAILABLE, "starting".into()),
        Phase::Ready => {
            let failing = meters.unusable();
            if !failing.is_empty() {
                return text_answer(StatusCode::SERVICE_UNAVAILABLE, failing.join("\n"));
            }
            let mut lines = vec!["ok".to_owned()];
            lines.extend(links.lines());
            lines.extend(meters.impaired());
            text_answer(StatusCode::OK, lines.join("\n"))
        }
        Phase::Draining => text_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining: calls in flight are finished, no more are taken".into(),
        ),
    }
}

/// An answer for people, in a line or more.
pub(crate) fn text_answer(status: StatusCode, mut text: String) -> Answer {
    text.push('\n');
    server::answer(status, "text/plain; charset=utf-8", text)
}

/// The table, and whom it is shown to.
pub(super) struct Pages {
    pub(super) hosts: Hosts,
    pub(super) all: Rc<Vec<Page>>,
    /// How many of them, from the first on, are here.
    pub(super) shown: usize,
    pub(super) readers: LongReaders,
}

/// Readers of pages that are read for long, at a time.
pub(super) const READERS: usize = 16;

impl Handler for Pages {
    async fn answer(&self, request: Request<Incoming>, client: &Client) -> Answer {
        // None of these has a body; what comes is not read.
        let (head, _) = request.into_parts();
        if let Err(barred) = gate::check(&head, &self.hosts) {
            return text_answer(barred.status, barred.message);
        }
        let path = head.uri.path();
        let page = self.pages().find(|page| page.path == path);
        if page.is_none() && path != "/" {
            let list = self.list();
            return text_answer(
                StatusCode::NOT_FOUND,
                format!("there is no {path:?} here\n{list}"),
            );
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            let mut refused = text_answer(
                StatusCode::METHOD_NOT_ALLOWED,
                "everything here is asked for with GET".into(),
            );
            let headers = refused.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match page {
            Some(page) if page.long && !client.keep(&self.readers, READERS) => text_answer(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{READERS} readers are here already, which is all that there may be"),
            ),
            Some(page) => (page.answer)(&head).await,
            None => text_answer(StatusCode::OK, self.list()),
        }
    }
}

impl Pages {
    fn pages(&self) -> impl Iterator<Item = &Page> {
        self.all.iter().take(self.shown)
    }

    fn list(&self) -> String {
        let lines = self.pages();
        let lines: Vec<String> = lines
            .map(|page| format!("{:<10} {}", page.path, page.says))
            .collect();
        lines.join("\n")
    }

    /// The paths, in a line.
    pub(super) fn paths(&self) -> String {
        let paths: Vec<&str> = self.pages().map(|page| page.path).collect();
        paths.join(", ")
    }
}
