//! From a connection's bootstrap to a call: in one message, or by the calls that workerd makes.

use std::cell::Cell;
use std::rc::Rc;

use binding_span::Enrichment;
use binding_span_schema::call_capnp::{call_target, named_bindings, one_binding};
use binding_span_schema::js_rpc_capnp::{
    event_dispatcher, external_pusher, js_rpc_session, js_rpc_target, workerd_bootstrap,
    workerd_debug_port,
};
use binding_span_schema::tail_stream_capnp::outcome;
use capnp::Error;

use crate::client::import;
use crate::error::overloaded;
use crate::network::OpenSessions;
use crate::observers::Observers;
use crate::serve::{self, Answer, Arrival, Home, Keep, Kind, Params, ServiceTarget};
use crate::server::{Entry, Running, tail};
use crate::streaming::Streams;
use crate::wire;
use crate::{CallError, ClientId};

/// The server, as one connection has it.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) running: Rc<Running>,
    /// The only binding that its listener serves, if it has one.
    pub(super) only: Option<Rc<str>>,
    pub(super) sessions: OpenSessions,
    pub(super) observers: Observers,
    pub(super) streams: Streams,
    pub(super) client: ClientId,
}

impl Port {
    /// The binding of that name, as far as this connection's listener serves it; where none has that very name, the
    /// one whose name stands behind [`WORKER`].
    pub(super) fn find(&self, name: &str) -> Result<(Rc<str>, Entry), String> {
        let find = |name| self.running.bindings.find(name, self.only.as_deref());
        find(name).or_else(|why| match name.strip_prefix(WORKER) {
            Some(worker) => find(worker).map_err(|_| why),
            None => Err(why),
        })
    }

    /// Serves a call that came as one message.
    async fn invoke(
        &self,
        found: Result<(Rc<str>, Entry), String>,
        params: call_target::InvokeParams,
        results: call_target::InvokeResults,
    ) -> Result<(), Error> {
        self.check_offered()?;
        let answer = Answer::one_message(results);
        let shared = &self.running.shared;
        let refuse = |answer: Answer, error| answer.failed(&error, &Enrichment::new());
        if shared.is_draining() {
            // Not as if the connection were lost: this says that nothing of it ran.
            return refuse(answer, CallError::Overloaded(DRAINING.into()));
        }
        let (binding, entry) = match found {
            Ok(found) => found,
            Err(why) => return refuse(answer, CallError::Refused(why)),
        };
        let arrival = Arrival {
            shared: Rc::clone(shared),
            binding,
            keep: Keep::Open(self.sessions.open(&shared.limits.network.stats)),
            observers: self.observers.clone(),
            streams: self.streams.clone(),
            client: self.client,
        };
        let params = Params::OneMessage(params);
        match entry {
            Entry::Service(service) => {
                let home = Home::new(arrival, import);
                serve::serve(&*service, &home, params, answer, Kind::Opens).await
            }
            Entry::Proxy(proxy) => proxy.pass(arrival, params, answer).await,
            Entry::Tail(_) => refuse(answer, CallError::Refused(TAKES_TAIL.into())),
        }
    }

    /// Answers one of our own peers, who says what takes streams in results.
    fn pinged(&self, params: &call_target::PingParams) -> Result<(), Error> {
        self.check_offered()?;
        let params = params.get()?;
        if params.has_pusher() {
            self.streams.set_peer(params.get_pusher()?);
        }
        Ok(())
    }

    fn check_offered(&self) -> Result<(), Error> {
        match self.running.shared.limits.one_message {
            true => Ok(()),
            false => Err(Error::unimplemented("not offered".into())),
        }
    }
}

/// What miniflare puts in front of a Worker's name to name its service.
const WORKER: &str = "core:user:";

pub(super) const DRAINING: &str = "it is shutting down";
const TAKES_TAIL: &str = "there is nothing to call: this takes tail events";

/// Bindings by name, all or the one that the listener serves: the bootstrap of a connection that names none.
pub(super) struct NamedBindings(pub(super) Port);

impl workerd_debug_port::Server for NamedBindings {
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
        results
            .get()
            .set_entrypoint(Entrypoint::named(&self.0, &name));
        Ok(())
    }
}

impl call_target::Server for NamedBindings {
    async fn invoke(
        self: Rc<Self>,
        params: call_target::InvokeParams,
        results: call_target::InvokeResults,
    ) -> Result<(), Error> {
        let name = params.get()?.get_binding()?.to_str()?;
        let found = self.0.find(name);
        self.0.invoke(found, params, results).await
    }

