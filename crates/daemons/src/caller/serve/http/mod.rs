//! Calls as HTTP, for programs that speak neither Cap'n Proto nor JavaScript's RPC.
//!
//! `POST /v1/call/BINDING/METHOD` with a JSON array of arguments; the answer is the result as JSON. Each
//! call goes through this process's own server, by an inner door, so that it has the span, the policy, the
//! deadline and the tail that any other call has. What is refused before that is in `gate`, what answers
//! look like in `answer`.

mod answer;
mod body;
mod call;
mod door;
pub(crate) mod fuzzed;
mod gate;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use js_rpc::{AcceptStats, Acceptor, Address, Listener, Quota};
use tokio::sync::watch;

use self::body::Bodies;
use self::door::Door;
use super::Config;
use super::reload::Deadlines;
use crate::exit::Failure;
use crate::http::{self, HttpLimits, gate::Hosts};
use crate::listen;

/// Where calls are taken as HTTP, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where.
    pub address: Address,
    /// Hosts that a request may name, in lower case, besides this machine's own.
    pub hosts: Vec<String>,
}

/// How long the last answers may take to be written, once their calls are done.
pub(super) const ANSWERS: Duration = Duration::from_secs(2);

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;

/// Takes calls as HTTP.
pub struct Front {
    listener: Listener,
    calls: Calls,
    limits: HttpLimits,
    inner: Option<Listener>,
}

/// What a request is answered with.
struct Calls {
    hosts: Hosts,
    /// How long a call of each binding may take.
    deadlines: Deadlines,
    door: Door,
    bodies: Bodies,
}

impl Front {
    /// Listens, and makes the door that leads to this process's own server.
    ///
    /// # Errors
    /// [`Failure::Config`] when it cannot listen there, or other machines could reach it and nobody said
    /// that they may.
    pub async fn bind(http: &HttpConfig, config: &Config) -> Result<Self, Failure> {
        listen::check_reach(&http.address, config.admission.insecure)?;
        let listener = Listener::bind_with(&http.address, &config.admission.options).await?;
        listen::check_reach(listener.address(), config.admission.insecure)?;
        let (door, inner) = Door::open().await?;
        let deadlines = config.bindings.iter();
        Ok(Self {
            listener,
            limits: HttpLimits {
                head: Duration::from_secs(30),
                head_bytes: HEAD_BYTES,
                stall: Duration::from_secs(30),
                grace: config.limits.drain.saturating_add(ANSWERS),
            },
            calls: Calls {
                hosts: Hosts {
                    named: http.hosts.clone(),
                    addresses: false,
                    option: "--http-host",
                },
                deadlines: Rc::new(RefCell::new(
                    deadlines.map(|b| (b.name.clone(), b.deadline)).collect(),
                )),
                door,
                bodies: Bodies::default(),
            },
            inner: Some(inner),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// How long calls may take, to be changed while it answers.
    pub(super) fn deadlines(&self) -> Deadlines {
        Rc::clone(&self.calls.deadlines)
    }

    /// The listener on which the server has to be for calls to arrive; once.
    pub fn inner_door(&mut self) -> Option<Listener> {
        self.inner.take()
    }

    /// Answers until `stopped`, then finishes the requests that are there. Its connections count among
    /// those of the quota.
    pub async fn serve(self, quota: Quota, accepts: AcceptStats, stopped: watch::Receiver<bool>) {
        // While there is room: whoever fills the server with connections must not shut this door.
        self.calls.door.open_up().await;
        let acceptor = Acceptor::new(self.listener, quota, accepts);
        http::serve(acceptor, Rc::new(self.calls), self.limits, stopped).await;
    }
}
