//! Who may connect to a daemon, how many, and whom it connects to: what the command line says.
//!
//! TLS is a scheme of addresses (`tls:host:port`), so that an address that needs it is never used
//! without. The files that it takes are the program's: one certificate says who it is, to those who
//! connect and to those it connects to.

pub(crate) mod users;

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;
use js_rpc::{
    Address, Identity, KeyPin, ListenOptions, RpcLimits, Tls, TlsConfig, TlsPart, Trust, Users,
};

use crate::cli;
use crate::exit::Failure;

/// Who may connect, and how many.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Who may connect")]
pub struct AdmitArgs {
    /// Admit a group to unix sockets, by name or gid: mode 0660 instead of 0600
    #[arg(long, value_name = "GROUP", env = "BINDING_SPAN_SOCKET_GROUP", value_parser = users::group)]
    pub(crate) socket_group: Option<u32>,

    /// Admit only these users to unix sockets, by name or uid, and our own
    ///
    /// The kernel says who connects. By default only our own user may; with --socket-group, every
    /// member of the group. Users who are not our own need --socket-group as well, to open the socket.
    #[arg(
        long,
        value_name = "USER,...",
        env = "BINDING_SPAN_ALLOW_UID",
        value_delimiter = ',',
        value_parser = users::user
    )]
    pub(crate) allow_uid: Vec<u32>,

    /// On tls: addresses, admit those whose certificates these issued (PEM)
    ///
    /// Read again when it changes, as are the other files of TLS.
    #[arg(long, value_name = "FILE", env = "BINDING_SPAN_TLS_CLIENT_CA")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// On tls: addresses, admit only these keys: sha256//BASE64
    ///
    /// The SHA-256 of the public key, as curl's --pinnedpubkey has it. With --tls-client-ca both must
    /// hold; alone, the key is all that counts.
    #[arg(
        long,
        value_name = "PIN,...",
        env = "BINDING_SPAN_TLS_CLIENT_PIN",
        value_delimiter = ','
    )]
    pub(crate) tls_client_pin: Vec<KeyPin>,

    /// Let connections with other machines do without TLS, and without client certificates
    #[arg(long, env = "BINDING_SPAN_INSECURE", value_parser = FalseyValueParser::new())]
    pub(crate) insecure: bool,

    /// Connections at once, in all; 768 by default
    ///
    /// What is beyond is closed at once. The default leaves room below the 1024 descriptors that a
    /// process commonly has.
    #[arg(
        long,
        value_name = "N",
        env = "BINDING_SPAN_CONNECTIONS",
        value_parser = cli::positive::<usize>,
        hide_short_help = true
    )]
    pub(crate) connections: Option<usize>,

    /// Connections at once of one user (unix sockets) or address (TCP); 384 by default
    ///
    /// Of an IPv6 address the first 64 bits count.
    #[arg(
        long,
        value_name = "N",
        env = "BINDING_SPAN_CONNECTIONS_PER_PEER",
        value_parser = cli::positive::<usize>,
        hide_short_help = true
    )]
    pub(crate) connections_per_peer: Option<usize>,

    /// Of all connections, those kept for users or addresses that have none yet; 64 by default
    #[arg(
        long,
        value_name = "N",
        env = "BINDING_SPAN_CONNECTIONS_RESERVED",
        value_parser = cli::count::<usize>,
        hide_short_help = true
    )]
    pub(crate) connections_reserved: Option<usize>,
}

/// Who we are, under TLS.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct IdentityArgs {
    /// The certificate that we show on tls: addresses, and those that lead to its issuer (PEM)
    ///
    /// A renewed one is used from the next connection on, without a restart.
    #[arg(
        long,
        value_name = "FILE",
        env = "BINDING_SPAN_TLS_CERT",
        requires = "tls_key"
    )]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "BINDING_SPAN_TLS_KEY",
        requires = "tls_cert"
    )]
    pub(crate) tls_key: Option<PathBuf>,
}

/// Whom we connect to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Whom to trust")]
pub struct TrustArgs {
    /// On tls: addresses, who may have issued the other side's certificate (PEM)
    #[arg(long, value_name = "FILE", env = "BINDING_SPAN_TLS_CA")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// On tls: addresses, the keys that the other side may have: sha256//BASE64
    ///
    /// With --tls-ca both must hold; alone, the key is all that counts.
    #[arg(
        long,
        value_name = "PIN,...",
        env = "BINDING_SPAN_TLS_PIN",
        value_delimiter = ','
    )]
    pub(crate) tls_pin: Vec<KeyPin>,

    /// The users who may be listening on a unix socket, by name or uid; our own and root by default
    #[arg(
        long,
        value_name = "USER,...",
        env = "BINDING_SPAN_PEER_UID",
        value_delimiter = ',',
        value_parser = users::user
    )]
    pub(crate) peer_uid: Vec<u32>,
}

/// Who may connect, with the files read.
#[derive(Debug, Clone)]
pub struct Admission {
    pub(crate) options: ListenOptions,
    pub(crate) insecure: bool,
    /// Another port than those for calls has TLS.
    pub(crate) tls_elsewhere: bool,
}

