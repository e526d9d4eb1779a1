//! The span of a call of ours, and all that may change it: the answer, and observers before and after it.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use binding_span::binding_span_capnp::binding_span_enrichment;
use binding_span::{CallScope, DropReason, Dropped, Enrichment, Limits, Policy};

use crate::CallError;
use crate::telemetry::CallSpan;

/// A call's span, under its binding's policy.
pub(crate) struct Traced {
    span: RefCell<CallSpan>,
    pub(crate) policy: Arc<Policy>,
    /// The call that this one is made for, if it is passed on: it says what this one heard.
    onward: CallScope,
    /// Whether somebody looks while the call runs.
    live: bool,
    /// What was heard so far; only where it may come in parts.
    heard: RefCell<Option<Box<Enrichment>>>,
    returned: Cell<Option<bool>>,
}

impl Traced {
    pub(crate) fn new(span: CallSpan, policy: &Arc<Policy>, onward: Onward) -> Rc<Self> {
        let live = onward.live || span.is_live();
        Rc::new(Self {
            span: RefCell::new(span),
            policy: Arc::clone(policy),
            onward: onward.scope,
            live,
            heard: RefCell::default(),
            returned: Cell::default(),
        })
    }

    pub(crate) fn span(&self) -> Ref<'_, CallSpan> {
        self.span.borrow()
    }

    /// Whether enrichment is wanted before the call returns.
    pub(crate) const fn is_live(&self) -> bool {
        self.live
    }

    /// Whether anybody wants enrichment at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.onward.is_call() || self.span().is_watched()
    }

    /// From now on enrichment comes in parts, some of which may come twice.
    pub(crate) fn expect_parts(&self) {
        self.heard.borrow_mut().get_or_insert_default();
    }

    /// Renames and tags the span with what an answer says, whether the call returned or not. In this order with
    /// the result: how much of a message may be read is limited, and a hostile enrichment must not use that up.
    pub(crate) fn hear_answer(
        &self,
        said: capnp::Result<binding_span_enrichment::Reader<'_>>,
        returned: bool,
    ) {
        self.returned.set(Some(returned));
        if self.is_wanted() {
            self.hear(binding_span::read_result(said, Limits::DEFAULT));
        }
    }

    /// The same with what an observer is told.
    pub(crate) fn hear_update(&self, said: capnp::Result<binding_span_enrichment::Reader<'_>>) {
        let mut said = binding_span::read_result(said, Limits::DEFAULT);
        if self.returned.get().is_none() {
            // Whether it counts depends on how the call ends, and then it is said again.
            said.remove("error.type");
        }
        self.hear(said);
    }

    fn hear(&self, said: Enrichment) {
        let said = match &mut *self.heard.borrow_mut() {
            Some(heard) => heard.absorb(said),
            None => said,
        };
        if said.is_silent() {
            return;
        }
        let mut accepted = self.policy.accept(said);
        if self.returned.get() == Some(false) {
            accepted.remove("error.type");
        }
        // A sink may do what it likes meanwhile, also call on this session: the span is only read here.
        self.span().apply(&accepted);
        if self.onward.is_call() {
            self.onward.enrich(accepted);
        }
    }

    /// An update came before the one before it was answered.
    pub(crate) fn drop_update(&self) {
        let mut dropped = Dropped::default();
        dropped.add(DropReason::UpdateRate, 1);
        self.span().report_dropped(&dropped);
    }

    /// Settles the span with how the call ended.
    pub(crate) fn settle(&self, error: Option<&CallError>) {
        let mut span = self.span.borrow_mut();
        match error {
            None => span.succeeded(),
            Some(error) => span.failed(error),
        }
    }

    /// The call is over, with all that could be said of it.
    pub(crate) fn close(&self) {
        self.span.borrow_mut().close();
        self.onward.seal();
    }
}

/// What a call is made for.
#[derive(Default)]
pub(crate) struct Onward {
    /// The call that says what this one heard.
    pub(crate) scope: CallScope,
    /// Whether its caller looks while it runs.
    pub(crate) live: bool,
}
