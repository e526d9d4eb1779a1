//! Who may connect to a unix socket, how many may connect to a server, and what is left of its sockets.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::Path;
use std::time::Duration;

use common::{BINDING, SOON, service, socket_dir, unix};
use js_rpc::{
    Address, CallError, ConnectOptions, Connection, ListenOptions, Listener, RpcLimits, Server,
    Trust, Users, reply,
};
use rustix::process::geteuid;
use rustix::thread::set_thread_uid;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

fn server() -> Server {
    Server::new().service(BINDING, service(async |_, _, _| reply(&42)))
}

async fn listen(server: Server, address: &Address, options: &ListenOptions) -> Address {
    let listener = Listener::bind_with(address, options).await.unwrap();
    let bound = listener.address().clone();
    tokio::task::spawn_local(server.serve([listener], std::future::pending()));
    bound
}

async fn answer(address: &Address, trust: Trust) -> Result<i32, CallError> {
    let options = ConnectOptions {
        trust,
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(address, options).await?;
    let reply = connection.binding(BINDING).call("any", ()).await?;
    Ok(reply.parse().unwrap())
}

/// Runs as another user, on a thread of its own, whose sockets are then that user's.
fn as_user<T: Send + 'static>(
    uid: u32,
    run: impl AsyncFnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> {
    let task = tokio::task::spawn_blocking(move || {
        std::thread::spawn(move || {
            set_thread_uid(rustix::process::Uid::from_raw(uid)).unwrap();
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
                .unwrap()
                .block_on(run())
        })
        .join()
        .unwrap()
    });
    async { tokio::time::timeout(SOON, task).await.unwrap().unwrap() }
}

/// Only root can become somebody else.
fn can_be_others() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("skipped: it takes root to be two users");
    }
    root
}

/// A folder that every user may look into.
fn open_dir() -> tempfile::TempDir {
    let dir = socket_dir();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "local")]
async fn a_socket_is_its_owners_alone_and_leaves_nothing_behind() {
    let dir = open_dir();
    let at = unix(&dir, "s");
    let before = mode(dir.path());
    let listener = Listener::bind(&at).await.unwrap();
    assert_eq!(mode(&dir.path().join("s")), 0o600);
    assert_eq!(
        mode(dir.path()),
        before,
        "a folder of others is not changed"
    );
    assert_eq!(names(&dir), ["s"]);
    drop(listener);
    assert!(names(&dir).is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_group_gets_the_file_and_nobody_else_does() {
    let dir = open_dir();
    let gid = if geteuid().is_root() {
        4242
    } else {
        rustix::process::getegid().as_raw()
    };
    let options = ListenOptions {
        group: Some(gid),
        ..ListenOptions::default()
    };
    let _listener = Listener::bind_with(&unix(&dir, "s"), &options)
        .await
        .unwrap();
    let meta = fs::symlink_metadata(dir.path().join("s")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o660, gid));
}

#[tokio::test(flavor = "local")]
async fn what_is_not_a_stale_socket_is_never_replaced() {
    let dir = socket_dir();
    let live = StdListener::bind(dir.path().join("live")).unwrap();
    fs::write(dir.path().join("file"), "precious").unwrap();
    symlink(dir.path().join("live"), dir.path().join("to-live")).unwrap();
    drop(StdListener::bind(dir.path().join("stale")).unwrap());
    symlink(dir.path().join("stale"), dir.path().join("to-stale")).unwrap();
    for (name, says) in [
        ("live", "another process listens there"),
        ("file", "not a socket"),
        ("to-live", "not a socket"),
        ("to-stale", "not a socket"),
    ] {
        let error = Listener::bind(&unix(&dir, name)).await.unwrap_err();
        assert!(error.reason.contains(says), "{name}: {error}");
    }
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"precious");
    drop(live);
    let listener = Listener::bind(&unix(&dir, "stale")).await.unwrap();
    assert_eq!(mode(&dir.path().join("stale")), 0o600);
    drop(listener);
    assert_eq!(names(&dir), ["file", "live", "to-live", "to-stale"]);
}

