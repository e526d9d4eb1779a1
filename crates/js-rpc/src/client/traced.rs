//! The span of a call of ours, and all that may change it: the answer, and observers before and after it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use binding_span::binding_span_capnp::binding_span_enrichment;
use binding_span::{
    CallScope, DropReason, Dropped, ERROR_MESSAGE, ERROR_TYPE, Enrichment, Limits, Policy,
    StatedError,
};

use crate::CallError;
use crate::telemetry::CallSpan;

/// A call's span, under its binding's policy.
pub(crate) struct Traced {
    span: CallSpan,
    pub(crate) policy: Arc<Policy>,
    /// The call that this one is made for, if it is passed on: it says what this one heard.
    onward: CallScope,
    /// Whether somebody looks while the call runs.
    live: bool,
    /// What was heard so far; only where it may come in parts.
    heard: RefCell<Option<Box<Enrichment>>>,
    /// What came after the return and overtook the answer.
    early: RefCell<Option<Enrichment>>,
    returned: Cell<Option<bool>>,
    /// What the callee says went wrong although the call returned.
    stated: RefCell<Option<StatedError>>,
}

impl Traced {
    pub(crate) fn new(span: CallSpan, policy: &Arc<Policy>, onward: Onward) -> Rc<Self> {
        let live = onward.live || span.is_live();
        Rc::new(Self {
            span,
            policy: Arc::clone(policy),
            onward: onward.scope,
            live,
            heard: RefCell::default(),
            early: RefCell::default(),
            returned: Cell::default(),
            stated: RefCell::default(),
        })
    }

    pub(crate) const fn span(&self) -> &CallSpan {
        &self.span
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
        said: Option<capnp::Result<binding_span_enrichment::Reader<'_>>>,
        returned: bool,
    ) {
        self.returned.set(Some(returned));
        if let Some(said) = said {
            let states = |said: &_| returned && binding_span::wire::may_state_error(*said);
            // Whether the call failed is asked for also where nobody looks at its span.
            if self.is_wanted() || said.as_ref().is_ok_and(states) {
                self.hear(binding_span::read_result(said, Limits::DEFAULT));
            }
        }
        if let Some(early) = self.early.take() {
            self.hear(early);
        }
    }

    /// The same with what an observer is told. What was said after the return replaces what the answer says, also
    /// if it is read before it.
    pub(crate) fn hear_update(
        &self,
        said: capnp::Result<binding_span_enrichment::Reader<'_>>,
        after_return: bool,
    ) {
        let mut said = binding_span::read_result(said, Limits::DEFAULT);
        if self.returned.get().is_none() {
            if after_return {
                return self.early.borrow_mut().get_or_insert_default().merge(said);
            }
            // Whether it counts depends on how the call ends, and then it is said again.
            said.remove_stated_error();
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
        let threw = self.returned.get() == Some(false);
        let stated = accepted.stated_error();
        // The span has it as what went wrong.
        let message = match threw || stated.is_some() {
            true => accepted.remove(ERROR_MESSAGE),
            false => None,
        };
        // Of a call that threw, the span has it in place of what was thrown, which is for the caller.
        let kind = match threw {
            true => accepted.remove(ERROR_TYPE),
            false => None,
        };
        // A sink may do what it likes meanwhile, also call on this session: nothing is borrowed.
        self.span.apply(&accepted);
        if let Some(error) = stated {
            if !threw {
                self.span.failed_as_stated(&error);
            }
            self.stated.replace(Some(error));
        }
        if self.onward.is_call() {
            for (key, value) in [(ERROR_TYPE, kind), (ERROR_MESSAGE, message)] {
                if let Some(value) = value {
                    accepted.set_attribute(key, value);
                }
            }
            self.onward.enrich(accepted);
        }
    }

    /// What the callee says went wrong although the call returned.
    pub(crate) fn stated_error(&self) -> Option<StatedError> {
        self.stated.borrow().clone()
    }

    /// An update came before the one before it was answered.
    pub(crate) fn drop_update(&self) {
        let mut dropped = Dropped::default();
        dropped.add(DropReason::UpdateRate, 1);
        self.span().report_dropped(&dropped);
    }

    /// Settles the span with how the call ended.
    pub(crate) fn settle(&self, error: Option<&CallError>) {
        match error {
            None => self.span.returned(self.stated_error().as_ref()),
            Some(error) => self.span.failed(error, self.stated_error().as_ref()),
        }
    }

    /// The call is over, with all that could be said of it.
    pub(crate) fn close(&self) {
        self.span.close();
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
