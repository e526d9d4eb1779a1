//! Connections: a pool of them, and single ones for work in the background.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode as Encryption};
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::options::{OpenError, PostgresOptions, SslMode};
use super::{tls, url};

/// Bytes of a file with a password.
const LONGEST: u64 = 64 * 1024;

/// Connects by the options.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    options: Arc<PostgresOptions>,
    tls: MakeRustlsConnect,
    statement_timeout: Duration,
    /// Why connecting failed at last, which the driver's errors cannot all tell.
    failed: Arc<Mutex<Option<String>>>,
}

/// A connection, and the task that reads from it.
pub(super) type Connected = (Client, JoinHandle<()>);

impl Connector {
    pub(super) fn new(options: &PostgresOptions, timeout: Duration) -> Result<Self, OpenError> {
        let mut config = url::parse(&options.url).map_err(OpenError::Options)?;
        let tls = tls::config(options).map_err(OpenError::Options)?;
        let sockets = config
            .get_hosts()
            .iter()
            .all(|host| matches!(host, Host::Unix(_)));
        let sockets = sockets && !config.get_hosts().is_empty();
        // As with libpq, Unix sockets have no TLS.
        config.ssl_mode(match options.ssl_mode {
            _ if sockets => Encryption::Disable,
            SslMode::Disable => Encryption::Disable,
            SslMode::Prefer => Encryption::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Encryption::Require,
        });
        config.connect_timeout(options.connect_timeout);
        // A peer that vanished without a word is noticed where the system can.
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(timeout.max(options.connect_timeout));
        }
        if config.get_application_name().is_none() {
            config.application_name("binding-span");
        }
        Ok(Self {
            config,
            options: Arc::new(options.clone()),
            tls: MakeRustlsConnect::new(tls),
            statement_timeout: timeout,
            failed: Arc::default(),
        })
    }

    /// The TLS that requests to cancel a statement go by.
    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// Why connecting failed, which is forgotten by this.
    pub(super) fn take_failure(&self) -> Option<String> {
        self.failed
            .lock()
            .unwrap_or_else(|held| held.into_inner())
            .take()
    }

    /// The error is one line for people.
    pub(super) async fn connect(&self) -> Result<Connected, String> {
        let config = self.with_password().await?;
        match self.attempt(&config).await {
            // A server that cannot do TLS with us after all.
            Err(Attempt::Tls(_)) if self.options.ssl_mode == SslMode::Prefer => {
                let mut plain = config.clone();
                plain.ssl_mode(Encryption::Disable);
                self.attempt(&plain).await.map_err(Attempt::text)
            }
            attempt => attempt.map_err(Attempt::text),
        }
    }

    async fn with_password(&self) -> Result<Config, String> {
        let mut config = self.config.clone();
        let password = match &self.options.password_file {
            None => self.options.password.clone(),
            Some(path) => {
                let failed = |error: &dyn std::fmt::Display| {
                    format!("cannot read the password from {}: {error}", path.display())
                };
                let own = path.clone();
                let read = tokio::task::spawn_blocking(move || js_rpc::read_file(&own, LONGEST));
                let read = read.await.map_err(|error| failed(&error))?;
                let read = String::from_utf8(read.map_err(|error| failed(&error))?)
                    .map_err(|_| failed(&"it is not text"))?;
                let line = read.strip_suffix('\n').unwrap_or(&read);
                Some(line.strip_suffix('\r').unwrap_or(line).to_owned())
            }
        };
        if let Some(password) = password {
            config.password(password);
        }
        Ok(config)
    }

    async fn attempt(&self, config: &Config) -> Result<Connected, Attempt> {
        let limit = self.options.connect_timeout;
        let connecting = async {
            let (client, connection) = config.connect(self.tls.clone()).await?;
            let reading = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!("a connection to PostgreSQL broke: {}", explain(&error));
                }
            });
            let set = client.batch_execute(&self.settings()).await;
            if let Err(error) = set {
                reading.abort();
                return Err(error);
            }
            Ok((client, reading))
        };
        match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => {
                let text = explain(&error);
                let tls = error.to_string().contains("TLS handshake");
                Err(if tls {
                    Attempt::Tls(text)
                } else {
                    Attempt::Other(text)
                })
            }
            Err(_) => Err(Attempt::Other(format!("no connection within {limit:?}"))),
        }
    }

    /// For a connection's whole life. What a commit acknowledges must be on disk, whatever the server's default is.
    fn settings(&self) -> String {
        let limit = self
            .statement_timeout
            .as_millis()
            .clamp(1, i32::MAX as u128);
        format!(
            "SET statement_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit}; \
             SET client_min_messages = error; SET default_transaction_isolation = 'read committed'; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    }
}

enum Attempt {
    Tls(String),
    Other(String),
}

impl Attempt {
    fn text(self) -> String {
        match self {
            Self::Tls(text) | Self::Other(text) => text,
        }
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + '_>> {
        let connector = self.clone();
        Box::pin(async move {
            Self::connect(&connector).await.map_err(|text| {
                *connector
                    .failed
                    .lock()
                    .unwrap_or_else(|held| held.into_inner()) = Some(text);
                Error::__private_api_timeout()
            })
        })
    }
}

/// A pool of such connections. Those that broke are left out.
pub(super) fn pool(connector: &Connector) -> Result<Pool, OpenError> {
    let config = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_connect(Config::new(), connector.clone(), config);
    let size = connector.options.max_connections.max(1);
    let pool = Pool::builder(manager).max_size(size).build();
    pool.map_err(|error| OpenError::Store(error.to_string()))
}

/// An error and its causes, in one line. The server's details, which have values, are left out.
pub(super) fn explain(error: &Error) -> String {
    if let Some(server) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", server.message(), server.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
