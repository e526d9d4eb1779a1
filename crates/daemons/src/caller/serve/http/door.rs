//! The way from an HTTP request into this process's own server: a unix socket in a private folder, and one
//! connection to it.
//!
//! It costs a hop inside the machine, and has no other path for such calls than the one that exists.

use std::cell::RefCell;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use binding_span::SpanContext;
use js_rpc::{Address, Args, CallError, ConnectOptions, Connection, Listener, Reply, RpcLimits};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::exit::Failure;

/// The client side of the door.
pub(super) struct Door {
    address: Address,
    connection: RefCell<Option<Connection>>,
    connecting: Mutex<()>,
    #[allow(dead_code, reason = "removed when it is dropped")]
    folder: TempDir,
}

const PREFIX: &str = "binding-span-door-";
const SOCKET: &str = "door.sock";

/// Removes what processes of ours left that were killed: folders with a socket on which nobody listens.
async fn clear_away(temporary: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir(temporary) else {
        return;
    };
    for entry in entries.flatten() {
        let is_door = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_own = || {
            let meta = std::fs::symlink_metadata(entry.path());
            meta.is_ok_and(|meta| meta.is_dir() && meta.uid() == own)
        };
        if !is_door || !is_own() {
            continue;
        }
        let socket = entry.path().join(SOCKET);
        let tried = UnixStream::connect(&socket).await;
        if tried.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            // Only these, one by one: what else might be there is not ours to remove.
            let _ = std::fs::remove_file(&socket);
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// One call through the door.
pub(super) struct DoorCall<'a> {
    pub(super) binding: &'a str,
    pub(super) method: &'a str,
    pub(super) args: Args,
    pub(super) parent: Option<SpanContext>,
    pub(super) deadline: Duration,
}

impl Door {
    /// Makes the door, and the listener that the server has to serve.
    pub(super) async fn open() -> Result<(Self, Listener), Failure> {
        clear_away(&std::env::temp_dir()).await;
        let mut private = tempfile::Builder::new();
        private.permissions(Permissions::from_mode(0o700));
        let folder = private.prefix(PREFIX).tempdir();
        let folder = folder.map_err(|error| {
            Failure::Config(format!(
                "cannot make a private folder in {} for --http: {error}; set TMPDIR to a folder that \
                 this user may write",
                std::env::temp_dir().display()
            ))
        })?;
        let address = Address::Unix(folder.path().join(SOCKET));
        let listener = Listener::bind(&address).await?;
        let door = Self {
            address,
            connection: RefCell::default(),
            connecting: Mutex::default(),
            folder,
        };
        Ok((door, listener))
    }

    /// Connects ahead of the first call, if that is possible; else a call tries again.
    pub(super) async fn open_up(&self) {
        if let Err(error) = self.connect().await {
            tracing::warn!(%error, "calls by HTTP cannot be made yet");
        }
    }

    /// Makes a call. Its span is opened where it arrives, as a child of `parent`; here there is none.
    pub(super) async fn call(&self, call: DoorCall<'_>) -> Result<Reply, CallError> {
        let made = async {
            let connection = self.connect().await?;
            let pending = connection
                .binding(call.binding)
                .call(call.method, call.args)
                .deadline(call.deadline);
            let pending = match call.parent {
                Some(parent) => pending.parent(parent),
                None => pending,
            };
            // The connection is kept by those that come later.
            drop(connection);
            pending.send().await
        };
        made.with_subscriber(NoSubscriber::new()).await
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let up = || {
            let connection = self.connection.borrow();
            connection.as_ref().filter(|c| !c.is_lost()).cloned()
        };
        if let Some(connection) = up() {
            return Ok(connection);
        }
        let _turn = self.connecting.lock().await;
        if let Some(connection) = up() {
            return Ok(connection);
        }
        let options = ConnectOptions {
            limits: RpcLimits {
                linger: Duration::from_secs(1),
                ..RpcLimits::default()
            },
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&self.address, options).await?;
        self.connection.replace(Some(connection.clone()));
        Ok(connection)
    }
}
