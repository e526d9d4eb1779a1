//! Something of ours that a peer calls: the top level of a session, or a stub.

use std::cell::Cell;
use std::rc::Rc;

use binding_span_schema::js_rpc_capnp::js_rpc_target;
use capnp::Error;

use super::answer::Answer;
use super::exported::{Answers, exported};
use super::incoming::Params;
use super::run::Kind;
use super::{Home, run};
use crate::object::Service;
use crate::streaming::Streams;
use crate::wire;

/// A service as a target.
pub(crate) struct ServiceTarget {
    service: Rc<dyn Service>,
    home: Home,
    /// The top level of a session takes one call.
    calls_left: Cell<Option<u32>>,
}

impl ServiceTarget {
    pub(crate) fn top_level(service: Rc<dyn Service>, home: Home) -> js_rpc_target::Client {
        Self::client(service, home, Some(1))
    }

    pub(crate) fn stub(service: Rc<dyn Service>, home: Home) -> js_rpc_target::Client {
        Self::client(service, home, None)
    }

    fn client(service: Rc<dyn Service>, home: Home, calls: Option<u32>) -> js_rpc_target::Client {
        exported(Self {
            service,
            home,
            calls_left: Cell::new(calls),
        })
    }

    fn take_call(&self) -> Result<(), Error> {
        match self.calls_left.get() {
            Some(0) => Err(wire::refused(
                "the top level of a session takes one call; open another session",
            )),
            Some(left) => {
                self.calls_left.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Answers for ServiceTarget {
    fn streams(&self) -> Option<&Streams> {
        Some(&self.home.streams)
    }

    async fn answer(&self, params: Params, answer: Answer) -> Result<(), Error> {
        self.take_call()?;
        let kind = match self.calls_left.get() {
            Some(_) => Kind::TopLevel,
            None => Kind::Object,
        };
        run::serve(&*self.service, &self.home, params, answer, kind).await
    }
}
