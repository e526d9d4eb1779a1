//! From a connection's bootstrap to the top level of a session.

use std::cell::Cell;
use std::rc::Rc;

use binding_span_schema::js_rpc_capnp::{
    event_dispatcher, js_rpc_session, js_rpc_target, workerd_bootstrap, workerd_debug_port,
};
use binding_span_schema::tail_stream_capnp::outcome;
use capnp::Error;

use crate::server::target::{Home, ServiceTarget};
use crate::server::{Entry, Running, tail};
use crate::session;
use crate::wire;

/// Every binding by name: the bootstrap of a connection that names none.
pub(crate) struct DebugPort(pub(crate) Rc<Running>);

impl workerd_debug_port::Server for DebugPort {
    async fn get_entrypoint(
        self: Rc<Self>,
        params: workerd_debug_port::GetEntrypointParams,
        mut results: workerd_debug_port::GetEntrypointResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let service = params.get_service()?.to_str()?;
        let entrypoint = params.get_entrypoint()?.to_str()?;
        let name = match entrypoint {
            "" | "default" => service.to_owned(),
            _ => format!("{service}#{entrypoint}"),
        };
        let entrypoint = Entrypoint::named(&self.0, &name);
        results.get().set_entrypoint(entrypoint);
        Ok(())
    }
}

/// A name, and whatever binding has it when a session begins.
pub(crate) struct Entrypoint {
    running: Rc<Running>,
    name: Rc<str>,
}

/// Bytes of a name that is kept although no binding has it yet: peers may ask for many.
const LONGEST_NAME: usize = 1024;

impl Entrypoint {
    pub(crate) fn named(running: &Rc<Running>, name: &str) -> workerd_bootstrap::Client {
        if let (true, Err(error)) = (name.len() > LONGEST_NAME, running.bindings.find(name)) {
            let broken = capnp_rpc::new_broken_cap(error).hook;
            return capnp::capability::FromClientHook::new(broken);
        }
        capnp_rpc::new_client(Self {
            running: Rc::clone(running),
            name: name.into(),
        })
    }
}

impl workerd_bootstrap::Server for Entrypoint {
    async fn start_event(
        self: Rc<Self>,
        _params: workerd_bootstrap::StartEventParams,
        mut results: workerd_bootstrap::StartEventResults,
    ) -> Result<(), Error> {
        if self.running.shared.is_draining() {
            // Not as if the connection were lost: this says that nothing of it ran.
            return Err(Error::overloaded("it is shutting down".into()));
        }
        let entry = self.running.bindings.find(&self.name)?;
        let dispatcher = Dispatcher {
            entrypoint: self,
            entry,
            used: Cell::new(false),
        };
        results
            .get()
            .set_dispatcher(capnp_rpc::new_client(dispatcher));
        Ok(())
    }
}

/// One event of a binding.
struct Dispatcher {
    entrypoint: Rc<Entrypoint>,
    entry: Entry,
    used: Cell<bool>,
}

impl event_dispatcher::Server for Dispatcher {
    async fn js_rpc_session(
        self: Rc<Self>,
        _params: event_dispatcher::JsRpcSessionParams,
        mut results: event_dispatcher::JsRpcSessionResults,
    ) -> Result<(), Error> {
        if self.used.replace(true) {
            return Err(Error::failed("an event dispatcher takes one event".into()));
        }
        let (top_level, session) = self.open_session()?;
        let mut results = results.get();
        results.set_top_level(top_level);
        results.set_session(session);
        Ok(())
    }

    async fn tail_stream_session(
        self: Rc<Self>,
        _params: event_dispatcher::TailStreamSessionParams,
        mut results: event_dispatcher::TailStreamSessionResults,
    ) -> Result<(), Error> {
        if self.used.replace(true) {
            return Err(Error::failed("an event dispatcher takes one event".into()));
        }
        let Entry::Tail(receiver) = &self.entry else {
            return Err(wire::refused("this binding takes no tail events"));
        };
        let (stream, over) = tail::open(Rc::clone(receiver));
        results.get().set_top_level(stream);
        results.set_pipeline()?;
        // To return ends the stream, so that comes last.
        let _ = over.await;
        results.get().set_outcome(outcome::Kind::Ok);
        Ok(())
    }
}

impl Dispatcher {
    fn open_session(&self) -> Result<(js_rpc_target::Client, js_rpc_session::Client), Error> {
        let Entrypoint { running, name } = &*self.entrypoint;
        let (guard, session) = session::open(&running.shared.limits.network.stats);
        let (shared, name) = (Rc::clone(&running.shared), Rc::clone(name));
        let top_level = match &self.entry {
            Entry::Service(service) => {
                let home = Home::new(shared, name, Rc::new(guard), None);
                ServiceTarget::top_level(Rc::clone(service), home)
            }
            Entry::Proxy(proxy) => proxy.open_session(shared, name, guard),
            Entry::Tail(_) => {
                return Err(wire::refused(
                    "there is nothing to call: this takes tail events",
                ));
            }
        };
        Ok((top_level, session))
    }
}
