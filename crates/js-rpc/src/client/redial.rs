//! A connection that is made when it is needed, and again after it was lost.

use std::cell::RefCell;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, WeakShared};

use crate::client::link::Link;
use crate::{Address, CallError, ConnectOptions, Connection};

/// The connection to one address. One attempt at a time: whoever comes meanwhile shares its outcome,
/// also its failure. The attempt ends when nobody waits for it any more.
#[derive(Default)]
pub(crate) struct Redial {
    connection: RefCell<Option<Connection>>,
    attempt: RefCell<Option<WeakShared<Attempt>>>,
    link: Link,
}

type Attempt = LocalBoxFuture<'static, Result<Connection, CallError>>;

impl Redial {
    /// The connection, if it is up.
    pub(crate) fn up(&self) -> Option<Connection> {
        let connection = self.connection.borrow();
        connection.as_ref().filter(|it| !it.is_lost()).cloned()
    }

    /// A connection that is up.
    pub(crate) async fn get(
        &self,
        address: &Address,
        options: impl FnOnce() -> ConnectOptions,
    ) -> Result<Connection, CallError> {
        if let Some(connection) = self.up() {
            return Ok(connection);
        }
        let running = self.attempt.borrow().as_ref().and_then(WeakShared::upgrade);
        let attempt = running.filter(|attempt| attempt.peek().is_none());
        let attempt = attempt.unwrap_or_else(|| {
            let (address, options) = (address.clone(), options());
            let link = self.link.clone();
            let connect = async move {
                let outcome = Connection::connect(&address, options).await;
                link.tried(&outcome);
                outcome
            };
            let attempt = connect.boxed_local().shared();
            self.attempt.replace(attempt.downgrade());
            attempt
        });
        let connection = attempt.await?;
        self.connection.replace(Some(connection.clone()));
        Ok(connection)
    }

    /// How it is doing.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Lets go of it.
    pub(crate) fn take(&self) -> Option<Connection> {
        self.connection.take()
    }
}
