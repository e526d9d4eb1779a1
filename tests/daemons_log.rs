//! What daemons log: as text and as JSON, and what of a peer's words reaches either.

mod util;

use std::thread::{self, JoinHandle};

use binding_span_schema::tail_stream_capnp::tail_event;
use js_rpc::{Listener, Server, TailReceiver};
use rustix::process::Signal;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;
use util::{Daemon, World, callee, caller};

/// What a terminal would act on, or show as something else.
const HOSTILE: &str = "x\u{1b}[2J\r\n2026 INFO all is well\u{202e}\u{9b}1m";

/// A receiver of tail events that answers with hostile words, on a thread of its own.
fn hostile_receiver(world: &World) -> impl Drop {
    struct Hostile;
    impl TailReceiver for Hostile {
        fn report(
            &self,
            _: capnp::struct_list::Reader<'_, tail_event::Owned>,
        ) -> capnp::Result<bool> {
            Err(capnp::Error::failed(HOSTILE.to_owned()))
        }
    }
    struct Running(Option<oneshot::Sender<()>>, Option<JoinHandle<()>>);
    impl Drop for Running {
        fn drop(&mut self) {
            drop(self.0.take());
            self.1.take().map(JoinHandle::join);
        }
    }
    let address = world.unix("tail.sock").parse().unwrap();
    let ((listens, is_listening), (stop, stopped)) =
        (std::sync::mpsc::channel(), oneshot::channel());
    let thread = thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build_local(Default::default());
        let runtime = runtime.unwrap();
        runtime.block_on(async {
            let listener = Listener::bind(&address).await.unwrap();
            listens.send(()).unwrap();
            let stopped = async { drop(stopped.await) };
            Server::new()
                .tail("t", Hostile)
                .serve([listener], stopped)
                .await;
        });
    });
    is_listening.recv().unwrap();
    Running(Some(stop), Some(thread))
}

/// A caller whose receiver of tail events says hostile things, and the line about it.
fn provoked(world: &World, options: &[&str]) -> (Daemon, String) {
    let _callee = world.callee(&[]);
    let _receiver = hostile_receiver(world);
    let to = format!("{}#t", world.unix("tail.sock"));
    let mut caller = world.caller(&[&["--tail-to", &to], options].concat());
    world
        .query(&world.unix("caller.sock"), "select 1", &[])
        .json();
    let line = caller.line("cannot deliver tail events");
    (caller, line)
}

#[test]
fn words_of_peers_cannot_steer_a_terminal_or_make_lines_of_their_own() {
    for format in ["text", "json"] {
        let world = World::new();
        world.database();
        let (mut caller, line) = provoked(&world, &["--log-format", format]);
        let hidden = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!line.contains(hidden), "{format}: {line:?}");
        assert!(line.contains("all is well"), "{format}: {line:?}");
        caller.signal(Signal::TERM);
        let said = caller.rest();
        let forged = said.lines().any(|line| line.starts_with("2026 INFO"));
        assert!(!forged, "{said}");
    }
}

#[test]
fn json_lines_are_one_object_each_and_those_that_no_filter_hides_are_too() {
    let world = World::new();
    world.database();
    let (mut daemon, line) = provoked(&world, &["--log-format", "json", "--log", "daemons=info"]);
    let line: Json = serde_json::from_str(&line).unwrap();
    assert!(line["error"].as_str().unwrap().contains(HOSTILE), "{line}");
    assert_eq!(line["level"], json!("WARN"));
    daemon.signal(Signal::TERM);
    let said = daemon.rest();
    for line in said.lines() {
        let line: Json = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for key in ["timestamp", "level", "message", "target"] {
            assert!(line[key].is_string(), "{key} of {line}");
        }
    }
    let ready = said.lines().find(|line| line.contains("listening on"));
    let ready: Json = serde_json::from_str(ready.unwrap()).unwrap();
    assert_eq!(ready["target"], json!("caller"));
    let told = ready["message"].as_str().unwrap();
    assert!(told.starts_with("listening on unix:"), "{told}");

    // Also the last word of one that cannot start.
    let args = ["--listen", "unix:/nowhere/x.sock", "--d1", &world.db()];
    let done = world.run(callee(), &[&args[..], &["--log-format", "json"]].concat());
    assert_eq!(done.code, Some(78));
    let last: Json = serde_json::from_str(done.last_line()).unwrap();
    let told = last["message"].as_str().unwrap();
    assert!(told.starts_with("cannot listen on unix:/nowhere"), "{told}");
    assert_eq!(last["level"], json!("ERROR"));
}

#[test]
fn both_programs_take_the_format_from_the_environment_and_a_filter_that_is_wrong_is_said() {
    let world = World::new();
    world.database();
    let (listen, bind) = (
        world.unix("caller.sock"),
        format!("DB={}", world.unix("no.sock")),
    );
    let serve = ["serve", "--listen", &listen, "--bind", &bind];
    let mut program = caller();
    program.env("BINDING_SPAN_LOG_FORMAT", "json");
    let mut daemon = world.start(program, &serve).ready();
    daemon.signal(Signal::TERM);
    let said = daemon.rest();
    let parsed: Vec<Json> = said
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(parsed.len() >= 2, "{said}");

    let listen = world.unix("callee.sock");
    let serve_callee = ["--listen", &listen, "--d1", &world.db()];
    for (program, args) in [(caller(), &serve[..]), (callee(), &serve_callee[..])] {
        let done = world.run(program, &[args, &["--log", "warn,js_rpc=loud"]].concat());
        assert_eq!(done.code, Some(78), "{done:?}");
        assert!(
            done.last_line().contains("--log \"warn,js_rpc=loud\": "),
            "{done:?}"
        );
        assert!(
            done.last_line().contains("for instance warn,js_rpc=debug"),
            "{done:?}"
        );
    }
}
