//! Services of ours for a Worker to call: a server on this thread.

use js_rpc::{Address, Listener, Server};

/// A server on a socket in a folder of its own, which ends with the test's runtime.
pub struct Ours {
    address: Address,
    _dir: tempfile::TempDir,
}

impl Ours {
    /// Serves what `server` has.
    pub async fn serve(server: Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Unix(dir.path().join("ours.sock"));
        let listener = Listener::bind(&address).await.unwrap();
        tokio::task::spawn_local(server.serve([listener], std::future::pending()));
        Self { address, _dir: dir }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }
}