#[tokio::test(flavor = "local")]
async fn of_many_who_want_one_path_one_gets_it_and_keeps_it() {
    for stale in [false, true] {
        let dir = socket_dir();
        let at = unix(&dir, "s");
        if stale {
            drop(StdListener::bind(dir.path().join("s")).unwrap());
        }
        let starts = (0..8).map(|_| {
            let at = at.clone();
            // Threads, so that they meet in the middle of it.
            tokio::task::spawn_blocking(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = runtime.unwrap();
                let bound = runtime.block_on(Listener::bind(&at));
                bound
                    .map(|listener| (runtime, listener))
                    .is_ok_and(|bound| {
                        std::mem::forget(bound);
                        true
                    })
            })
        });
        let won: Vec<bool> = common::all(starts)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?} {stale}");
        assert!(
            StdStream::connect(dir.path().join("s")).is_ok(),
            "it is the one that listens"
        );
        assert_eq!(names(&dir), ["s"]);
    }
}

#[tokio::test(flavor = "local")]
async fn who_keeps_the_folders_lock_keeps_nobody_from_starting() {
    let dir = socket_dir();
    drop(StdListener::bind(dir.path().join("s")).unwrap());
    let kept = fs::File::open(dir.path()).unwrap();
    kept.lock().unwrap();
    let _listener = Listener::bind(&unix(&dir, "s")).await.unwrap();
    assert!(StdStream::connect(dir.path().join("s")).is_ok());
}

#[tokio::test(flavor = "local")]
async fn a_socket_that_took_our_place_is_not_removed() {
    let dir = socket_dir();
    let listener = Listener::bind(&unix(&dir, "s")).await.unwrap();
    fs::remove_file(dir.path().join("s")).unwrap();
    let _other = StdListener::bind(dir.path().join("s")).unwrap();
    drop(listener);
    assert_eq!(names(&dir), ["s"]);
}

#[tokio::test(flavor = "local")]
async fn only_users_who_are_admitted_get_in() {
    if !can_be_others() {
        return;
    }
    // Whom the listener admits, with the file open to all, so that only the check is in the way.
    for (users, gets_in) in [
        (Users::Own, false),
        (Users::OwnOrRoot, false),
        (Users::These(vec![4241]), false),
        (Users::These(vec![4241, 4242]), true),
        (Users::Any, true),
    ] {
        let dir = open_dir();
        let at = unix(&dir, "s");
        let options = ListenOptions {
            users: Some(users.clone()),
            ..ListenOptions::default()
        };
        listen(server(), &at, &options).await;
        let open = fs::Permissions::from_mode(0o666);
        fs::set_permissions(dir.path().join("s"), open).unwrap();
        assert_eq!(
            answer(&at, Trust::default()).await.unwrap(),
            42,
            "our own user, {users:?}"
        );
        let outcome = as_user(4242, async move || answer(&at, Trust::default()).await).await;
        assert_eq!(outcome.is_ok(), gets_in, "{users:?}: {outcome:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_socket_of_an_unexpected_user_is_not_talked_to() {
    if !can_be_others() {
        return;
    }
    let dir = open_dir();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = dir.path().join("s");
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let squatter = std::thread::spawn(move || {
        set_thread_uid(rustix::process::Uid::from_raw(4242)).unwrap();
        let listener = StdListener::bind(path).unwrap();
        ready.send(()).unwrap();
        // Whoever connects says nothing to it.
        use std::io::Read;
        let mut said = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut said).unwrap();
        said
    });
    is_ready.await.unwrap();
    let error = answer(&unix(&dir, "s"), Trust::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a process of uid 4242 listens there"),
        "{error}"
    );
    assert!(error.contains("--peer-uid 4242"), "{error}");
    assert_eq!(squatter.join().unwrap(), b"");
}

#[tokio::test(flavor = "local")]
async fn another_users_socket_is_talked_to_when_it_is_named_or_roots() {
    if !can_be_others() {
        return;
    }
    let dir = open_dir();
    let at = unix(&dir, "s");
    let any = ListenOptions {
        users: Some(Users::Any),
        ..ListenOptions::default()
    };
    listen(server(), &at, &any).await;
    fs::set_permissions(dir.path().join("s"), fs::Permissions::from_mode(0o666)).unwrap();
    for (users, ok) in [
        (Users::OwnOrRoot, true),
        (Users::Own, false),
        (Users::These(vec![0]), true),
        (Users::These(vec![1]), false),
    ] {
        let (at, trust) = (
            at.clone(),
            Trust {
                users: users.clone(),
                ..Trust::default()
            },
        );
        let outcome = as_user(4242, async move || answer(&at, trust).await).await;
        assert_eq!(outcome.is_ok(), ok, "{users:?}: {outcome:?}");
    }
}

/// Whether the server keeps a connection that says nothing yet.
async fn is_kept(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    let read = stream.read_u8();
    tokio::time::timeout(Duration::from_millis(200), read)
        .await
        .is_err()
}

async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let read = tokio::time::timeout(SOON, stream.read_u8()).await;
    assert!(read.expect("closed at once").is_err());
}

