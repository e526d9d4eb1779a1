//! A connection that is made when a call needs it, and again after it was lost.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::binding::Binding;
use super::connection::{ConnectOptions, Connection};
use super::destination::{Destination, Dialer, Upstream};
use crate::shared::Shared;
use crate::{Address, CallError};

/// A [`Connection`] that is made when a call needs it, and again after it was lost. Connecting is part of the call:
/// its deadline counts, and its span shows why not, if it cannot be made.
///
/// It belongs to one thread, as a [`Connection`] does.
#[derive(Clone)]
pub struct LazyConnection(Rc<Dialer>);

/// How long a callee may take to say that sessions are over.
const GOODBYE: Duration = Duration::from_secs(2);

impl LazyConnection {
    /// To this address, which is not looked at before a call.
    pub fn new(address: Address, options: ConnectOptions) -> Self {
        let shared = Shared::new(Arc::clone(&options.sinks), options.limits.clone());
        Self(Rc::new(Dialer {
            address,
            options,
            redial: Rc::default(),
            second: None,
            shared,
        }))
    }

    /// A binding behind it, as [`Connection::binding`].
    pub fn binding(&self, name: &str) -> Binding {
        let name = name.into();
        let shared = &self.0.shared;
        Binding::to(Destination {
            policy: shared.default_policy(&name),
            deadline: shared.limits.call,
            upstream: Upstream::Dialer(Rc::clone(&self.0)),
            service: Rc::clone(&name),
            name,
        })
    }

    /// The connection, made now if it is not there.
    pub(crate) async fn connect(&self) -> Result<Connection, CallError> {
        Upstream::Dialer(Rc::clone(&self.0)).connection().await
    }

    /// Closes the connection, if there is one, and waits for up to two seconds until it said goodbye.
    pub async fn close(self) {
        let connection = self.0.redial.take();
        if let Some(connection) = connection {
            let ended = connection.ended();
            drop(connection);
            let _ = tokio::time::timeout(GOODBYE, ended).await;
        }
    }
}