/// The settings that [`AdmitArgs::admission`] reads.
pub(crate) const ADMISSION: [&str; 6] = [
    "socket-group",
    "allow-uid",
    "tls-client-ca",
    "tls-client-pin",
    "tls-cert",
    "tls-key",
];

/// The settings that [`TrustArgs::trust`] and [`TrustArgs::check`] read.
pub(crate) const TRUST: [&str; 4] = ["tls-ca", "tls-pin", "tls-cert", "tls-key"];

impl AdmitArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Failure::Config`] names the file that cannot be used; [`Failure::Usage`] options that
    /// contradict each other.
    pub fn admission(&self, who: &IdentityArgs) -> Result<Admission, Failure> {
        let own = rustix::process::geteuid().as_raw();
        let others = |uid: &&u32| **uid != own && **uid != 0;
        if let (None, Some(uid)) = (self.socket_group, self.allow_uid.iter().find(others)) {
            return Err(Failure::Usage(format!(
                "--allow-uid admits uid {uid}, who cannot open our sockets; add --socket-group with a \
                 group of theirs"
            )));
        }
        let config = TlsConfig {
            identity: who.identity(),
            issuers: self.tls_client_ca.clone(),
            pins: self.tls_client_pin.clone(),
        };
        Ok(Admission {
            options: ListenOptions {
                group: self.socket_group,
                users: (!self.allow_uid.is_empty()).then(|| Users::These(self.allow_uid.clone())),
                tls: tls(config, "tls-client-ca")?,
            },
            insecure: self.insecure,
            tls_elsewhere: false,
        })
    }

    /// These limits, with the numbers of connections that are said here.
    pub fn limits(&self, limits: RpcLimits) -> RpcLimits {
        RpcLimits {
            connections: self.connections.unwrap_or(limits.connections),
            connections_per_peer: self
                .connections_per_peer
                .unwrap_or(limits.connections_per_peer),
            connections_reserved: self
                .connections_reserved
                .unwrap_or(limits.connections_reserved),
            ..limits
        }
    }
}

impl Admission {
    /// Whether it is asked on TLS who connects.
    pub(crate) fn judges(&self) -> bool {
        self.options.tls.as_ref().is_some_and(Tls::judges_peers)
    }
}

impl IdentityArgs {
    fn identity(&self) -> Option<Identity> {
        let (cert, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(Identity { cert, key })
    }
}

impl TrustArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Failure::Config`] names the file that cannot be used.
    pub fn trust(&self, who: &IdentityArgs, insecure: bool) -> Result<Trust, Failure> {
        let config = TlsConfig {
            identity: who.identity(),
            issuers: self.tls_ca.clone(),
            pins: self.tls_pin.clone(),
        };
        Ok(Trust {
            users: match self.peer_uid.is_empty() {
                true => Users::default(),
                false => Users::These(self.peer_uid.clone()),
            },
            tls: tls(config, "tls-ca")?,
            insecure,
        })
    }

    /// Checks that what is said of TLS is used, and that TLS is not used without it.
    ///
    /// # Errors
    /// [`Failure::Usage`]: otherwise a connection would be in plain text that was meant to be secret.
    pub fn check(&self, trust: &Trust, addresses: &[&Address]) -> Result<(), Failure> {
        let said = self.tls_ca.is_some() || !self.tls_pin.is_empty();
        let mut tls = addresses
            .iter()
            .filter(|address| is_tls(address))
            .peekable();
        if said && tls.peek().is_none() {
            return Err(unused("--tls-ca or --tls-pin", "connect to"));
        }
        tls.try_for_each(|address| check_trust(trust, address))
    }
}

/// Whether it is known whom to trust at an address.
pub(crate) fn check_trust(trust: &Trust, address: &Address) -> Result<(), Failure> {
    match is_tls(address) && !trust.tls.as_ref().is_some_and(Tls::judges_peers) {
        true => Err(Failure::Usage(format!(
            "whom to trust at {address} is not said; give --tls-ca (who issues its certificate) or \
             --tls-pin (its key)"
        ))),
        false => Ok(()),
    }
}

pub(crate) fn is_tls(address: &Address) -> bool {
    matches!(address, Address::Tls { .. })
}

pub(crate) fn unused(options: &str, what: &str) -> Failure {
    Failure::Usage(format!(
        "{options} is given, but no address to {what} begins with tls:; write tls:host:port, or leave \
         it out"
    ))
}

/// Reads the files, of which those that may have issued peers' certificates are the setting `issuers`.
fn tls(config: TlsConfig, issuers: &str) -> Result<Option<Tls>, Failure> {
    if config == TlsConfig::default() {
        return Ok(None);
    }
    Tls::new(config).map(Some).map_err(|error| {
        let setting = match error.part() {
            TlsPart::Certificate => "tls-cert",
            TlsPart::Key => "tls-key",
            _ => issuers,
        };
        Failure::Config(error.to_string()).of(setting, 0)
    })
}