fn few(total: usize, per_peer: usize, reserved: usize) -> RpcLimits {
    RpcLimits {
        connections: total,
        connections_per_peer: per_peer,
        connections_reserved: reserved,
        ..RpcLimits::default()
    }
}

async fn from(ip: &str, to: &Address) -> std::io::Result<TcpStream> {
    let Address::Tcp { host, port } = to else {
        panic!("{to}")
    };
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{ip}:0").parse().unwrap())?;
    socket
        .connect(format!("{host}:{port}").parse().unwrap())
        .await
}

#[tokio::test(flavor = "local")]
async fn a_peer_gets_in_while_this_machine_floods_from_all_its_addresses() {
    for (limits, fits) in [(few(64, 3, 2), 3), (few(8, 64, 2), 6)] {
        let dir = socket_dir();
        let tcp = Listener::bind(&"127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let unix = Listener::bind(&unix(&dir, "s")).await.unwrap();
        let (at, other) = (tcp.address().clone(), unix.address().clone());
        let serving = server()
            .limits(limits)
            .serve([tcp, unix], std::future::pending());
        tokio::task::spawn_local(serving);
        // Whoever has one of these addresses has all of them.
        let address = |i: usize| format!("127.0.{}.{}", i % 7, 2 + i);
        let mut held = Vec::new();
        for i in 0..fits {
            held.push(from(&address(i), &at).await.unwrap());
        }
        for stream in &mut held {
            assert!(is_kept(stream).await);
        }
        for i in 0..50 {
            is_closed(&mut from(&address(i), &at).await.unwrap()).await;
        }
        // An honest one beside it is answered.
        assert_eq!(answer(&other, Trust::default()).await.unwrap(), 42);
        // A place that becomes free is given to the next.
        held.clear();
        common::a_while().await;
        assert!(is_kept(&mut from("127.0.0.2", &at).await.unwrap()).await);
    }
}

#[tokio::test(flavor = "local")]
async fn a_user_gets_in_while_another_one_floods() {
    if !can_be_others() {
        return;
    }
    let dir = open_dir();
    let at = unix(&dir, "s");
    let any = ListenOptions {
        users: Some(Users::Any),
        ..ListenOptions::default()
    };
    listen(server().limits(few(16, 4, 2)), &at, &any).await;
    let path = dir.path().join("s");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let held = as_user(4242, async move || {
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(UnixStream::connect(&path).await.unwrap());
        }
        for _ in 0..50 {
            is_closed(&mut UnixStream::connect(&path).await.unwrap()).await;
        }
        let held: Vec<_> = held.into_iter().map(|s| s.into_std().unwrap()).collect();
        held
    })
    .await;
    assert_eq!(answer(&at, Trust::default()).await.unwrap(), 42);
    drop(held);
}

#[tokio::test(flavor = "local")]
async fn plain_tcp_does_not_leave_the_machine_unless_told_to() {
    // An address that is ours and not loopback, if there is one.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = probe
        .connect("192.0.2.1:9")
        .and_then(|()| probe.local_addr());
    let Some(ip) = own
        .ok()
        .map(|own| own.ip())
        .filter(|ip| !ip.is_unspecified())
    else {
        println!("skipped: there is no network");
        return;
    };
    let any = ListenOptions::default();
    let at = listen(server(), &format!("{ip}:0").parse().unwrap(), &any).await;
    let error = answer(&at, Trust::default()).await.unwrap_err().to_string();
    assert!(error.contains("would not be encrypted"), "{error}");
    let insecure = Trust {
        insecure: true,
        ..Trust::default()
    };
    assert_eq!(answer(&at, insecure).await.unwrap(), 42);
}
