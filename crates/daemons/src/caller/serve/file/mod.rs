//! `caller.toml`: what the options say, and each binding in a table of its own.
//!
//! Keys are the names of the options. What a file says is read by the same rules; what is wrong is said
//! with file, line, column and key.

mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use binding_span::Rename;
use js_rpc::{Forward, InvalidPin, KeyPin};
use toml::de::DeTable;

use self::table::{Problem, Table};
use super::settings::{self, Target, Trust, forward, rename, target};
use crate::cli;
use crate::door::{AdmitArgs, IdentityArgs, TrustArgs, users};
use crate::exit::Failure;
use crate::listen::Endpoint;
use crate::telemetry::{TailPeer, TailTo};

/// What a file says; what it does not say is `None` or empty.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) listen: Vec<Endpoint>,
    pub(super) http: Option<js_rpc::Address>,
    pub(super) http_host: Vec<String>,
    pub(super) admit: AdmitArgs,
    pub(super) identity: IdentityArgs,
    pub(super) peers: TrustArgs,
    pub(super) tail: Option<TailTo>,
    pub(super) tail_to: Option<TailPeer>,
    pub(super) tail_from: Option<String>,
    pub(super) drain: Option<Duration>,
    /// For the bindings that do not say it themselves.
    pub(super) trust: Trust,
    pub(super) bindings: Vec<Binding>,
}

/// A table `[bind.NAME]`.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) target: Target,
    pub(super) connect_name: Option<String>,
    pub(super) trust: Trust,
}

const KEYS: [&str; 27] = [
    "listen",
    "http",
    "http-host",
    "insecure",
    "tail",
    "tail-to",
    "tail-from",
    "drain",
    "rename",
    "attributes",
    "deny",
    "max-names",
    "forward",
    "deadline",
    "socket-group",
    "allow-uid",
    "connections",
    "connections-per-peer",
    "connections-reserved",
    "peer-uid",
    "tls-cert",
    "tls-key",
    "tls-ca",
    "tls-pin",
    "tls-client-ca",
    "tls-client-pin",
    "bind",
];

const BINDING_KEYS: [&str; 8] = [
    "to",
    "connect-name",
    "rename",
    "attributes",
    "deny",
    "max-names",
    "forward",
    "deadline",
];

