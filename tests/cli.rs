//! `caller call` as scripts see it: its result, its exit codes, and what it says when something is wrong.

mod http;
mod util;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;

use js_rpc::{Args, Context, JsError, Listener, Server, Service, ServiceResult, Stub, reply};
use serde_json::json;
use util::{World, callee, caller, finish, request};

#[test]
fn stdout_is_the_result_as_one_line_of_json_and_nothing_else() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let at = world.unix("callee.sock");
    for more in [
        &[][..],
        &["--no-tree"],
        &["--verbose"],
        &["--tail", "tail.jsonl"],
    ] {
        let sql = "select 'a', 1.5, null, x'00ff'";
        let done = world.query(&at, sql, more);
        assert_eq!(done.rows(), json!([["a", 1.5, null, [0, 255]]]), "{more:?}");
        let quiet = more.contains(&"--no-tree");
        assert_eq!(done.stderr.is_empty(), quiet, "{more:?}: {}", done.stderr);
        assert!(
            !done.stderr.contains('\u{1b}'),
            "no colours where no terminal is"
        );
    }
}

#[test]
fn an_argument_may_come_from_a_file_or_from_stdin() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let at = world.unix("callee.sock");
    std::fs::write(world.path("request.json"), request("select 7")).unwrap();
    assert_eq!(
        world.call(&at, &["DB.query", "@request.json"]).rows(),
        json!([[7]])
    );
    let mut command = caller();
    command.args(["call", "--connect", &at, "DB.query", "@-"]);
    assert_eq!(
        finish(&mut command, Some(&request("select 8"))).rows(),
        json!([[8]])
    );
}

#[test]
fn what_the_callee_throws_is_printed_as_javascript_prints_it() {
    let world = World::new();
    world.database();
    let (_callee, _caller) = (world.callee(&[]), world.caller(&[]));
    let cases: [(&[&str], &str); 5] = [
        (
            &["DB.nope"],
            "TypeError: The RPC receiver does not implement the method \"nope\".",
        ),
        (
            &["DB.a.b.c"],
            "TypeError: The RPC receiver does not implement the method \"a.b.c\".",
        ),
        (
            &["--get", "DB.x"],
            "TypeError: The RPC receiver does not implement the property \"x\".",
        ),
        (
            &["DB.query", "7"],
            "TypeError: query: the argument must be an object, not number",
        ),
        (
            &["X.query"],
            "the callee refused the call: there is no binding \"X\" here; there is: DB",
        ),
    ];
    for socket in ["callee.sock", "caller.sock"] {
        for (args, says) in cases {
            let done = world.call(&world.unix(socket), args);
            assert_eq!(
                (done.code, done.stdout.as_str()),
                (Some(1), ""),
                "{args:?}: {done:?}"
            );
            assert!(
                done.last_line().starts_with(says),
                "{socket} {args:?}: {done:?}"
            );
        }
    }
}

/// A service that answers with what D1 never does.
struct Odd;

#[js_rpc::async_trait(?Send)]
impl Service for Odd {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "open" => reply(&("here", Stub::new(Odd))),
            "a.b.count" => reply(&args.values.len()),
            "nothing" => js_rpc::nothing(),
            "echo" => Ok(args.values.into_iter().next().unwrap_or_default().into()),
            "controls" => reply("\u{9b}31m"),
            _ => Err(JsError::range_error("two\nlines \u{1b}[31m")),
        }
    }

    async fn get(&self, property: &str, _cx: &Context) -> ServiceResult {
        reply(&format!("the {property}"))
    }
}

/// Serves it until the process of the tests ends.
fn odd(world: &World) -> String {
    let address = world.unix("odd.sock");
    let at = address.parse().unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        runtime.unwrap().block_on(async {
            let listener = Listener::bind(&at).await.unwrap();
            ready.send(()).unwrap();
            let server = Server::new().service("ODD", Odd).service("ODD#Entry", Odd);
            server.serve([listener], std::future::pending()).await;
        });
    });
    is_ready.recv_timeout(util::LIMIT).unwrap();
    address
}

