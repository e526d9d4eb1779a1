//! A session that we opened: three pipelined calls, one result, and a capability that tells its end.
//!
//! Discipline, measured against a real workerd: drop the top level as soon as the call is sent, release
//! everything promptly, then wait for the session to resolve before dropping it. Dropped too early it
//! cancels the call; dropped with everything else at once, workerd counts it as an exception.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::Policy;
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use futures::channel::oneshot;
use futures::future::{Either, select};
use tokio::time::Instant;

use crate::client::connection::Destination;
use crate::client::line::Line;
use crate::deadlines::Deadlines;
use crate::network::Gate;
use crate::shared::Shared;
use crate::telemetry::CallSpan;

/// The wire's part of a session: what keeps it alive until it is over.
pub(crate) struct Upstream {
    shared: Rc<Shared>,
    /// Set when the session is opened.
    line: OnceCell<Rc<Line>>,
    end: Cell<Option<oneshot::Sender<Ending>>>,
}

/// How a session ends on our side.
enum Ending {
    /// Its call is done and nothing of it is held: wait for the callee to say so.
    Done,
    /// Its call was abandoned: drop it at once, which cancels it.
    Cancel,
}

impl Upstream {
    /// A session that is not open yet.
    fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            line: OnceCell::new(),
            end: Cell::new(None),
        }
    }

    /// Opens the session. The top level takes one call; send it and drop the target.
    fn open(&self, line: Rc<Line>, name: &Rc<str>) -> js_rpc_target::Client {
        let entrypoint = line.entrypoint(name);
        let start = entrypoint.start_event_request().send();
        let opened = start
            .pipeline
            .get_dispatcher()
            .js_rpc_session_request()
            .send();
        let top_level = opened.pipeline.get_top_level();
        let (end, ending) = oneshot::channel();
        let limits = &self.shared.limits;
        let (linger, counted) = (limits.linger, limits.network.stats.session());
        let deadlines = Rc::clone(&self.shared.deadlines);
        let forget = line.forget_entrypoint(name);
        line.background(Box::pin(async move {
            let over = async move {
                // The question stays open until it returns: to finish it earlier would cancel it.
                let Ok(response) = opened.promise.await else {
                    forget();
                    return None;
                };
                drop((opened.pipeline, start));
                let session = response.get().ok()?.get_session().ok()?;
                drop(response);
                session.client.when_resolved().await.ok()
            };
            keep(over, ending, &deadlines, linger).await;
            drop(counted);
        }));
        self.end.set(Some(end));
        let _ = self.line.set(line);
        top_level
    }

    fn end(&self, ending: Ending) {
        if let Some(end) = self.end.take() {
            let _ = end.send(ending);
        }
    }
}

/// Polls a session until it is over, it is cancelled, or it has lingered too long.
async fn keep(
    over: impl Future<Output = Option<()>>,
    ending: oneshot::Receiver<Ending>,
    deadlines: &Deadlines,
    linger: Duration,
) {
    let over = std::pin::pin!(over);
    if let Either::Right((Ok(Ending::Done), over)) = select(over, ending).await {
        match Instant::now().checked_add(linger) {
            Some(until) => drop(deadlines.hold(until, over).await),
            None => drop(over.await),
        }
    }
}

/// A session that we opened, and its span. Held by everything that came through it.
pub(crate) struct ClientSession {
    upstream: Upstream,
    pub(crate) binding: Rc<str>,
    pub(crate) policy: Arc<Policy>,
    span: RefCell<CallSpan>,
    answered: Cell<bool>,
}

impl ClientSession {
    /// A session that is not open yet.
    pub(crate) fn new(to: &Destination, span: CallSpan) -> Rc<Self> {
        Rc::new(Self {
            upstream: Upstream::new(Rc::clone(to.connection.shared())),
            binding: Rc::clone(&to.name),
            policy: Arc::clone(&to.policy),
            span: RefCell::new(span),
            answered: Cell::new(false),
        })
    }

    /// Opens it. The top level takes one call; send it and drop the target.
    pub(crate) fn open(&self, line: Rc<Line>) -> js_rpc_target::Client {
        self.upstream.open(line, &self.binding)
    }

    /// Where calls of the session go, once it is open.
    pub(crate) fn gate(&self) -> Option<&Rc<Gate>> {
        Some(self.upstream.line.get()?.gate())
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.upstream.shared
    }

    pub(crate) fn span(&self) -> Ref<'_, CallSpan> {
        self.span.borrow()
    }

    /// Changes the span, which is closed with the session.
    pub(crate) fn with_span<R>(&self, change: impl FnOnce(&mut CallSpan) -> R) -> R {
        change(&mut self.span.borrow_mut())
    }

    /// The top-level call returned or failed: what is left of the session ends by itself.
    pub(crate) fn answered(&self) {
        self.answered.set(true);
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        self.upstream.end(match self.answered.get() {
            true => Ending::Done,
            false => Ending::Cancel,
        });
    }
}
