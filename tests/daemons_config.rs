//! What the daemons are told by options and variables, and what of it they cannot use.

mod util;

use std::net::TcpListener;

use serde_json::json;
use util::{World, caller, request};

#[test]
fn what_a_daemon_cannot_use_is_said_in_one_line() {
    let world = World::new();
    world.database();
    std::fs::write(
        world.path("text"),
        "this is no database, whatever its name says",
    )
    .unwrap();
    std::fs::write(world.path("file"), "").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let (at, db) = (world.unix("a.sock"), world.db());
    let _port = TcpListener::bind(&taken);
    let (in_use, is_file) = (taken.as_str(), world.unix("file"));
    let no_folder = world.unix("nowhere/a.sock");
    let cases: [(&[&str], i32, &str); 14] = [
        (
            &["--listen", &at, "--d1", "DB=nowhere.sqlite"],
            78,
            "nowhere.sqlite",
        ),
        (
            &[
                "--listen",
                &at,
                "--d1",
                "DB=nowhere/x.sqlite",
                "--d1-create",
            ],
            78,
            "mkdir -p nowhere",
        ),
        (
            &["--listen", &at, "--d1", "DB=text"],
            78,
            "text is not a SQLite database",
        ),
        (&["--listen", &at, "--d1", "DB=."], 78, "is not a file"),
        (
            &["--listen", in_use, "--d1", &db],
            78,
            "choose another port",
        ),
        (
            &["--listen", &is_file, "--d1", &db],
            78,
            "not a socket; choose another path",
        ),
        (
            &["--listen", &no_folder, "--d1", &db],
            78,
            "the directory does not exist",
        ),
        (
            &["--listen", "*:0", "--d1", &db],
            78,
            "refusing to listen on 0.0.0.0:0",
        ),
        (
            &["--listen", "[::]:0", "--d1", &db],
            78,
            "or say --insecure",
        ),
        (
            &["--listen", "127.0.0.1:0,binding=X", "--d1", &db],
            78,
            "there is: DB",
        ),
        (
            &["--listen", &at, "--d1", &db, "--tail", "nowhere/t.jsonl"],
            78,
            "nowhere/t.jsonl",
        ),
        (
            &["--listen", &at, "--d1", &db, "--d1", &db],
            2,
            "\"DB\" twice",
        ),
        (&["--listen", &at, "--d1", "shop.sqlite"], 2, "NAME=PATH"),
        (
            &["--listen", "localhost:http", "--d1", &db],
            2,
            "not a number",
        ),
    ];
    for (args, code, says) in cases {
        let done = world.run(util::callee(), args);
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
        assert!(done.stderr.contains(says), "{args:?}: {}", done.stderr);
        if code == 78 {
            assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
            assert!(done.stderr.starts_with("callee: "), "{}", done.stderr);
        }
    }
    assert!(!world.path("a.sock").exists(), "nothing is left of them");

    let bind = format!("DB={}", world.unix("callee.sock"));
    let cases: [(&[&str], i32, &str); 5] = [
        (
            &["--listen", "*:0", "--bind", &bind],
            78,
            "or say --insecure",
        ),
        (&["--listen", &at, "--bind", "DB"], 2, "NAME=ADDR"),
        (
            &["--listen", &at, "--bind", &format!("{bind}#")],
            2,
            "behind # there is no name",
        ),
        (
            &["--listen", &at, "--bind", &bind, "--bind", &bind],
            2,
            "\"DB\" twice, and a binding has one address; give each its own name, or",
        ),
        (
            &["--listen", &at, "--bind", &bind, "--rename", "a,,b"],
            2,
            "an empty pattern",
        ),
    ];
    for (args, code, says) in cases {
        let done = world.run(caller(), &[&["serve"], args].concat());
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
        assert!(done.stderr.contains(says), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn insecure_is_said_by_option_or_by_variable() {
    let world = World::new();
    world.database();
    let db = world.db();
    let args = ["--listen", "0.0.0.0:0", "--d1", &db];
    let daemon = world
        .start(util::callee(), &[&args[..], &["--insecure"]].concat())
        .ready();
    assert!(daemon.stop().success());
    let mut by_variable = util::callee();
    by_variable.env("BINDING_SPAN_INSECURE", "1");
    assert!(world.start(by_variable, &args).ready().stop().success());
    let mut not = util::callee();
    not.env("BINDING_SPAN_INSECURE", "0");
    assert_eq!(world.run(not, &args).code, Some(78));
}

#[test]
fn variables_stand_for_options() {
    let world = World::new();
    world.database();
    let listen = format!("{};127.0.0.1:0", world.unix("callee.sock"));
    let mut program = util::callee();
    program
        .env("BINDING_SPAN_LISTEN", listen)
        .env("BINDING_SPAN_D1", world.db());
    let mut callee = world.start(program, &[]).ready();
    callee.line("listening on 127.0.0.1:");
    let mut program = caller();
    program.env("BINDING_SPAN_CONNECT", world.unix("callee.sock"));
    let done = world.run(program, &["call", "DB.query", &request("select 1")]);
    assert_eq!(done.rows(), json!([[1]]));
}

#[test]
fn the_log_is_as_loud_as_rust_log_says() {
    let cases = [
        (None, true, false),
        (Some(""), true, false),
        (Some("warn"), false, false),
        (Some("warn,daemons=info"), true, false),
        (Some("daemons=shouting"), true, true),
    ];
    let world = World::new();
    world.database();
    for (value, told, warned) in cases {
        let mut program = util::callee();
        if let Some(value) = value {
            program.env("RUST_LOG", value);
        }
        let (at, db) = (world.unix("callee.sock"), world.db());
        let mut callee = world
            .start(program, &["--listen", &at, "--d1", &db])
            .ready();
        callee.signal(rustix::process::Signal::TERM);
        let said = callee.rest();
        assert_eq!(
            said.contains("finishing the calls"),
            told,
            "{value:?}: {said}"
        );
        assert_eq!(
            said.contains("RUST_LOG cannot be read"),
            warned,
            "{value:?}: {said}"
        );
        assert!(callee.end().success());
    }
}
