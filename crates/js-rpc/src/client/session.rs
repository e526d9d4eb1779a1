//! A session that we opened, and its span: a call, and all that came with its result.
//!
//! With workerd it is three pipelined calls and a capability that tells its end. Discipline, measured against a
//! real one: drop the top level as soon as the call is sent, release everything promptly, then wait for the
//! session to resolve before dropping it. Dropped too early it cancels the call; dropped with everything else at
//! once, workerd counts it as an exception.
//!
//! Between our own peers it is the call alone, and a capability only if objects came with its result: dropped with
//! the last of them, it lets the callee say what is left to say.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use binding_span_schema::call_capnp::call_session;
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use futures::channel::oneshot;
use futures::future::{Either, select};
use tokio::time::Instant;

use super::line::Line;
use super::observer;
use super::traced::Traced;
use crate::CallError;
use crate::deadlines::Deadlines;
use crate::network::{Gate, OpenSession};
use crate::shared::{KeepAlive, Shared};
use crate::streaming::Streams;
use crate::wire::Wire;

/// A session that we opened. Held by everything that came through it.
pub(crate) struct ClientSession {
    pub(crate) call: Rc<Traced>,
    pub(crate) binding: Rc<str>,
    shared: Rc<Shared>,
    opened: OnceCell<Opened>,
    /// The callee's side of it, if something of its result is held.
    held: RefCell<Option<call_session::Client>>,
    /// Completes when the callee has said everything of a result that was held.
    observed: Cell<Option<oneshot::Receiver<()>>>,
    answered: Cell<bool>,
    /// Why its call was never sent.
    unsent: OnceCell<CallError>,
}

/// Where a session is, and what ends it there.
struct Opened {
    line: Rc<Line>,
    wire: Wire,
    end: Cell<Option<oneshot::Sender<Ending>>>,
    #[allow(dead_code, reason = "counted as open until it is dropped")]
    counted: Option<OpenSession>,
}

/// How a session with workerd ends on our side.
enum Ending {
    /// Its call is done and nothing of it is held: wait for the callee to say so.
    Done,
    /// Its call was abandoned: drop it at once, which cancels it.
    Cancel,
}

impl ClientSession {
    /// A session that is not open yet.
    pub(crate) fn new(shared: &Rc<Shared>, binding: &Rc<str>, call: Rc<Traced>) -> Rc<Self> {
        Rc::new(Self {
            call,
            binding: Rc::clone(binding),
            shared: Rc::clone(shared),
            opened: OnceCell::new(),
            held: RefCell::default(),
            observed: Cell::default(),
            answered: Cell::new(false),
            unsent: OnceCell::new(),
        })
    }

    /// The call is about to be sent over this line, as one message.
    pub(super) fn open(&self, line: Rc<Line>) {
        let counted = Some(line.gate().session());
        let _ = self.opened.set(Opened {
            line,
            wire: Wire::OneMessage,
            end: Cell::new(None),
            counted,
        });
    }

    /// Opens a session as workerd does. The top level takes one call; send it and drop the target.
    pub(super) fn open_top_level(&self, line: Rc<Line>, service: &str) -> js_rpc_target::Client {
        let entrypoint = line.entrypoint(service);
        let start = entrypoint.start_event_request().send();
        let opened = start
            .pipeline
            .get_dispatcher()
            .js_rpc_session_request()
            .send();
        let top_level = opened.pipeline.get_top_level();
        let (end, ending) = oneshot::channel();
        let limits = &self.shared.limits;
        let (linger, counted) = (limits.linger, line.gate().session());
        let deadlines = Rc::clone(&self.shared.deadlines);
        let forget = line.forget_entrypoint(service);
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
        let _ = self.opened.set(Opened {
            line,
            wire: Wire::ThreeCalls,
            end: Cell::new(Some(end)),
            counted: None,
        });
        top_level
    }

    /// Where calls of the session go, once it is open.
    pub(super) fn gate(&self) -> Option<&Rc<Gate>> {
        Some(self.opened.get()?.line.gate())
    }

    /// Those of its connection, once it is open.
    pub(crate) fn streams(&self) -> Option<&Streams> {
        Some(self.opened.get()?.line.streams())
    }

