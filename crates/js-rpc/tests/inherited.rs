//! Sockets that somebody else bound and handed over.

mod common;

use std::os::fd::OwnedFd;

use common::{service, socket_dir, unix};
use js_rpc::{
    Address, Args, ConnectOptions, Connection, Context, ListenOptions, Listener, Server, reply,
};

fn inherit(socket: impl Into<OwnedFd>) -> Result<Listener, js_rpc::InheritError> {
    Listener::inherited(socket.into(), false, &ListenOptions::default())
}

async fn answers(address: &Address) -> bool {
    let connection = Connection::connect(address, ConnectOptions::default())
        .await
        .unwrap();
    let reply = connection
        .binding("S")
        .call("any", Args::none())
        .send()
        .await;
    reply.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "local")]
async fn inherited_sockets_of_both_kinds_are_served_and_a_file_that_is_not_ours_stays() {
    let dir = socket_dir();
    let Address::Unix(path) = unix(&dir, "callee") else {
        unreachable!("it is a unix socket")
    };
    let on_unix = inherit(std::os::unix::net::UnixListener::bind(&path).unwrap()).unwrap();
    let on_tcp = inherit(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let addresses = [on_unix.address().clone(), on_tcp.address().clone()];
    assert_eq!(addresses[0], Address::Unix(path.clone()));
    let server = Server::new().service("S", service(async |_: &str, _, _: &Context| reply(&true)));
    let calls = async {
        for address in &addresses {
            assert!(answers(address).await, "{address}");
        }
    };
    server.serve([on_unix, on_tcp], calls).await;
    assert!(path.exists(), "whoever made the file removes it");
}

#[tokio::test(flavor = "local")]
async fn what_cannot_be_served_is_said() {
    let dir = socket_dir();
    let Address::Unix(path) = unix(&dir, "datagram") else {
        unreachable!("it is a unix socket")
    };
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let datagram = std::os::unix::net::UnixDatagram::bind(path).unwrap();
    let file = tempfile::tempfile().unwrap();
    for (socket, says) in [
        (OwnedFd::from(connected), "no listening stream socket"),
        (OwnedFd::from(datagram), "no listening stream socket"),
        (OwnedFd::from(file), "os error 88"),
    ] {
        let error = inherit(socket).unwrap_err().to_string().to_lowercase();
        assert!(error.contains(says), "{error}");
    }
    let error = Listener::inherited(tcp.into(), true, &ListenOptions::default());
    assert!(error.unwrap_err().to_string().contains("--tls-cert"));
}
