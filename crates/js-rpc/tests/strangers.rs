//! Addresses that cannot be had, and peers that speak something else: a clear word, and no hang.

mod common;

use std::time::{Duration, Instant};

use common::{BINDING, SOON, WIRES, Way, World, service, socket_dir, unix};
use js_rpc::{
    Address, CallError, ConnectOptions, Connection, Context, Listener, RpcLimits, Server, nothing,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixListener, UnixStream};

fn quiet() -> impl js_rpc::Service {
    service(async |_: &str, _, _: &Context| nothing())
}

async fn listen_error(address: &Address) -> String {
    Listener::bind(address).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "local")]
async fn a_socket_that_a_dead_process_left_is_replaced_and_a_live_one_is_not() {
    let dir = socket_dir();
    let address = unix(&dir, "callee");
    let path = dir.path().join("callee");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "stale");
    let listener = Listener::bind(&address).await.unwrap();
    let error = listen_error(&address).await;
    assert!(error.contains("another process listens there"), "{error}");
    assert!(error.contains(&address.to_string()));
    drop(listener);
    assert!(!path.exists(), "removed with its listener");
    std::fs::write(&path, "data").unwrap();
    let error = listen_error(&address).await;
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
    let error = listen_error(&unix(&dir, "no/such/callee")).await;
    assert!(error.contains("directory does not exist"), "{error}");
}

#[tokio::test(flavor = "local")]
async fn a_unix_socket_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let dir = socket_dir();
    let _listener = Listener::bind(&unix(&dir, "callee")).await.unwrap();
    let mode = std::fs::metadata(dir.path().join("callee"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "local")]
async fn a_port_in_use_is_said_to_be() {
    let taken = Listener::bind(&"127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let error = listen_error(taken.address()).await;
    assert!(
        error.contains("in use") && error.contains("another port"),
        "{error}"
    );
}

#[tokio::test(flavor = "local")]
async fn where_nobody_listens_a_caller_is_told_so() {
    let dir = socket_dir();
    // Its port is taken, so that nobody else gets it, and nobody listens.
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let free = deaf.local_addr().unwrap().to_string().parse().unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("stale")).unwrap());
    for address in [unix(&dir, "none"), unix(&dir, "stale"), free] {
        let outcome = Connection::connect(&address, ConnectOptions::default()).await;
        let Err(error @ CallError::Unavailable(_)) = outcome else {
            panic!("{address}")
        };
        let error = error.to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.contains("is the callee running"), "{error}");
    }
}

async fn answer_to(address: &Address, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let exchange = async {
        match address {
            Address::Unix(path) => {
                let mut stream = UnixStream::connect(path).await.unwrap();
                stream.write_all(request).await.unwrap();
                let _ = stream.read_to_end(&mut answer).await;
            }
            Address::Tcp { host, port } | Address::Tls { host, port } => {
                let mut stream = TcpStream::connect((host.as_str(), *port)).await.unwrap();
                stream.write_all(request).await.unwrap();
                let _ = stream.read_to_end(&mut answer).await;
            }
        }
    };
    tokio::time::timeout(SOON, exchange)
        .await
        .expect("the server closes the connection");
    answer
}

#[tokio::test(flavor = "local")]
async fn a_plain_http_request_gets_an_answer_that_says_what_this_port_is() {
    for way in [Way::Unix, Way::Tcp, Way::Proxied] {
        let world = World::of(way, quiet()).await;
        for (request, status, text) in [
            (
                "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "501",
                "",
            ),
            ("POST /a HTTP/1.0\r\n\r\n", "505", "HTTP/1.1"),
            ("CONNECT x\r\n\r\n", "400", "CONNECT NAME"),
        ] {
            let answer = answer_to(&world.address, request.as_bytes()).await;
            let answer = String::from_utf8(answer).unwrap();
            let line = answer.lines().next().unwrap_or_default();
            assert_eq!(line.split(' ').nth(1), Some(status), "{answer}");
            assert!(answer.contains(text), "{answer}");
        }
        world.call("run").await.unwrap();
    }
}

