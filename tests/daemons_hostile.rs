//! Values and enrichment that no honest peer sends, between the real programs: from a callee, through
//! `caller serve`, to `caller call`; and from a caller, through `caller serve`, to `callee`. Whoever reads
//! them says in one line what is wrong, and everybody lives on.

#[allow(dead_code, reason = "a part of it is used here")]
#[path = "../crates/js-rpc/tests/common/relay.rs"]
mod relay;
mod util;
#[allow(dead_code, reason = "a part of it is used here")]
#[path = "../crates/js-rpc/tests/common/words.rs"]
mod words;

use std::time::Duration;

use binding_span_schema::js_rpc_capnp::{js_rpc_target, workerd_debug_port};
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use serde_json::json;
use tokio::net::UnixStream;
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use util::{Daemon, LIMIT, World};
use words::{WIRES, Wire, Words, answer_with};

/// What a reader may hold of a value of at most 1 MiB that claims to be more.
const SPARE: u64 = 32 << 20;

/// Behind the version, values as V8 would not write them.
fn values() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |part: &[u8]| part.repeat(200_000);
    vec![
        ("nothing", vec![]),
        ("arrays in arrays", nested(b"A\x01")),
        ("objects in objects", nested(b"o\"\x01a")),
        ("maps in maps", nested(b";I\x02")),
        ("an array of 2^32", b"A\xff\xff\xff\xff\x0f".to_vec()),
        (
            "many holes",
            [b"A\x80\x80\x20".as_slice(), &b"-".repeat(1 << 19)].concat(),
        ),
        ("a text of 2^31", b"\"\xff\xff\xff\xff\x07abc".to_vec()),
        ("half a character", b"c\x03abc".to_vec()),
        (
            "a number of 2^30 digits",
            b"Z\xff\xff\xff\xff\x07\x01".to_vec(),
        ),
        ("an object that is not there", b"^\x07".to_vec()),
        (
            "bytes beyond their buffer",
            b"B\x02abVB\x00\xff\x01\x00".to_vec(),
        ),
        ("an object that does not end", b"o\"\x01aI\x02".to_vec()),
        ("a tag that is none", b"\xfe\xfe".to_vec()),
        ("a thing of its host's", b"\\\x01\x02\x03".to_vec()),
    ]
}

fn serialized(value: &[u8]) -> Vec<u8> {
    [b"\xff\x0f", value].concat()
}

/// Bytes of a process in memory, at most so far, as the kernel counts them: not to the page, and a later
/// figure may be a little smaller.
fn peak(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[test]
fn a_result_that_is_no_value_is_said_to_be_none_directly_and_through_a_sidecar() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let cases = values().into_iter();
    for ((name, value), wire) in cases.flat_map(|case| WIRES.map(|wire| (case.clone(), wire))) {
        let mut reply = Words::results(4);
        reply.set_value(&serialized(&value));
        let hostile = answer_with(reply, wire, &folder).to_string();
        let listen = world.unix("caller.sock");
        let bind = format!("DB={hostile}");
        let args = ["serve", "--listen", &listen, "--bind", &bind];
        let caller = world.start(util::caller(), &args).ready();
        let before = peak(&caller);
        for at in [&hostile, &listen] {
            let done = world.call(at, &["--no-tree", "--deadline", "40s", "DB.run"]);
            assert_eq!(
                (done.code, &*done.stdout),
                (Some(1), ""),
                "{name}: {done:?}"
            );
            assert!(
                done.stderr.contains("cannot read the result"),
                "{name}: {done:?}"
            );
            assert_eq!(done.stderr.lines().count(), 1, "{name}: {done:?}");
        }
        assert!(peak(&caller).saturating_sub(before) < SPARE, "{name}");
        assert!(caller.stop().success(), "{name}");
        std::fs::remove_file(folder.path().join("words")).unwrap();
    }
}

#[test]
fn names_and_keys_that_would_steer_a_terminal_are_shown_escaped_behind_a_sidecar_too() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let evil = "\u{1b}]0;x\u{7}\u{1b}[2J\r\n\u{202e}\u{9b}31m".as_bytes();
    let mut reply = Words::with_attributes(&[(evil, &[(2, 1)]), (b"plain", &[(2, 7)])]);
    let name = reply.text(evil);
    let at = (reply.0[Words::ENRICHMENT] >> 2 & 0x3fff_ffff) as usize + Words::ENRICHMENT + 1;
    reply.point_text(at, name);
    let hostile = answer_with(reply, Wire::OneMessage, &folder).to_string();
    let listen = world.unix("caller.sock");
    let bind = format!("DB={hostile}");
    let args = [
        "serve",
        "--listen",
        &listen,
        "--bind",
        &bind,
        "--tail",
        "tail.jsonl",
    ];
    let caller = world.start(util::caller(), &args).ready();
    for at in [&hostile, &listen] {
        let done = world.call(at, &["--verbose", "DB.run"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stderr.contains("plain"), "{done:?}");
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!done.stderr.contains(acts), "{done:?}");
    }
    assert!(caller.stop().success());
    let tail = util::read(&world.path("tail.jsonl"));
    assert!(
        !tail.contains(|c: char| c.is_control() && c != '\n'),
        "{tail}"
    );
}

/// Calls `DB.query` with bytes in place of its arguments; what is thrown.
async fn thrown(path: &std::path::Path, arguments: &[u8]) -> String {
    let stream = UnixStream::connect(path).await.unwrap();
    let (read, write) = stream.into_split();
    let (read, write) = (
        tokio::io::BufReader::new(read).compat(),
        write.compat_write(),
    );
    let network = twoparty::VatNetwork::new(read, write, Side::Client, ReaderOptions::new());
    let mut system = RpcSystem::new(Box::new(network), None);
    let port: workerd_debug_port::Client = system.bootstrap(Side::Server);
    let running = tokio::task::spawn_local(system);
    let mut entrypoint = port.get_entrypoint_request();
    entrypoint.get().set_service("DB");
    let entrypoint = entrypoint.send().pipeline.get_entrypoint();
    let event = entrypoint.start_event_request().send();
    let session = event
        .pipeline
        .get_dispatcher()
        .js_rpc_session_request()
        .send();
    let target: js_rpc_target::Client = session.pipeline.get_top_level();
    let mut call = target.call_request();
    let mut params = call.get();
    params.set_method_name("query");
    let args = params.init_operation().init_call_with_args();
    args.init_v8_serialized(arguments.len() as u32)
        .copy_from_slice(arguments);
    let outcome = tokio::time::timeout(LIMIT, call.send().promise).await;
    running.abort();
    match outcome.expect("an answer in time") {
        Ok(_) => panic!("it was answered"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn arguments_that_are_no_values_are_refused_by_the_callee_and_cost_neither_daemon_anything() {
    let world = World::new();
    world.database();
    let callee = world.callee(&[]);
    let caller = world.caller(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let before = [&callee, &caller].map(peak);
    for socket in ["callee.sock", "caller.sock"] {
        for (name, value) in values() {
            let said = runtime.block_on(thrown(&world.path(socket), &serialized(&value)));
            assert!(
                said.contains("arguments that cannot be read"),
                "{socket}: {name}: {said}"
            );
        }
        let done = world.query(&world.unix(socket), "select 1", &[]);
        assert_eq!(done.rows(), json!([[1]]));
    }
    // What ended its connections is not in the way of an end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    for (daemon, before) in [&callee, &caller].into_iter().zip(before) {
        let more = peak(daemon).saturating_sub(before);
        assert!(more < SPARE, "{more} bytes");
    }
    assert!(caller.stop().success());
    assert!(callee.stop().success());
}
