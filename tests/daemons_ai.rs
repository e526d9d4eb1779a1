//! A callee's AI bindings: what is found on this machine, what is counted, and what an open circuit breaker changes.

mod util;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use util::{World, callee, caller, metrics};

/// Where servers of models usually are.
const USUAL: [(u16, &str); 5] = [
    (11434, "Ollama"),
    (1234, "LM Studio"),
    (8080, "llama.cpp"),
    (8000, "vLLM"),
    (4000, "LiteLLM"),
];

#[test]
fn a_server_on_this_machine_is_found_and_said_and_that_there_is_none() {
    let world = World::new();
    let args = ["--listen", "unix:callee.sock", "--ai", "AI"];
    // Whatever runs on the machine of a test.
    let there = |(port, _): &(u16, &str)| TcpStream::connect(("127.0.0.1", *port)).is_ok();
    if !USUAL.iter().any(there) {
        let done = world.run(callee(), &args);
        assert_eq!(done.code, Some(69), "{done:?}");
        let says = "(Ollama, LM Studio, llama.cpp, vLLM, LiteLLM); start one, or say where it is: --ai AI=URL";
        assert!(done.stderr.contains(says), "{done:?}");
    }
    let free = |(port, what)| Some((TcpListener::bind(("127.0.0.1", port)).ok()?, port, what));
    let Some((listener, port, what)) = USUAL.into_iter().find_map(free) else {
        return;
    };
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), [0; 1024]);
            let _ = stream.read(&mut head);
            let body = r#"{"object":"list","data":[{"id":"one","object":"model"},{"id":"two","object":"model"}]}"#;
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                 connection: close\r\n\r\n{body}"
            );
        }
    });
    let mut daemon = world.start(callee(), &args);
    let url = format!("http://127.0.0.1:{port}/v1");
    daemon.line(&format!(
        "AI: found {what} at {url}, with 2 models: one, two"
    ));
    let ready = daemon.line("listening on");
    assert!(
        ready.contains("serving AI (") && ready.contains(&url),
        "{ready}"
    );
    assert!(daemon.stop().success());
}

#[test]
fn requests_are_counted_and_a_provider_that_is_left_alone_is_named() {
    let world = World::new();
    let text = "listen = 'unix:callee.sock'\nadmin = 'unix:admin.sock'\n[ai.AI]\nbuiltin = true\n\
                [ai.BAD]\nurl = 'http://127.0.0.1:1/v1'\nbreak-after = 1\n";
    std::fs::write(world.path("callee.toml"), text).unwrap();
    let daemon = world.start(callee(), &["--config", "callee.toml"]).ready();
    let at = world.unix("callee.sock");
    let inputs = r#"{"prompt":"one two three"}"#;
    world.call(&at, &["AI.run", "\"words\"", inputs]).json();
    let failed = world.call(&at, &["BAD.run", "\"words\"", inputs]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let text = metrics(&world, "admin.sock");
    for line in [
        "binding_span_ai_requests_total{binding=\"AI\",provider=\"builtin\",operation=\"chat\",outcome=\"ok\"} 1",
        "binding_span_ai_requests_total{binding=\"BAD\",provider=\"default\",operation=\"chat\",outcome=\"upstream_connect\"} 1",
        "binding_span_ai_tokens_total{binding=\"AI\",provider=\"builtin\",model=\"words\",type=\"input\"} 3",
        "binding_span_ai_circuit_open{binding=\"AI\",provider=\"builtin\"} 0",
        "binding_span_ai_circuit_open{binding=\"BAD\",provider=\"default\"} 1",
        "binding_span_ai_requests_in_flight{binding=\"AI\",provider=\"builtin\"} 0",
        "binding_span_ai_log_lost_entries_total{binding=\"AI\"} 0",
    ] {
        assert!(text.lines().any(|said| said == line), "{line}\n{text}");
    }
    // It is named, and makes nothing unready.
    let health = world.run(
        caller(),
        &["health", "--connect", &world.unix("admin.sock")],
    );
    assert_eq!(health.code, Some(0), "{health:?}");
    let says = "BAD: the circuit breaker of the provider default is open: it failed several times in a row";
    assert!(health.stdout.contains(says), "{health:?}");
    assert!(daemon.stop().success());
}
