//! The files that the daemons make: whose they are, and what is said where none can be made.

mod util;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::geteuid;
use serde_json::json;
use util::{World, callee, request};

fn mode(world: &World, name: &str) -> u32 {
    fs::metadata(world.path(name)).expect(name).mode() & 0o7777
}

/// The program, as a shell with the usual umask starts it.
fn with_usual_umask(world: &World, args: &[&str]) -> util::Daemon {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 022; exec \"$0\" \"$@\""]);
    shell.arg(callee().get_program());
    world.start(shell, args).ready()
}

#[test]
fn what_a_daemon_makes_is_its_owners_alone_and_what_is_there_stays_as_it_is() {
    let world = World::new();
    let db = world.db();
    let old = format!("OLD={}", world.text("old.sqlite"));
    rusqlite::Connection::open(world.path("old.sqlite"))
        .unwrap()
        .execute_batch("create table t(a)")
        .unwrap();
    fs::write(world.path("old.jsonl"), "").unwrap();
    for name in ["old.sqlite", "old.jsonl"] {
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o640)).unwrap();
    }
    let at = world.unix("callee.sock");
    for tail in ["new.jsonl", "old.jsonl"] {
        let args = ["--listen", &at, "--d1", &db, "--d1", &old, "--d1-create"];
        let rotated = ["--tail", tail, "--tail-rotate", "4KiB"];
        let daemon = with_usual_umask(&world, &[&args[..], &rotated].concat());
        for binding in ["DB", "OLD"] {
            let sql = request("create table if not exists u(a)");
            let done = world.call(&at, &[&format!("{binding}.query"), &sql]);
            assert_eq!(done.code, Some(0), "{done:?}");
        }
        for name in ["shop.sqlite", "shop.sqlite-wal", "shop.sqlite-shm"] {
            assert_eq!(mode(&world, name), 0o600, "{name}");
        }
        assert!(daemon.stop().success());
    }
    assert_eq!(mode(&world, "new.jsonl"), 0o600);
    assert_eq!(mode(&world, "old.sqlite"), 0o640);
    // The file that was there, by whichever name it has by now.
    let files = world.files();
    let old = files.iter().filter(|name| name.starts_with("old.jsonl"));
    let modes: Vec<u32> = old.map(|name| mode(&world, name)).collect();
    assert!(modes.contains(&0o640), "{files:?}: {modes:?}");
    assert!(
        modes.iter().all(|mode| [0o640, 0o600].contains(mode)),
        "{modes:?}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_said_with_what_to_do() {
    if !geteuid().is_root() {
        println!("skipped: it takes root to be another user");
        return;
    }
    let world = World::new();
    world.database();
    let user = 4243;
    chown(world.path("shop.sqlite"), Some(user), None).unwrap();
    fs::set_permissions(world.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    // The build's folder may be closed to others; and what is written to by this process cannot be run.
    let program = world.path("callee-for-all");
    let mut copy = Command::new("install");
    copy.args(["-m", "755"])
        .arg(callee().get_program())
        .arg(&program);
    assert!(copy.status().unwrap().success());
    let as_other = || {
        let mut command = Command::new(&program);
        command.uid(user).gid(user);
        command
    };
    let db = world.db();
    let args = ["--listen", "127.0.0.1:0", "--d1", &db];
    let done = world.run(as_other(), &args);
    assert_eq!(done.code, Some(78), "{done:?}");
    let says = [
        "cannot open the database",
        "shop.sqlite",
        "give this user the permission, on the file and on its folder",
    ];
    for says in says {
        assert!(done.stderr.contains(says), "{done:?}");
    }
    // It was that.
    chown(world.path("."), Some(user), None).unwrap();
    let mut daemon = world.start(as_other(), &args);
    let line = daemon.line("listening on");
    let at = line
        .split(' ')
        .find(|word| word.starts_with("127."))
        .unwrap();
    let done = world.query(at.trim_end_matches(','), "select count(*) from t", &[]);
    assert_eq!(done.rows(), json!([[3]]));
}