    async fn ping(
        self: Rc<Self>,
        params: call_target::PingParams,
        _results: call_target::PingResults,
    ) -> Result<(), Error> {
        self.0.pinged(&params)
    }
}

impl external_pusher::Server for NamedBindings {
    async fn push_byte_stream(
        self: Rc<Self>,
        params: external_pusher::PushByteStreamParams,
        results: external_pusher::PushByteStreamResults,
    ) -> Result<(), Error> {
        self.0.streams.answer_push(&params, results)
    }
}

impl named_bindings::Server for NamedBindings {}

/// A name, and whatever binding has it when a session begins: the bootstrap of a connection that names it, or
/// what [`NamedBindings`] gives workerd for it.
pub(super) struct Entrypoint {
    port: Port,
    name: Rc<str>,
}

/// Bytes of a name that is kept although no binding has it yet: peers may ask for many.
const LONGEST_NAME: usize = 1024;

impl Entrypoint {
    fn named(port: &Port, name: &str) -> workerd_bootstrap::Client {
        capnp::capability::FromClientHook::cast_to(Self::bootstrap(port, name))
    }

    pub(super) fn bootstrap(port: &Port, name: &str) -> one_binding::Client {
        if let (true, Err(why)) = (name.len() > LONGEST_NAME, port.find(name)) {
            let broken = capnp_rpc::new_broken_cap(no_binding(&why)).hook;
            return capnp::capability::FromClientHook::new(broken);
        }
        capnp_rpc::new_client(Self {
            port: port.clone(),
            name: name.into(),
        })
    }
}

/// There is no such binding, as workerd is told.
fn no_binding(why: &str) -> Error {
    Error::failed(format!("jsg.Error: {why}"))
}

impl workerd_bootstrap::Server for Entrypoint {
    async fn start_event(
        self: Rc<Self>,
        _params: workerd_bootstrap::StartEventParams,
        mut results: workerd_bootstrap::StartEventResults,
    ) -> Result<(), Error> {
        let running = &self.port.running;
        if running.shared.is_draining() {
            // Not as if the connection were lost: this says that nothing of it ran.
            return Err(overloaded(DRAINING));
        }
        let found = self.port.find(&self.name);
        let (name, entry) = found.map_err(|why| no_binding(&why))?;
        let dispatcher = Dispatcher {
            port: self.port.clone(),
            name,
            entry,
            used: Cell::new(false),
        };
        results
            .get()
            .set_dispatcher(capnp_rpc::new_client(dispatcher));
        Ok(())
    }
}

impl call_target::Server for Entrypoint {
    async fn invoke(
        self: Rc<Self>,
        params: call_target::InvokeParams,
        results: call_target::InvokeResults,
    ) -> Result<(), Error> {
        let found = self.port.find(&self.name);
        self.port.invoke(found, params, results).await
    }

    async fn ping(
        self: Rc<Self>,
        params: call_target::PingParams,
        _results: call_target::PingResults,
    ) -> Result<(), Error> {
        self.port.pinged(&params)
    }
}

impl external_pusher::Server for Entrypoint {
    async fn push_byte_stream(
        self: Rc<Self>,
        params: external_pusher::PushByteStreamParams,
        results: external_pusher::PushByteStreamResults,
    ) -> Result<(), Error> {
        self.port.streams.answer_push(&params, results)
    }
}

impl one_binding::Server for Entrypoint {}

/// One event of a binding.
struct Dispatcher {
    port: Port,
    name: Rc<str>,
    entry: Entry,
    used: Cell<bool>,
}

impl event_dispatcher::Server for Dispatcher {
    /// HTTP over Cap'n Proto, as a Worker's `fetch` comes through a debug port.
    async fn unused0(
        self: Rc<Self>,
        _params: event_dispatcher::Unused0Params,
        _results: event_dispatcher::Unused0Results,
    ) -> Result<(), Error> {
        Err(wire::refused(
            "fetch() is not served over Cap'n Proto; call a method of the binding instead",
        ))
    }

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
        let shared = &self.port.running.shared;
        let (keep, session) = serve::open_promise(&shared.limits.network.stats);
        let arrival = Arrival {
            shared: Rc::clone(shared),
            binding: Rc::clone(&self.name),
            keep,
            observers: self.port.observers.clone(),
            streams: self.port.streams.clone(),
            client: self.port.client,
        };
        let top_level = match &self.entry {
            Entry::Service(service) => {
                ServiceTarget::top_level(Rc::clone(service), Home::new(arrival, import))
            }
            Entry::Proxy(proxy) => proxy.top_level(arrival),
            Entry::Tail(_) => return Err(wire::refused(TAKES_TAIL)),
        };
        Ok((top_level, session))
    }
}
