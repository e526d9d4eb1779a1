//! `caller demo`: what a stranger sees, and that nothing of it is left.

mod util;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use util::World;

/// The demo, with its folder in the world's.
fn demo(world: &World) -> Command {
    let mut command = util::caller();
    command.arg("demo").env("TMPDIR", world.path(""));
    command
}

#[test]
fn the_demo_shows_old_and_new_names_tags_and_both_processes_within_a_screenful_or_three() {
    let world = World::new();
    let done = util::finish(&mut demo(&world), None);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    for part in [
        "a callee names and tags its caller's span",
        "1 a select",
        "2 a write",
        "3 a batch",
        "4 a failure",
        "5 a stream",
        "6 a gateway",
        "7 a burst",
        "● jsRpcSession → d1.query",
        "● jsRpcSession → d1.batch",
        "● jsRpcSession → \"chat word-counter\"",
        "gen_ai.response.time_to_first_chunk",
        "● jsRpcSession → ai_gateway.open",
        "● jsRpcCall → ai_gateway.run",
        "ai_gateway.cache               = \"hit\"",
        "db.response.returned_rows              = 3",
        "cloudflare.d1.response.changed_db      = false",
        "✗ SQLITE_CONSTRAINT_CHECK: CHECK constraint failed",
        "gen_ai.usage.output_tokens          = 12",
        "╰─● DB.query",
        "sqlite.transaction",
        "[callee]",
        "bspan call --connect",
    ] {
        assert!(
            done.stdout.contains(part),
            "no {part:?} in:\n{}",
            done.stdout
        );
    }
    assert!(
        done.stdout.lines().count() <= 140,
        "{}",
        done.stdout.lines().count()
    );
    assert!(!done.stdout.contains("unfinished"), "{}", done.stdout);
    assert_eq!(world.files(), [""; 0]);
}

/// Starts the demo; it and its second process are up when this returns.
fn start(world: &World) -> (Child, Pid) {
    use std::io::{BufRead, BufReader};
    let mut child = demo(world)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    // "  callee   process 4711, behind ..."
    let line = lines
        .find(|line| line.as_ref().unwrap().starts_with("  callee"))
        .unwrap()
        .unwrap();
    let id = line
        .split([' ', ','])
        .find_map(|word| word.parse().ok())
        .unwrap();
    (child, Pid::from_raw(id).unwrap())
}

/// Whether a process of that id runs, which is not one that ended and waits to be asked for.
fn runs(id: Pid) -> bool {
    let stat = Path::new("/proc")
        .join(id.as_raw_nonzero().to_string())
        .join("stat");
    let stat = util::read(&stat);
    stat.rsplit(") ")
        .next()
        .is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        let world = World::new();
        let (mut child, callee) = start(&world);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let code = child.wait().unwrap().code();
        // It may have been faster than the signal.
        assert!([Some(128 + number), Some(0)].contains(&code), "{code:?}");
        assert!(!runs(callee));
        assert_eq!(world.files(), [""; 0], "{signal:?}");
    }
}

#[test]
fn a_demo_whose_callee_dies_says_so_and_leaves_nothing_behind() {
    let world = World::new();
    let (mut child, callee) = start(&world);
    let killed = kill_process(callee, Signal::KILL).is_ok();
    let code = child.wait().unwrap().code();
    if killed {
        assert!([Some(69), Some(1), Some(0)].contains(&code), "{code:?}");
    }
    assert_eq!(world.files(), [""; 0]);
}

#[test]
fn the_callee_of_a_demo_that_was_killed_ends_and_takes_its_files_along() {
    let world = World::new();
    let (mut child, callee) = start(&world);
    child.kill().unwrap();
    child.wait().unwrap();
    let until = std::time::Instant::now() + util::LIMIT;
    while runs(callee) {
        assert!(std::time::Instant::now() < until, "it still runs");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(world.files(), [""; 0]);
}
