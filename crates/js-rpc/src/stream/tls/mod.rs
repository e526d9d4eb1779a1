//! TLS: who we are, whom we let in or talk to, and certificates that are renewed while we run.
//!
//! rustls does the work, with TLS 1.3 alone and without resumption: each connection shows its
//! certificate, so that a renewed list of issuers or keys holds from the next connection on.

mod explain;
mod files;
mod halves;
mod pin;
mod verify;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use files::{Loaded, Stamp};

use crate::seldom::Seldom;

pub(crate) use halves::{ReadHalf, Stream, WriteHalf};
pub use pin::{InvalidPin, KeyPin};

/// Who we are and whose certificates count, as files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Our certificate and its key. A listener must have one; whoever connects shows it when the
    /// other side asks.
    pub identity: Option<Identity>,
    /// A PEM file with the certificates of those who may issue peers' certificates.
    pub issuers: Option<PathBuf>,
    /// The keys that peers may have. With issuers, both must hold; alone, the key is all that counts,
    /// whoever issued its certificate, for whichever name and time.
    pub pins: Vec<KeyPin>,
}

/// A certificate and the key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A PEM file with the certificate, followed by those that lead to its issuer.
    pub cert: PathBuf,
    /// A PEM file with the private key.
    pub key: PathBuf,
}

/// Why TLS cannot be used as configured: which file, what is wrong with it, what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct TlsError {
    part: TlsPart,
    text: String,
}

impl TlsError {
    /// Which part of the configuration cannot be used.
    pub fn part(&self) -> TlsPart {
        self.part
    }
}

/// A part of a [`TlsConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsPart {
    /// [`Identity::cert`].
    Certificate,
    /// [`Identity::key`].
    Key,
    /// [`TlsConfig::issuers`].
    Issuers,
}

/// One side's TLS. Cheap to clone.
///
/// The files are looked at for each connection and read again when they changed. If what is there then
/// cannot be used, what was read before stays in force and the log says so.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: TlsConfig,
    provider: Arc<CryptoProvider>,
    state: Mutex<State>,
    log: Mutex<Seldom>,
}

#[derive(Debug)]
struct State {
    loaded: Loaded,
    /// The files when they were last read, well or not.
    stamps: Vec<Stamp>,
}

/// How long a peer that was turned away may take to read why.
const GOODBYE: Duration = Duration::from_secs(1);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] says which file cannot be used and why.
    pub fn new(config: TlsConfig) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let stamps = files::stamps(&config);
        let loaded = Loaded::read(&config, &provider)?;
        Ok(Self(Arc::new(Inner {
            config,
            provider,
            state: Mutex::new(State { loaded, stamps }),
            log: Mutex::default(),
        })))
    }

    /// Whether there is a certificate to show.
    pub fn has_identity(&self) -> bool {
        self.0.config.identity.is_some()
    }

    /// Whether it says whose certificates count. A listener that does not, admits everybody.
    pub fn judges_peers(&self) -> bool {
        self.0.config.issuers.is_some() || !self.0.config.pins.is_empty()
    }

    /// Takes the server's part on an accepted connection. The error is for people, and logged: who was refused is
    /// told to look here.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Stream, String> {
        let config = self
            .loaded()
            .server
            .ok_or("there is no certificate to show")?;
        let peer = stream.peer_addr();
        let accepting = tokio_rustls::TlsAcceptor::from(config).accept(stream);
        match accepting.into_fallible().await {
            Ok(stream) => Ok(Stream::from(stream)),
            Err((error, stream)) => {
                let said = explain::handshake(&error, &self.0.config);
                self.log_refusal(peer, &said);
                let _ = tokio::time::timeout(GOODBYE, goodbye(stream)).await;
                Err(said)
            }
        }
    }

    fn log_refusal(&self, peer: io::Result<SocketAddr>, why: &str) {
        let peer = peer.map_or_else(|_| "a peer".to_owned(), |peer| peer.to_string());
        let mut log = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.say(|more| tracing::warn!("refused a TLS connection of {peer}: {why}{more}"));
    }

    /// Takes the client's part. The error is for people.
    pub(crate) async fn connect(&self, host: &str, stream: TcpStream) -> Result<Stream, String> {
        let config = self.loaded().client.ok_or(
            "whom to trust there is not said; give --tls-ca (who issues its certificate) or \
             --tls-pin (its key)",
        )?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is no name that a certificate could have"))?;
        let connecting = tokio_rustls::TlsConnector::from(config).connect(name, stream);
        match connecting.await {
            Ok(stream) => Ok(Stream::from(stream)),
            Err(error) => Err(explain::handshake(&error, &self.0.config)),
        }
    }

    /// What the files say now, or the last time that they could be used.
    fn loaded(&self) -> Loaded {
        let inner = &*self.0;
        let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = files::stamps(&inner.config);
        if stamps != state.stamps {
            match Loaded::read(&inner.config, &inner.provider) {
                Ok(loaded) => {
                    tracing::info!("read the renewed certificates");
                    state.loaded = loaded;
                }
                Err(reason) => tracing::warn!(
                    "the certificates changed and cannot be used; those from before stay: {reason}"
                ),
            }
            state.stamps = stamps;
        }
        state.loaded.clone()
    }
}

/// Lets a peer read the alert that says why it was turned away: closing while something of it is unread
/// would take the alert back.
async fn goodbye(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
}

/// The server's part, from what the files say.
fn server(
    loaded: &files::Read,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<ServerConfig>, String> {
    let Some((chain, key)) = &loaded.identity else {
        return Ok(None);
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?;
    let builder = match verify::clients(loaded, provider)? {
        Some(judge) => builder.with_client_cert_verifier(judge),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(|error| explain::identity(&error))?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Some(config))
}

/// The client's part, from what the files say.
fn client(
    loaded: &files::Read,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<ClientConfig>, String> {
    let Some(judge) = verify::servers(loaded, provider)? else {
        return Ok(None);
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(judge);
    let mut config = match &loaded.identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| explain::identity(&error))?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Some(config))
}
