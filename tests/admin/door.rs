//! Who may ask.

use std::os::unix::fs::PermissionsExt;

use super::http::At;
use super::util::{self, World};

#[test]
fn it_is_off_unless_asked_for_and_not_for_other_machines() {
    let world = World::new();
    world.database();
    let (listen, db) = (world.unix("callee.sock"), world.db());
    let args = ["--listen", &listen, "--d1", &db, "--admin"];
    for (at, code, says) in [
        ("*:0", 78, "or say --insecure"),
        ("0.0.0.0:0", 78, "or say --insecure"),
        ("[::]:0", 78, "or say --insecure"),
        ("192.0.2.1:1", 78, "or say --insecure"),
        ("tls:127.0.0.1:0", 78, "no certificate to show"),
        ("nowhere", 2, "there is no port"),
        ("unix:no/such/folder.sock", 78, "does not exist"),
    ] {
        let done = world.run(util::callee(), &[&args[..], &[at]].concat());
        assert_eq!(done.code, Some(code), "{at}: {done:?}");
        assert!(done.stderr.contains(says), "{at}: {done:?}");
    }
    assert!(!world.path("callee.sock").exists(), "nothing is left");
    let check = [&args[..], &["*:0", "--check-config"]].concat();
    assert_eq!(world.run(util::callee(), &check).code, Some(78));

    let mut off = world.callee(&[]);
    off.signal(rustix::process::Signal::TERM);
    assert!(!off.rest().contains("admin"));
}

#[test]
fn whoever_says_so_opens_it_to_other_machines_and_then_addresses_are_known() {
    let world = World::new();
    let bind = format!("DB={}", world.unix("callee.sock"));
    let (listen, insecure) = (world.unix("caller.sock"), "--insecure");
    let args = [
        "serve", "--listen", &listen, "--bind", &bind, "--admin", "*:0", insecure,
    ];
    let mut caller = world.start(util::caller(), &args);
    caller.line("INSECURE");
    let At::Tcp(said) = At::said_by(&mut caller) else {
        unreachable!("it is TCP");
    };
    let caller = caller.ready();
    let port = said.rsplit_once(':').unwrap().1;
    let at = At::Tcp(format!("127.0.0.1:{port}"));
    for (host, status) in [
        ("10.1.2.3:9", 200),
        ("localhost", 200),
        ("evil.example", 421),
    ] {
        let answer = at.send(&format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\n"));
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    }
    assert!(caller.stop().success());
}

#[test]
fn a_web_page_reads_nothing() {
    let world = World::new();
    let bind = format!("DB={}", world.unix("callee.sock"));
    let listen = world.unix("caller.sock");
    let args = ["serve", "--listen", &listen, "--bind", &bind];
    let admin = ["--admin", "127.0.0.1:0", "--admin-host", "Caller.internal"];
    let mut caller = world.start(util::caller(), &[&args[..], &admin].concat());
    let at = At::said_by(&mut caller);
    let caller = caller.ready();
    for (headers, status) in [
        ("Host: localhost:1\r\n", 200),
        ("Host: 127.0.0.1\r\n", 200),
        ("Host: caller.internal:9464\r\n", 200),
        ("", 421),
        ("Host: evil.example\r\n", 421),
        ("Host: 10.1.2.3\r\n", 421),
        ("Host: localhost\r\nOrigin: http://localhost\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Host: localhost\r\nSec-Fetch-Site: none\r\n", 403),
    ] {
        for page in ["/metrics", "/livez", "/", "/nothing"] {
            let answer = at.send(&format!("GET {page} HTTP/1.1\r\n{headers}"));
            let status = if status == 200 && page == "/nothing" {
                404
            } else {
                status
            };
            assert_eq!(answer.status, status, "{page} {headers}{answer:?}");
            assert!(!answer.head.contains("access-control"), "{answer:?}");
            let shown = answer.body.contains("binding_span_") || answer.body.contains("/livez");
            assert!(status < 405 && status != 403 || !shown, "{answer:?}");
        }
    }
    assert!(caller.stop().success());
}

#[test]
fn a_socket_is_this_users_alone_whoever_may_call() {
    let world = World::new();
    world.database();
    let group = rustix::process::getegid().as_raw().to_string();
    let callee = world.callee(&["--admin", "unix:admin.sock", "--socket-group", &group]);
    let mode = |name: &str| {
        let meta = std::fs::symlink_metadata(world.path(name)).unwrap();
        meta.permissions().mode() & 0o777
    };
    assert_eq!((mode("admin.sock"), mode("callee.sock")), (0o600, 0o660));
    assert!(callee.stop().success());
    assert!(!world.path("admin.sock").exists());
}