#[tokio::test(flavor = "local")]
async fn garbage_costs_a_stranger_its_own_connection() {
    let world = World::of(Way::Unix, quiet()).await;
    let long = [b"GET /".as_slice(), &[b'x'; 20_000]].concat();
    let garbage: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0xff; 4096],
        &[0; 64],
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &long,
    ];
    for bytes in garbage {
        let Address::Unix(path) = &world.address else {
            unreachable!()
        };
        let mut stream = UnixStream::connect(path).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(SOON, read).await;
        assert!(read.is_ok(), "{:?} hangs", &bytes[..11]);
        world.call("run").await.unwrap();
    }
    assert_eq!(world.callee.now().len(), garbage.len());
}

#[tokio::test(flavor = "local")]
async fn a_caller_that_names_its_binding_in_the_opening_is_served() {
    let dir = socket_dir();
    let address = common::serve(Server::new().service("A", quiet()), &unix(&dir, "a")).await;
    let named = |name: &str| ConnectOptions {
        connect: Some(name.to_owned()),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&address, named("A")).await.unwrap();
    connection
        .binding("whatever")
        .call("run", ())
        .await
        .unwrap();
    let connection = Connection::connect(&address, named("B")).await.unwrap();
    let error = connection
        .binding("B")
        .call("run", ())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("there is no binding \"B\" here; there is: A"),
        "{error}"
    );

    // A listener that fixes the binding does not care for the name.
    let listener = Listener::bind(&unix(&dir, "fixed"))
        .await
        .unwrap()
        .with_binding("A");
    let fixed = listener.address().clone();
    let server = Server::new().service("A", quiet());
    tokio::task::spawn_local(server.serve([listener], std::future::pending()));
    let connection = Connection::connect(&fixed, named("B")).await.unwrap();
    connection.binding("B").call("run", ()).await.unwrap();
}

#[tokio::test(flavor = "local")]
async fn a_listener_for_one_binding_serves_no_other_however_a_connection_opens() {
    let dir = socket_dir();
    let listener = Listener::bind(&unix(&dir, "fixed"))
        .await
        .unwrap()
        .with_binding("A");
    let fixed = listener.address().clone();
    let server = Server::new()
        .service("A", quiet())
        .service("A#x", quiet())
        .service("SECRET", quiet())
        .tail("events", Refusing);
    let bindings = server.bindings();
    tokio::task::spawn_local(server.serve([listener], std::future::pending()));
    for wire in WIRES {
        let options = ConnectOptions {
            limits: wire.limits(),
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&fixed, options).await.unwrap();
        connection.binding("A").call("run", ()).await.unwrap();
        let long = "A".repeat(2000);
        for other in ["SECRET", "A#x", "events", "", "a", "A ", &long] {
            let error = connection.binding(other).call("run", ()).await;
            let error = error.expect_err(other).to_string();
            assert!(
                error.ends_with("here; there is: A"),
                "{wire:?} {other}: {error}"
            );
        }
        let stream = connection.tail_stream("events");
        assert!(stream.report(0, |_| {}).await.is_err(), "{wire:?}");
        // Nor is there anything else when what it is for has gone.
        bindings.remove("A");
        let error = connection.binding("A").call("run", ()).await.unwrap_err();
        assert!(error.to_string().ends_with("there is: "), "{error}");
        bindings.service("A", quiet());
    }
}

/// Takes tail events, and fails when it gets any.
struct Refusing;

impl js_rpc::TailReceiver for Refusing {
    fn report(
        &self,
        _: capnp::struct_list::Reader<
            '_,
            binding_span_schema::tail_stream_capnp::tail_event::Owned,
        >,
    ) -> capnp::Result<bool> {
        panic!("a listener for another binding gave it events")
    }
}

