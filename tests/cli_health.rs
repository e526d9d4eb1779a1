//! `caller health`: 0 when a daemon says that it is ready, 1 for everything else.

mod util;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;

use util::{Done, World, caller};

const READY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n";
const DRAINING: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 13\r\n\r\n\u{1b}[2Jdraining\n";

/// Answers one request, and gives its first line.
fn answer(mut stream: impl Read + Write, with: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    stream.write_all(with.as_bytes()).unwrap();
    String::from_utf8(head)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned()
}

fn ask(world: &World, at: &str, more: &[&str]) -> Done {
    world.run(caller(), &[&["health", "--connect", at], more].concat())
}

#[test]
fn it_says_what_the_daemon_says_on_either_kind_of_socket() {
    let world = World::new();
    let unix = UnixListener::bind(world.path("admin.sock")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (on_unix, on_tcp) = (
        world.unix("admin.sock"),
        tcp.local_addr().unwrap().to_string(),
    );
    thread::scope(|scope| {
        let asked = scope.spawn(|| answer(unix.accept().unwrap().0, READY));
        let done = ask(&world, &on_unix, &[]);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(0), "ready\n"),
            "{done:?}"
        );
        assert_eq!(asked.join().unwrap(), "GET /readyz HTTP/1.1");

        let asked = scope.spawn(|| answer(tcp.accept().unwrap().0, DRAINING));
        let done = ask(&world, &on_tcp, &["--live"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{done:?}");
        assert!(
            done.last_line()
                .ends_with("is not ready: \\u{1b}[2Jdraining"),
            "{done:?}"
        );
        assert_eq!(asked.join().unwrap(), "GET /livez HTTP/1.1");
    });
}

#[test]
fn both_daemons_can_be_asked() {
    let world = World::new();
    world.database();
    let admin = |name: &str| format!("--admin={}", world.unix(name));
    let daemons = [
        world.callee(&[&admin("callee.admin")]),
        world.caller(&[&admin("caller.admin")]),
    ];
    for name in ["callee.admin", "caller.admin"] {
        for more in [&[][..], &["--live"]] {
            let done = ask(&world, &world.unix(name), more);
            assert_eq!(done.code, Some(0), "{done:?}");
        }
    }
    for daemon in daemons {
        assert!(daemon.stop().success());
    }
    let done = ask(&world, &world.unix("callee.admin"), &[]);
    assert_eq!(done.code, Some(1), "{done:?}");
}

#[test]
fn one_that_cannot_be_asked_is_not_ready() {
    let world = World::new();
    let silent = UnixListener::bind(world.path("silent.sock")).unwrap();
    for (at, more, says) in [
        (world.unix("nowhere.sock"), &[][..], "No such file"),
        (
            world.unix("silent.sock"),
            &["--deadline", "100ms"][..],
            "no answer in time",
        ),
        ("tls:localhost:1".to_owned(), &[][..], "without TLS"),
    ] {
        let done = ask(&world, &at, more);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.last_line().contains(says), "{done:?}");
    }
    drop(silent);
}
