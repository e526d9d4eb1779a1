//! `bspan`: everything under one name, in a shell that has `caller` as a builtin.

mod util;

use std::process::Command;

use serde_json::json;
use util::{World, bspan, request};

#[test]
fn every_command_of_caller_and_callee_itself_work_under_one_name() {
    let world = World::new();
    world.database();
    let (callee, caller) = (world.unix("callee.sock"), world.unix("caller.sock"));
    let (db, admin) = (world.db(), world.unix("admin.sock"));
    let serving = world
        .start(bspan(), &["callee", "--listen", &callee, "--d1", &db])
        .ready();
    let bind = format!("DB={callee}");
    let args = [
        "serve", "--listen", &caller, "--bind", &bind, "--admin", &admin,
    ];
    let passing = world.start(bspan(), &args).ready();
    let request = request("select a from t");
    for at in [&callee, &caller] {
        let done = world.run(bspan(), &["call", "--connect", at, "DB.query", &request]);
        assert_eq!(done.rows(), json!([[1], [2], [3]]), "{done:?}");
    }
    assert_eq!(
        world.run(bspan(), &["health", "--connect", &admin]).code,
        Some(0)
    );
    let args = ["tail", "--connect", &admin, "--since", "1h", "--no-follow"];
    let done = world.run(bspan(), &args);
    assert!(done.stdout.contains("● d1.query"), "{done:?}");
    assert!(serving.stop().success());
    assert!(passing.stop().success());
    // Files and their checks, and what is wrong with a command line.
    let text = "listen = 'unix:x.sock'\n[d1.DB]\npath = 'shop.sqlite'\n";
    std::fs::write(world.path("callee.toml"), text).unwrap();
    let done = world.run(
        bspan(),
        &["callee", "--config", "callee.toml", "--check-config"],
    );
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    for (args, says) in [
        (&["callee"][..], "bspan callee [OPTIONS]"),
        (&["serve"], "bspan serve [OPTIONS]"),
        (&["nonsense"], "Usage: bspan"),
        (&["callee", "--version"], ""),
    ] {
        let done = world.run(bspan(), args);
        assert!(done.stderr.contains(says), "{done:?}");
        assert!(!done.stderr.contains(" caller "), "{done:?}");
    }
}

#[test]
fn in_bash_it_is_the_program_and_not_a_builtin() {
    let world = World::new();
    let folder = bspan().get_program().to_owned();
    let folder = std::path::Path::new(&folder).parent().unwrap().to_owned();
    let mut bash = Command::new("bash");
    bash.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    let script = "type -t bspan; bspan demo --help >/dev/null && bspan --version";
    let done = world.run(bash, &["--norc", "-c", script]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stdout.starts_with("file\nbspan "), "{done:?}");
}

#[test]
fn what_documents_tell_people_to_type_is_no_builtin() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in [
        "README.md",
        "docs/operating.md",
        "docs/tail.md",
        "docs/metrics.md",
        "docs/opentelemetry.md",
        "docs/workerd.md",
        "docs/performance.md",
        "examples/workers/README.md",
        "tests/snapshots/caller.long.txt",
        "tests/snapshots/caller-call.long.txt",
        "tests/snapshots/caller-serve.long.txt",
        "tests/snapshots/caller-tail.long.txt",
        "tests/snapshots/callee.long.txt",
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for line in text.lines().filter(|line| !line.contains("[OPTIONS]")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let typed = words.windows(2).enumerate().any(|(i, pair)| {
                let begins = i == 0 || ["$", "&&", "|", "then", "env"].contains(&words[i - 1]);
                let set = i > 0 && words[i - 1].contains('=') && !words[i - 1].starts_with("--");
                let command = ["call", "serve", "tail", "health", "demo", "--generate"];
                pair[0] == "caller" && command.contains(&pair[1]) && (begins || set)
            });
            assert!(!(typed && line.starts_with("    ")), "{file}: {line}");
        }
    }
}