    /// How they travel.
    pub(super) fn wire(&self) -> Wire {
        self.opened.get().map_or(Wire::ThreeCalls, |it| it.wire)
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Objects came with the result. Unless it has an observer already, which goes on, the callee gets one.
    pub(super) fn hold(
        &self,
        session: call_session::Client,
        observed: Option<oneshot::Receiver<()>>,
    ) {
        let over = observed.or_else(|| self.observe(&self.call, &session));
        if over.is_some() {
            self.observed.set(over);
        }
        self.held.replace(Some(session));
    }

    /// Gives the callee an observer of a call of this session, if somebody wants to know what else it says.
    pub(super) fn observe(
        &self,
        call: &Rc<Traced>,
        session: &call_session::Client,
    ) -> Option<oneshot::Receiver<()>> {
        if !call.is_wanted() {
            return None;
        }
        let (observer, over) = observer::observe(call);
        let mut request = session.observe_request();
        request.get().set_observer(observer);
        let asked = request.send().promise;
        if let Some(opened) = self.opened.get() {
            // Whatever it answers: it has let go of the observer if it did not want it. One that never answers
            // must not keep the connection.
            let limit = self.shared.limits.linger;
            let asked = async move { drop(tokio::time::timeout(limit, asked).await) };
            opened.line.background(Box::pin(asked));
        }
        Some(over)
    }

    /// Closes the span of a call of this session when its callee has said what was left to say, or has had the time to.
    /// The session's own is open until then.
    pub(super) fn close_when_said(self: Rc<Self>, call: &Rc<Traced>, over: oneshot::Receiver<()>) {
        let Some(opened) = self.opened.get() else {
            return call.close();
        };
        let keep = Rc::clone(&self) as _;
        self.close_later(opened, call, over, Some(keep));
    }

    fn close_later(
        &self,
        opened: &Opened,
        call: &Rc<Traced>,
        over: oneshot::Receiver<()>,
        keep: Option<KeepAlive>,
    ) {
        let (closes, shared) = (Closes(Rc::clone(call)), Rc::clone(&self.shared));
        let until = Instant::now().checked_add(shared.limits.linger);
        opened.line.background(Box::pin(async move {
            match until {
                Some(until) => drop(shared.deadlines.hold(until, over).await),
                None => drop(over.await),
            }
            drop(closes);
            drop(keep);
        }));
    }

    /// Its call will never be sent, and so will no call of its result.
    pub(super) fn never_sent(&self, error: &CallError) {
        let _ = self.unsent.set(error.clone());
    }

    /// Why calls of a result fail whose call was not sent: as that did, or because nobody looked at it any more.
    pub(super) fn unsent(&self) -> CallError {
        self.unsent.get().cloned().unwrap_or(CallError::Canceled)
    }

    /// The call returned or failed: what is left of the session ends by itself.
    pub(super) fn answered(&self) {
        self.answered.set(true);
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        let held = self.held.take();
        let Some(opened) = self.opened.get() else {
            return self.call.close();
        };
        if let Some(end) = opened.end.take() {
            let _ = end.send(match self.answered.get() {
                true => Ending::Done,
                false => Ending::Cancel,
            });
        }
        let Some(over) = self.observed.take().filter(|_| held.is_some()) else {
            return self.call.close();
        };
        // The callee may have something left to say.
        drop(held);
        self.close_later(opened, &self.call, over, None);
    }
}

/// Closes the span of a call, also if nobody is left to wait for the callee.
struct Closes(Rc<Traced>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Polls a session until it is over, it is cancelled, or it has lingered too long.
async fn keep(
    over: impl Future<Output = Option<()>>,
    ending: oneshot::Receiver<Ending>,
    deadlines: &Deadlines,
    linger: std::time::Duration,
) {
    let over = std::pin::pin!(over);
    if let Either::Right((Ok(Ending::Done), over)) = select(over, ending).await {
        match Instant::now().checked_add(linger) {
            Some(until) => drop(deadlines.hold(until, over).await),
            None => drop(over.await),
        }
    }
}