/// What a stranger does with each connection.
async fn stranger<F: Future<Output = ()> + 'static>(
    dir: &tempfile::TempDir,
    name: &str,
    talk: impl Fn(UnixStream) -> F + 'static,
) -> Address {
    let listener = UnixListener::bind(dir.path().join(name)).unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(talk(stream));
        }
    });
    unix(dir, name)
}

async fn echo(mut stream: UnixStream) {
    let (mut read, mut write) = stream.split();
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

async fn answer(mut stream: UnixStream, bytes: &[u8]) {
    let mut first = [0; 8];
    let _ = stream.read_exact(&mut first).await;
    let _ = stream.write_all(bytes).await;
    // Held open, and read from.
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

#[tokio::test(flavor = "local")]
async fn a_callee_that_speaks_something_else_is_found_out() {
    let dir = socket_dir();
    let limits = RpcLimits {
        connect: Duration::from_secs(1),
        call: Duration::from_secs(2),
        ..RpcLimits::default()
    };
    let strangers = [
        stranger(&dir, "echo", echo).await,
        stranger(&dir, "http", |s| async {
            answer(s, b"HTTP/1.1 400 Bad Request\r\n\r\n").await
        })
        .await,
        stranger(&dir, "ssh", |s| async {
            answer(s, b"SSH-2.0-OpenSSH_9.9\r\n").await
        })
        .await,
        stranger(&dir, "noise", |s| async { answer(s, &[0xa5; 4096]).await }).await,
        stranger(&dir, "closes", |s| async { drop(s) }).await,
        stranger(&dir, "silent", |s| async { answer(s, b"").await }).await,
    ];
    for address in strangers {
        for connect in [None, Some(BINDING.to_owned())] {
            let options = ConnectOptions {
                connect: connect.clone(),
                limits: limits.clone(),
                ..ConnectOptions::default()
            };
            let began = Instant::now();
            let outcome = async {
                let connection = Connection::connect(&address, options).await?;
                connection.binding(BINDING).call("run", ()).await
            };
            let outcome = tokio::time::timeout(SOON, outcome).await;
            let error = outcome.expect("it hangs").expect_err("it is no callee");
            println!("{address} {connect:?}: {error}");
            assert!(began.elapsed() < SOON);
            if connect.is_some() {
                assert!(
                    matches!(error, CallError::Unavailable(_)),
                    "{address}: {error}"
                );
            }
            // Only who never answers costs the deadline.
            let silent = address.to_string().ends_with("silent") && connect.is_none();
            let deadline = matches!(error, CallError::Deadline(_));
            assert!(!deadline || silent, "{address} {connect:?}: {error}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn the_text_of_an_abort_is_cut_for_each_of_many_calls_in_flight() {
    let dir = socket_dir();
    let address = unix(&dir, "rude");
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("rude")).unwrap();
    let rude = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The calls are there.
        let _ = std::io::Read::read(&mut stream, &mut [0; 1 << 16]);
        std::thread::sleep(Duration::from_millis(200));
        let mut abort = capnp::message::Builder::new_default();
        let message = abort.init_root::<capnp_rpc::rpc_capnp::message::Builder<'_>>();
        message
            .init_abort()
            .set_reason("x".repeat(8 << 20).as_str());
        let mut bytes = Vec::new();
        capnp::serialize::write_message(&mut bytes, &abort).unwrap();
        let _ = std::io::Write::write_all(&mut stream, &bytes);
    });
    let limits = RpcLimits {
        one_message: false,
        ..RpcLimits::default()
    };
    let options = ConnectOptions {
        limits,
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&address, options).await.unwrap();
    let binding = connection.binding(BINDING);
    let calls: Vec<_> = (0..1000).map(|_| binding.call("run", ()).send()).collect();
    for call in calls {
        let error = call.await.unwrap_err().to_string();
        assert!(error.contains("xxx"), "{error:.200}");
        assert!(error.len() < 1500, "{} bytes", error.len());
    }
    rude.join().unwrap();
}
