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
        let entrypoint = Entrypoint::find(&self.0, &name);
        results.get().set_entrypoint(entrypoint);
        Ok(())
    }
}

/// One binding.
pub(crate) struct Entrypoint {
    running: Rc<Running>,
    name: Rc<str>,
    entry: Entry,
}

impl Entrypoint {
    /// The binding of that name, or a capability that fails every call with what there is instead.
    pub(crate) fn find(running: &Rc<Running>, name: &str) -> workerd_bootstrap::Client {
        match running.bindings.get(name) {
            Some(entry) => capnp_rpc::new_client(Self {
                running: Rc::clone(running),
                name: name.into(),
                entry: entry.clone(),
            }),
            None => {
                let mut known: Vec<&str> = running.bindings.keys().map(String::as_str).collect();
                known.sort_unstable();
                let shown: String = name.escape_debug().take(80).collect();
                let error = Error::failed(format!(
                    "jsg.Error: there is no binding \"{shown}\" here; there is: {}",
                    known.join(", ")
                ));
                capnp::capability::FromClientHook::new(capnp_rpc::new_broken_cap(error).hook)
            }
        }
    }
}

impl workerd_bootstrap::Server for Entrypoint {
    async fn start_event(
        self: Rc<Self>,
        _params: workerd_bootstrap::StartEventParams,
        mut results: workerd_bootstrap::StartEventResults,
    ) -> Result<(), Error> {
        if self.running.shared.is_draining() {
            return Err(Error::disconnected("the server is shutting down".into()));
        }
        let dispatcher = Dispatcher {
            entrypoint: self,
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
        let (top_level, session) = self.entrypoint.open_session()?;
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
        let Entry::Tail(receiver) = &self.entrypoint.entry else {
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

impl Entrypoint {
    fn open_session(&self) -> Result<(js_rpc_target::Client, js_rpc_session::Client), Error> {
        let (guard, session) = session::open();
        let shared = Rc::clone(&self.running.shared);
        let top_level = match &self.entry {
            Entry::Service(service) => {
                let home = Home::new(shared, Rc::clone(&self.name), Rc::new(guard), None);
                ServiceTarget::top_level(Rc::clone(service), home)
            }
            Entry::Proxy(proxy) => proxy.open_session(shared, Rc::clone(&self.name), guard),
            Entry::Tail(_) => {
                return Err(wire::refused(
                    "there is nothing to call: this takes tail events",
                ));
            }
        };
        Ok((top_level, session))
    }
}