impl File {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::Config(format!("cannot read the configuration {shown}: {error}"))
        })?;
        Self::parse(&text).map_err(|problem| {
            let (line, column) = place(&text, problem.at);
            Failure::Config(format!("{shown}:{line}:{column}: {}", problem.text))
        })
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let document = DeTable::parse(text).map_err(|error| Problem {
            at: error.span().map_or(0, |span| span.start),
            text: format!("this is not TOML: {}", table::one_line(error.message())),
        })?;
        let table = Table::of(document.get_ref(), String::new(), &KEYS)?;
        let bindings = table.tables("bind", &BINDING_KEYS)?;
        Ok(Self {
            listen: table
                .texts("listen", "ADDR or ADDR,binding=NAME", str::parse)?
                .unwrap_or_default(),
            http: table.text("http", "an address", settings::http)?,
            http_host: table
                .texts("http-host", "a host's name", host)?
                .unwrap_or_default(),
            admit: admit(&table)?,
            identity: IdentityArgs {
                tls_cert: path(&table, "tls-cert")?,
                tls_key: path(&table, "tls-key")?,
            },
            peers: TrustArgs {
                tls_ca: path(&table, "tls-ca")?,
                tls_pin: pins(&table, "tls-pin")?,
                peer_uid: uids(&table, "peer-uid")?,
            },
            tail: table.text("tail", "a file's path, or stderr", |text| {
                text.parse().map_err(str::to_owned)
            })?,
            tail_to: tail_to(&table)?,
            tail_from: table.text("tail-from", "a service's name", name)?,
            drain: table.text("drain", "a time such as \"10s\"", cli::duration)?,
            trust: trust(&table)?,
            bindings: bindings
                .into_iter()
                .map(|(name, at, table)| binding(name, at, &table))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn admit(table: &Table<'_>) -> Result<AdmitArgs, Problem> {
    Ok(AdmitArgs {
        socket_group: table.text("socket-group", "a group's name or gid", users::group)?,
        allow_uid: uids(table, "allow-uid")?,
        tls_client_ca: path(table, "tls-client-ca")?,
        tls_client_pin: pins(table, "tls-client-pin")?,
        insecure: table.switch("insecure")?.unwrap_or(false),
        connections: table.number("connections")?,
        connections_per_peer: table.number("connections-per-peer")?,
        connections_reserved: table.number("connections-reserved")?,
    })
}

fn path(table: &Table<'_>, key: &str) -> Result<Option<PathBuf>, Problem> {
    Ok(table.text(key, "a file's path", name)?.map(PathBuf::from))
}

fn uids(table: &Table<'_>, key: &str) -> Result<Vec<u32>, Problem> {
    let uids = table.texts(key, "a user's name or uid, as text", users::user)?;
    Ok(uids.unwrap_or_default())
}

fn pins(table: &Table<'_>, key: &str) -> Result<Vec<KeyPin>, Problem> {
    let pin = |text: &str| text.parse().map_err(|error: InvalidPin| error.to_string());
    Ok(table.texts(key, "sha256//BASE64", pin)?.unwrap_or_default())
}

fn binding(name: String, at: usize, table: &Table<'_>) -> Result<Binding, Problem> {
    let shape = "\"ADDR\" or \"ADDR#REMOTE\"";
    let target = table.text("to", shape, |text| target(&name, text))?;
    let target = target.ok_or_else(|| Problem {
        at,
        text: format!("bind.{name}: there is no `to`; write to = {shape}"),
    })?;
    let connect_name = table.text("connect-name", "a name", self::name)?;
    if let (Some(_), true) = (&connect_name, target.remote != name) {
        let text = "it names the binding there, and so does what stands behind # in `to`; leave one of \
                    them out";
        return Err(table.wrong("connect-name", text));
    }
    Ok(Binding {
        target,
        connect_name,
        trust: trust(table)?,
    })
}

fn trust(table: &Table<'_>) -> Result<Trust, Problem> {
    let shape = "\"any\", \"off\" or a list of patterns";
    let patterns = table.texts("rename", shape, rename)?;
    Ok(Trust {
        rename: match patterns {
            Some(said) => Some(one_rename(said).map_err(|text| table.wrong("rename", text))?),
            None => None,
        },
        attributes: table.switch("attributes")?,
        deny: table
            .texts("deny", "the beginning of a key", prefix)?
            .unwrap_or_default(),
        max_names: table.number("max-names")?,
        forward: table.text::<Forward>("forward", "\"accepted\" or \"none\"", forward)?,
        deadline: table.text("deadline", "a time such as \"30s\"", cli::deadline)?,
    })
}

/// A list has patterns only; `any` and `off` stand alone.
fn one_rename(mut said: Vec<Rename>) -> Result<Rename, &'static str> {
    if said.len() == 1 {
        return Ok(said.remove(0));
    }
    let mut all = Vec::new();
    for rename in said {
        match rename {
            Rename::Matching(patterns) => all.extend(patterns),
            _ => return Err("any and off stand alone; write \"any\", \"off\" or patterns"),
        }
    }
    match all.is_empty() {
        true => Ok(Rename::Off),
        false => Ok(Rename::Matching(all)),
    }
}

fn tail_to(table: &Table<'_>) -> Result<Option<TailPeer>, Problem> {
    let mut peers = table
        .texts("tail-to", "ADDR#SERVICE", str::parse)?
        .unwrap_or_default();
    match peers.len() {
        0 | 1 => Ok(peers.pop()),
        _ => Err(table.wrong("tail-to", "there can be one receiver")),
    }
}

pub(super) fn host(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!(
            "{text:?} is not a host; write a name or an address, without a scheme"
        )),
    }
}

fn name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a name is not empty".into()),
        text => Ok(text.to_owned()),
    }
}

fn prefix(text: &str) -> Result<String, String> {
    match text {
        "" => Err("an empty prefix would be every key; for that write attributes = false".into()),
        text => Ok(text.to_owned()),
    }
}

/// Line and column of a byte, both from 1; columns count characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}
