//! Files of tail events that real daemons write: rotated, shared, full, and followed by `caller tail`.

mod util;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use tail::Event;
use util::{Daemon, World, caller, request};

/// The file and those that were put aside.
fn family(world: &World) -> Vec<PathBuf> {
    let older = (1..).map(|n| world.path(&format!("tail.jsonl.{n}")));
    let all = std::iter::once(world.path("tail.jsonl")).chain(older);
    all.take_while(|path| path.exists()).collect()
}

/// Every line is an event, no event is there twice, and no invocation has a gap. How many invocations.
#[track_caller]
fn assert_exactly_once(texts: &[String]) -> usize {
    let mut keys = BTreeSet::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let event = Event::from_line(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(keys.insert((event.invocation_id, event.sequence)), "{line}");
    }
    let invocations: BTreeSet<_> = keys.iter().map(|(id, _)| *id).collect();
    for id in &invocations {
        let own = keys.iter().filter(|(own, _)| own == id);
        assert!(
            own.map(|(_, sequence)| *sequence)
                .eq(0..own_count(&keys, *id))
        );
    }
    invocations.len()
}

fn own_count(
    keys: &BTreeSet<(binding_span::InvocationId, u32)>,
    id: binding_span::InvocationId,
) -> u32 {
    keys.iter().filter(|(own, _)| *own == id).count() as u32
}

fn texts(files: &[PathBuf]) -> Vec<String> {
    files.iter().map(|file| util::read(file)).collect()
}

/// Calls of several clients at the same time.
fn load(world: &World, clients: usize, calls: usize) {
    let (address, query) = (world.unix("caller.sock"), request("select a from t"));
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.enable_all().build_local(Default::default());
                runtime.unwrap().block_on(async {
                    let options = js_rpc::ConnectOptions::default();
                    let address = address.parse().unwrap();
                    let connection = js_rpc::Connection::connect(&address, options)
                        .await
                        .unwrap();
                    let db = connection.binding("DB");
                    let query: serde_json::Value = serde_json::from_str(&query).unwrap();
                    for _ in 0..calls {
                        let args = js_rpc::Args::from_json(vec![query.clone()]).unwrap();
                        db.call("query", args).send().await.unwrap();
                    }
                });
            });
        }
    });
}

#[test]
fn under_load_every_event_is_in_one_of_the_rotated_files_once_though_two_daemons_share_them() {
    let world = World::new();
    world.database();
    let options = [
        "--tail",
        "tail.jsonl",
        "--tail-rotate",
        "16KiB",
        "--tail-keep",
        "1000",
    ];
    let callee = world.callee(&options);
    let caller = world.caller(&options);
    let follower = follow(&world, "followed");
    load(&world, 4, 100);
    assert!(caller.stop().success() && callee.stop().success());
    let files = family(&world);
    assert!(files.len() > 20, "{}", files.len());
    let texts = texts(&files);
    assert!(texts.iter().all(|text| text.len() <= 16 * 1024));
    // A call has an invocation at the caller and one at the callee.
    assert_eq!(assert_exactly_once(&texts), 800);

    // Whoever followed the file has seen all of it, in order.
    let all: String = texts.into_iter().rev().collect();
    let end = std::time::Instant::now() + util::LIMIT;
    let mut seen = util::read(&world.path("followed"));
    while seen.len() < all.len() {
        let lengths = (seen.len(), all.len());
        assert!(std::time::Instant::now() < end, "{lengths:?}");
        thread::sleep(std::time::Duration::from_millis(20));
        seen = util::read(&world.path("followed"));
    }
    let differs = seen.lines().zip(all.lines()).find(|(a, b)| a != b);
    assert_eq!(differs, None, "the follower saw something else");
    assert_eq!(seen.len(), all.len());
    drop(follower);
}

/// `caller tail --file` that follows, and writes lines of JSON to a file. It begins with the oldest file,
/// however many were put aside before it came.
fn follow(world: &World, out: &str) -> Daemon {
    let out = File::create(world.path(out)).unwrap();
    let mut command = caller();
    let file = world.text("tail.jsonl");
    command.args(["tail", "--json", "--since", "1h", "--file", &file]);
    Daemon::spawn(command.stdin(Stdio::null()).stdout(out))
}

#[test]
fn a_file_is_shown_to_its_end_or_from_a_time_on_with_the_older_ones() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let caller_daemon = world.caller(&["--tail", "tail.jsonl", "--tail-rotate", "4KiB"]);
    load(&world, 1, 6);
    assert!(caller_daemon.stop().success());
    assert!(family(&world).len() > 1);
    let show = |more: &[&str]| {
        let args = ["tail", "--file", "tail.jsonl", "--no-follow"];
        let done = world.run(caller(), &[&args, more].concat());
        assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
        done.stdout
    };
    let all = show(&["--since", "1h"]);
    assert_eq!(all.matches("● d1.query").count(), 6, "{all}");
    assert!(show(&[]).matches("● d1.query").count() < 6);
    assert_eq!(show(&["--since", "0s"]), "");
    let broken = "{\"half\": \n\nlog line\n";
    std::fs::write(world.path("strange.jsonl"), broken).unwrap();
    let args = ["tail", "--file", "strange.jsonl", "--no-follow"];
    let strange = world.run(caller(), &args);
    let says = "caller: lines that are no tail events were left out: 2\n";
    assert_eq!((strange.code, &*strange.stderr), (Some(0), says));
    let missing = world.run(caller(), &["tail", "--file", "nothing.jsonl"]);
    assert_eq!(missing.code, Some(78), "{missing:?}");
}

#[test]
fn a_disk_that_is_full_costs_lines_and_no_calls_and_leaves_whole_lines() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let listen = world.unix("caller.sock");
    let bind = format!("DB={}", world.unix("callee.sock"));
    // No file may grow beyond 16 blocks: writing fails as on a full disk, in the middle of a line.
    let mut limited = Command::new("bash");
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    limited.args(["-c", script]).arg(caller().get_program());
    let daemon = world.start(
        limited,
        &[
            "serve",
            "--listen",
            &listen,
            "--bind",
            &bind,
            "--tail",
            "tail.jsonl",
            "--tail-rotate",
            "1MiB",
        ],
    );
    let daemon = daemon.ready();
    load(&world, 1, 30);
    let said = {
        let mut daemon = daemon;
        let said = daemon.line("events are lost until it works again");
        assert!(daemon.stop().success());
        said
    };
    assert!(said.contains("tail.jsonl"), "{said}");
    let text = util::read(&world.path("tail.jsonl"));
    assert!(
        text.len() > 12 * 1024 && text.ends_with('\n'),
        "{}",
        text.len()
    );
    assert!(text.lines().all(|line| Event::from_line(line).is_ok()));
}