#[test]
fn what_json_lacks_is_printed_as_the_help_says() {
    let world = World::new();
    let at = odd(&world);
    let cases: [(&[&str], &str); 7] = [
        (&["ODD.open"], r#"["here",{"$stub":0}]"#),
        (&["ODD#Entry.open"], r#"["here",{"$stub":0}]"#),
        (&["ODD.nothing"], r#"{"$undefined":true}"#),
        (&["ODD.a.b.count", "-1", "null", "[]"], "3"),
        (&["ODD.controls"], r#""\u009b31m""#),
        (&["--get", "ODD.x"], r#""the x""#),
        (&["--get", "ODD.x.y"], r#""the x.y""#),
    ];
    for (args, printed) in cases {
        let done = world.call(&at, &[args, &["--no-tree"]].concat());
        assert_eq!(
            (done.stdout.trim_end(), done.code),
            (printed, Some(0)),
            "{done:?}"
        );
        assert_eq!(done.stderr, "", "{args:?}");
    }
    let done = world.call(&at, &["ODD.throw", "--no-tree"]);
    assert_eq!((done.stdout.as_str(), done.code), ("", Some(1)));
    assert_eq!(done.stderr, "RangeError: two\\nlines \\u{1b}[31m\n");
}

#[test]
fn a_wrong_command_line_is_said_to_be_wrong_with_its_place() {
    let world = World::new();
    let at = world.unix("callee.sock");
    let cases: [(&[&str], &str); 11] = [
        (
            &["DB.query", "{\"a\":}"],
            "argument 1 is not JSON: expected value at line 1 column 6",
        ),
        (
            &["DB.query", "1", "Ada"],
            "argument 2 is not JSON: expected value at line 1 column 1; for a string",
        ),
        (
            &["DB.query", "@nowhere.json"],
            "argument 1 cannot be read: @nowhere.json: No such file",
        ),
        (&["DB"], "write BINDING.METHOD"),
        (&[], "<BINDING.METHOD>"),
        (
            &["DB.query", "--deadline", "5"],
            "write a time such as 500ms, 5s or 2m",
        ),
        (
            &["DB.query", "--deadline", "0s"],
            "nothing is done in no time",
        ),
        (&["DB.query", "--traceparent", "x"], "not a W3C traceparent"),
        (&["DB.query", "--tail", ""], "--tail"),
        (&["--get", "DB.x", "1"], "cannot be used with"),
        (&["DB.query", "--nonsense"], "unexpected argument"),
    ];
    for (args, says) in cases {
        let done = world.call(&at, args);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(2), ""),
            "{args:?}: {done:?}"
        );
        assert!(done.stderr.contains(says), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn what_cannot_be_reached_is_said_in_one_line() {
    let world = World::new();
    let long = format!("unix:/{}", "x".repeat(120));
    // Where nobody listens; a port that was free a moment ago may be another's by now.
    let closed = "127.0.0.1:1".to_owned();
    std::fs::write(world.path("file"), "").unwrap();
    let cases = [
        (
            world.unix("nothing.sock"),
            69,
            "there is no socket; is the callee running?",
        ),
        (world.unix("file"), 69, "cannot connect to unix:"),
        (closed, 69, "is the callee running there?"),
        (long, 2, "longer than the 107 bytes"),
        ("nowhere".into(), 2, "there is no port"),
        ("unix:".into(), 2, "there is no path"),
    ];
    for (address, code, says) in cases {
        let done = world.call(&address, &["DB.query"]);
        assert_eq!(done.code, Some(code), "{address}: {done:?}");
        assert!(done.stderr.contains(says), "{address}: {}", done.stderr);
        if code == 69 {
            assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        }
    }
}

/// Accepts connections and treats each like this, on a thread of its own.
fn stranger(treat: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().flatten().for_each(treat));
    address
}

#[test]
fn a_peer_that_speaks_something_else_costs_one_line() {
    let says = |answer: &'static [u8]| {
        stranger(move |mut peer| {
            let _ = peer.read(&mut [0; 64]);
            let _ = peer.write_all(answer);
        })
    };
    let http = says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let noise = says(&[0xa5; 4096]);
    let gone = stranger(drop);
    let world = World::new();
    for address in [&http, &noise, &gone] {
        for opening in [&[][..], &["--connect-name", "DB"]] {
            let done = world.call(
                address,
                &[&["DB.query", "--deadline", "20s", "--no-tree"], opening].concat(),
            );
            assert_eq!(done.code, Some(69), "{opening:?}: {done:?}");
            assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        }
    }
}

#[test]
fn nothing_waits_longer_than_its_deadline() {
    let silent = stranger(|peer| {
        thread::spawn(move || std::io::copy(&mut &peer, &mut std::io::sink()));
    });
    let world = World::new();
    let database = world.database();
    let _callee = world.callee(&[]);
    let callee = world.unix("callee.sock");
    // The call would wait for this lock.
    database.execute_batch("begin immediate").unwrap();
    for (address, opening) in [(&callee, &[][..]), (&silent, &[])] {
        let args = [&["--deadline", "300ms", "--no-tree"], opening].concat();
        let done = world.query(address, "insert into t values (4)", &args);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(124), ""),
            "{done:?}"
        );
        assert_eq!(
            done.stderr,
            "caller: deadline of 300ms passed without an answer\n"
        );
    }
    // Connecting is part of the call: an opening that is not answered counts against its deadline.
    let done = world.query(
        &silent,
        "select 1",
        &["--deadline", "300ms", "--connect-name", "DB"],
    );
    assert_eq!(done.code, Some(124), "{done:?}");
    assert!(
        done.last_line().contains("deadline of 300ms passed"),
        "{done:?}"
    );
}

#[test]
fn a_result_that_cannot_be_written_is_no_success_and_a_reader_that_left_is_no_failure() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let args = [
        "call",
        "--connect",
        &world.unix("callee.sock"),
        "DB.query",
        &request("select 1"),
    ];

    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = caller()
        .args(args)
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(74));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("caller: cannot write the result: No space left"),
        "{stderr}"
    );

    // Both streams lead to readers that left.
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let status = caller()
        .args(args)
        .stdout(gone())
        .stderr(gone())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let status = caller()
        .args(["demo"])
        .stdout(gone())
        .stderr(gone())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_is_empty_in_the_environment_is_as_if_it_were_not_there() {
    let world = World::new();
    world.database();
    let mut daemon = callee();
    for name in [
        "TRACEPARENT",
        "RUST_LOG",
        "OTEL_TRACES_SAMPLER",
        "NOTIFY_SOCKET",
    ] {
        daemon.env(name, "");
    }
    // Of every kind of setting: a list, a number, a time, a size, a word, a path.
    let ours = [
        "CONFIG",
        "D1",
        "D1_CREATE",
        "CONNECTIONS",
        "DRAIN",
        "TAIL",
        "TAIL_ROTATE",
        "LOG_FORMAT",
        "ADMIN",
        "TLS_CERT",
        "TLS_CLIENT_PIN",
        "ALLOW_UID",
        "LIMIT_QUEUED",
        "OTLP",
        "OTLP_PROTOCOL",
        "INSECURE",
    ];
    for name in ours {
        daemon.env(format!("BINDING_SPAN_{name}"), "");
    }
    let (listen, db) = (world.unix("callee.sock"), world.db());
    let daemon = world
        .start(daemon, &["--listen", &listen, "--d1", &db])
        .ready();
    let mut call = caller();
    for name in [
        "TRACEPARENT",
        "RUST_LOG",
        "COLUMNS",
        "BINDING_SPAN_DEADLINE",
        "BINDING_SPAN_TAIL",
    ] {
        call.env(name, "");
    }
    let request = request("select 1");
    let args = [
        "call",
        "--no-tree",
        "--connect",
        &listen,
        "DB.query",
        &request,
    ];
    let done = world.run(call, &args);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(daemon.stop().success());
}

#[test]
fn a_text_that_was_cut_within_a_character_arrives_as_it_is() {
    let world = World::new();
    let at = odd(&world);
    let cut = r#"{"a":["cut \ud83d","\ud83d\ude00"]}"#;
    let printed = "{\"a\":[{\"$text\":[99,117,116,32,55357]},\"\u{1f600}\"]}";
    std::fs::write(world.path("bom.json"), format!("\u{feff}{cut}")).unwrap();
    for argument in [cut, "@bom.json"] {
        let done = world.call(&at, &["ODD.echo", argument, "--no-tree"]);
        assert_eq!(done.stdout.trim_end(), printed, "{done:?}");
    }
    let bind = format!("ODD={at}");
    let http = world.unix("http.sock");
    let args = ["serve", "--http", &http, "--bind", &bind];
    let _caller = world.start(caller(), &args).ready();
    let mut http = http::Http::unix(&world.path("http.sock"));
    for bom in ["", "\u{feff}"] {
        let answer = http.post("/v1/call/ODD/echo", "", &format!("{bom}[{cut}]"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let printed: serde_json::Value = serde_json::from_str(printed).unwrap();
        assert_eq!(answer.body, printed);
    }
    let answer = http.post("/v1/call/ODD/echo", "", "[\"\\ud83d\", x]");
    assert_eq!(answer.status, 400);
    let text = answer.body.to_string();
    assert!(text.contains("line 1 column 12"), "{text}");
}
