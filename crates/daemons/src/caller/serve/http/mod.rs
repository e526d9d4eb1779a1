//! Calls as HTTP, for programs that speak neither Cap'n Proto nor JavaScript's RPC.
//!
//! `POST /v1/call/BINDING/METHOD` with a JSON array of arguments; the answer is the result as JSON. Each
//! call is made through the binding that peers call, so it has the span, the policy, the deadline and the tail
//! that any other call has. What is refused before that is in `gate`, what answers look like in `answer`.

mod answer;
mod body;
mod call;
pub(crate) mod fuzzed;
mod gate;

use std::rc::Rc;
use std::time::Duration;

use js_rpc::{AcceptStats, Acceptor, Address, Bindings, Listener, Quota};
use tokio::sync::watch;

use self::body::Bodies;
use super::Config;
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
    hosts: Hosts,
    limits: HttpLimits,
}

/// What a request is answered with.
struct Calls {
    hosts: Hosts,
    bindings: Bindings,
    bodies: Bodies,
}

impl Front {
    /// Listens.
    ///
    /// # Errors
    /// [`Failure::Config`] when it cannot listen there, or other machines could reach it and nobody said
    /// that they may.
    pub async fn bind(http: &HttpConfig, config: &Config) -> Result<Self, Failure> {
        listen::check_reach(&http.address, config.admission.insecure)?;
        let listener = Listener::bind_with(&http.address, &config.admission.options).await?;
        listen::check_reach(listener.address(), config.admission.insecure)?;
        Ok(Self {
            listener,
            limits: HttpLimits {
                head: Duration::from_secs(30),
                head_bytes: HEAD_BYTES,
                stall: Duration::from_secs(30),
                grace: config.limits.drain.saturating_add(ANSWERS),
                most: None,
            },
            hosts: Hosts {
                named: http.hosts.clone(),
                addresses: false,
                option: "--http-host",
            },
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// Answers with calls of `bindings` until `stopped`, then finishes the requests that are there. Its connections
    /// count among those of the quota.
    pub async fn serve(
        self,
        bindings: Bindings,
        quota: Quota,
        accepts: AcceptStats,
        stopped: watch::Receiver<bool>,
    ) {
        let acceptor = Acceptor::new(self.listener, quota, accepts);
        let calls = Calls {
            hosts: self.hosts,
            bindings,
            bodies: Bodies::default(),
        };
        http::serve(acceptor, Rc::new(calls), self.limits, stopped).await;
    }
}
