//! Several addresses of an admin port, of which some show metrics and health alone.

use crate::util::{self, World, caller};

#[test]
fn each_address_answers_and_one_for_metrics_shows_no_calls() {
    let world = World::new();
    world.database();
    let admin = world.unix("admin.sock");
    let mut daemon = world.start(
        util::callee(),
        &[
            "--listen",
            &world.unix("callee.sock"),
            "--d1",
            &world.db(),
            "--admin",
            &admin,
            "--admin",
            "127.0.0.1:0,metrics",
        ],
    );
    let first = daemon.line("admin port at ");
    assert!(
        first.ends_with("GET /metrics, /livez, /readyz, /healthz, /tail"),
        "{first}"
    );
    let second = daemon.line("admin port at 127.0.0.1:");
    assert!(
        second.ends_with("GET /metrics, /livez, /readyz, /healthz"),
        "{second}"
    );
    let daemon = daemon.ready();
    let at = second
        .split(' ')
        .find(|word| word.starts_with("127."))
        .unwrap();
    let at = at.trim_end_matches(':');
    for address in [&*admin, at] {
        let done = world.run(caller(), &["health", "--connect", address]);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let follow = |address: &str| {
        let args = ["tail", "--connect", address, "--since", "1h", "--no-follow"];
        world.run(caller(), &args)
    };
    assert_eq!(follow(&admin).code, Some(0));
    let done = follow(at);
    assert_ne!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("404"), "{done:?}");
    // A variable for a daemon serves the health check of its container as well.
    let mut asked = caller();
    asked.env("BINDING_SPAN_ADMIN", format!("{admin};127.0.0.1:1,metrics"));
    assert_eq!(world.run(asked, &["health"]).code, Some(0));
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.end().success());
    // None is open if one cannot be.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let listen = ["--listen", &world.unix("callee.sock"), "--d1", &world.db()].map(str::to_owned);
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let more = ["--admin", &admin, "--admin", &taken];
    let done = world.run(util::callee(), &[&listen[..], &more].concat());
    assert_eq!(done.code, Some(78), "{done:?}");
    assert!(!world.path("admin.sock").exists());
}
