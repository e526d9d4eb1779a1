//! SIGHUP: what changes while a daemon serves, what needs a restart, and that a bad file changes nothing.

mod util;

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;
use serde_json::json;
use util::{Daemon, LIMIT, World, callee, caller};

const READ: &str = "read the configuration again: ";

fn write(world: &World, name: &str, text: &str) {
    std::fs::write(world.path(name), text).unwrap();
}

/// Sends the signal and waits for what is said about it.
fn reload(daemon: &mut Daemon, says: &str) -> String {
    daemon.signal(Signal::HUP);
    daemon.line(says)
}

fn database(world: &World, name: &str, holds: i64) {
    let database = rusqlite::Connection::open(world.path(name)).unwrap();
    let sql = format!("create table t(a); insert into t values ({holds})");
    database.execute_batch(&sql).unwrap();
}

/// What `NAME.query` of table `t` says at this socket.
fn ask(world: &World, socket: &str, binding: &str) -> Result<i64, String> {
    let (method, request) = (format!("{binding}.query"), util::request("select a from t"));
    let done = world.call(&world.unix(socket), &[&method, &request, "--no-tree"]);
    match done.code {
        Some(0) => Ok(done.rows()[0][0].as_i64().unwrap()),
        _ => Err(done.last_line().to_owned()),
    }
}

#[test]
fn a_callee_takes_databases_up_and_puts_them_away_while_it_serves() {
    let world = World::new();
    for (name, holds) in [("a.sqlite", 1), ("b.sqlite", 2), ("c.sqlite", 3)] {
        database(&world, name, holds);
    }
    let head = "listen = ['unix:callee.sock']\n";
    write(
        &world,
        "callee.toml",
        &format!("{head}[d1.A]\npath = 'a.sqlite'\n[d1.B]\npath = 'b.sqlite'\n"),
    );
    let mut daemon = world.start(callee(), &["--config", "callee.toml"]).ready();
    assert_eq!(ask(&world, "callee.sock", "A"), Ok(1));

    let now = format!("{head}[d1.B]\npath = 'c.sqlite'\n[d1.C]\npath = 'c.sqlite'\n");
    write(&world, "callee.toml", &now);
    let said = reload(&mut daemon, READ);
    assert!(said.ends_with("added C; changed B; removed A"), "{said}");
    assert_eq!(ask(&world, "callee.sock", "B"), Ok(3));
    assert_eq!(ask(&world, "callee.sock", "C"), Ok(3));
    let gone = ask(&world, "callee.sock", "A").unwrap_err();
    assert!(
        gone.ends_with("there is no binding \"A\" here; there is: B, C"),
        "{gone}"
    );

    // One that cannot be opened: nothing of the file counts.
    let bad = format!("{head}[d1.A]\npath = 'a.sqlite'\n[d1.D]\npath = 'nowhere/d.sqlite'\n");
    write(&world, "callee.toml", &bad);
    let said = reload(&mut daemon, "the configuration stays as it was: ");
    assert!(said.contains("nowhere/d.sqlite"), "{said}");
    assert_eq!(ask(&world, "callee.sock", "C"), Ok(3));
    assert!(ask(&world, "callee.sock", "A").is_err());
    assert!(daemon.stop().success());
}

#[test]
fn a_database_whose_file_was_replaced_is_not_ready_and_is_opened_again_on_a_hangup() {
    let world = World::new();
    database(&world, "shop.sqlite", 1);
    database(&world, "other.sqlite", 2);
    let admin = world.unix("admin.sock");
    let mut daemon = world.callee(&["--admin", &admin]);
    let ready = |world: &World| world.run(caller(), &["health", "--connect", &admin]).code;
    assert_eq!(ready(&world), Some(0));
    // While its log is there, which may belong to the file before, the new one is not opened.
    world.query(&world.unix("callee.sock"), "insert into t values (3)", &[]);
    let (file, log) = (world.path("shop.sqlite"), world.path("shop.sqlite-wal"));
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    std::fs::rename(&file, world.path("aside.sqlite")).unwrap();
    std::fs::rename(world.path("other.sqlite"), &file).unwrap();
    daemon.line("may be the log of the file before");
    assert_ne!(ready(&world), Some(0));
    let said = reload(&mut daemon, "DB cannot be opened again: ");
    assert!(said.contains("was replaced while it was served"), "{said}");
    std::fs::rename(&log, world.path("aside.sqlite-wal")).unwrap();
    reload(&mut daemon, "DB is opened again");
    assert_eq!(ask(&world, "callee.sock", "DB"), Ok(2));
    assert_eq!(ready(&world), Some(0));
    assert!(daemon.stop().success());
}

#[test]
fn a_caller_changes_where_calls_go_and_what_counts_of_their_enrichment() {
    let world = World::new();
    for name in ["one", "two"] {
        database(
            &world,
            &format!("{name}.sqlite"),
            if name == "one" { 1 } else { 2 },
        );
    }
    let serve = |name: &str| {
        let (listen, db) = (format!("unix:{name}.sock"), format!("DB={name}.sqlite"));
        world
            .start(callee(), &["--listen", &listen, "--d1", &db])
            .ready()
    };
    let _callees = [serve("one"), serve("two")];
    let head = "listen = ['unix:caller.sock']\ntail = 'tail.jsonl'\nhttp = 'unix:http.sock'\n";
    write(
        &world,
        "caller.toml",
        &format!("{head}[bind.DB]\nto = 'unix:one.sock'\n"),
    );
    let mut daemon = world
        .start(caller(), &["serve", "--config", "caller.toml"])
        .ready();
    assert_eq!(ask(&world, "caller.sock", "DB"), Ok(1));

    let now = format!(
        "{head}[bind.DB]\nto = 'unix:two.sock'\nrename = 'off'\n[bind.MORE]\nto = 'unix:one.sock#DB'\n"
    );
    write(&world, "caller.toml", &now);
    let said = reload(&mut daemon, READ);
    assert!(said.ends_with("added MORE; changed DB"), "{said}");
    assert_eq!(ask(&world, "caller.sock", "DB"), Ok(2));
    assert_eq!(ask(&world, "caller.sock", "MORE"), Ok(1));
    assert_eq!(over_http(&world, "MORE"), json!([[1]]));

    // What all of them say changes the one that does not say it itself.
    let now = format!(
        "rename = 'off'\n{head}[bind.DB]\nto = 'unix:two.sock'\nrename = 'off'\n[bind.MORE]\nto = 'unix:one.sock#DB'\n"
    );
    write(&world, "caller.toml", &now);
    let said = reload(&mut daemon, READ);
    assert!(said.ends_with("changed MORE"), "{said}");
    assert_eq!(ask(&world, "caller.sock", "MORE"), Ok(1));
    let said = reload(&mut daemon, READ);
    assert!(said.ends_with("nothing changed"), "{said}");
    assert!(daemon.stop().success());
    let renamed = |event: &serde_json::Value| event["event"]["info"][0]["name"] == "span.name";
    let renamed = world
        .tail("tail.jsonl")
        .iter()
        .filter(|e| renamed(e))
        .count();
    assert_eq!(renamed, 3, "before DB was off, and twice before MORE was");
}

/// The rows of a query by HTTP.
fn over_http(world: &World, binding: &str) -> serde_json::Value {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(world.path("http.sock")).unwrap();
    let body = format!("[{}]", util::request("select a from t"));
    let head = format!(
        "POST /v1/call/{binding}/query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(&[head, body].concat().into_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, json) = answer.split_once("\r\n\r\n").unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    json["results"]["queryResults"][0]["data"]["rows"].clone()
}

#[test]
fn the_log_filter_changes_and_what_cannot_is_named_and_stays() {
    let world = World::new();
    database(&world, "shop.sqlite", 1);
    let tail = "[d1.DB]\npath = 'shop.sqlite'\n";
    write(
        &world,
        "callee.toml",
        &format!("listen = ['unix:callee.sock']\nlog = 'info'\n{tail}"),
    );
    let mut daemon = world.start(callee(), &["--config", "callee.toml"]).ready();
    let now =
        format!("listen = ['unix:other.sock']\nlog = 'info,js_rpc=debug'\ndrain = '3s'\n{tail}");
    write(&world, "callee.toml", &now);
    let said = reload(&mut daemon, READ);
    assert!(said.ends_with("another log filter"), "{said}");
    let said = daemon.line("needs a restart, and is as it was: ");
    assert!(said.ends_with(": --drain, --listen"), "{said}");
    assert_eq!(ask(&world, "callee.sock", "DB"), Ok(1));
    assert!(!world.path("other.sock").exists());
    // An HTTP request that is refused is said at that level only.
    let mut peer = std::os::unix::net::UnixStream::connect(world.path("callee.sock")).unwrap();
    std::io::Write::write_all(&mut peer, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    daemon.line("refused a plain HTTP request");
    assert!(daemon.stop().success());
}

#[test]
fn a_bad_file_is_said_with_line_and_key_and_changes_nothing() {
    let world = World::new();
    database(&world, "shop.sqlite", 1);
    let good = "listen = ['unix:callee.sock']\n[d1.DB]\npath = 'shop.sqlite'\n";
    write(&world, "callee.toml", good);
    let mut daemon = world.start(callee(), &["--config", "callee.toml"]).ready();
    for (bad, says) in [
        ("listen = [\n", "callee.toml:1:11: this is not TOML"),
        (
            "listen = ['unix:callee.sock']\ndrain = 5\n[d1.X]\npath = 'x'\n",
            "callee.toml:2:9: drain: ",
        ),
        (
            "listen = ['unix:callee.sock']\nlisten-on = 'x'\n",
            "callee.toml:2:1: listen-on: ",
        ),
        (
            "listen = ['unix:callee.sock']\n",
            "there is nothing to serve",
        ),
        (
            "log = 'loud=loud'\nlisten = ['unix:callee.sock']\n[d1.DB]\npath = 'shop.sqlite'\n",
            "--log \"loud=loud\"",
        ),
    ] {
        write(&world, "callee.toml", bad);
        let said = reload(&mut daemon, "the configuration stays as it was: ");
        assert!(said.contains(says), "{bad:?}: {said}");
        assert_eq!(ask(&world, "callee.sock", "DB"), Ok(1));
    }
    std::fs::remove_file(world.path("callee.toml")).unwrap();
    let said = reload(&mut daemon, "the configuration stays as it was: ");
    assert!(
        said.contains("cannot read the configuration callee.toml"),
        "{said}"
    );
    assert!(daemon.stop().success());
}

#[test]
fn whom_to_trust_is_said_at_the_start_and_not_by_a_reload() {
    let world = World::new();
    let head = "listen = ['unix:caller.sock']\n[bind.DB]\nto = 'unix:one.sock'\n";
    write(&world, "caller.toml", head);
    let mut daemon = world
        .start(caller(), &["serve", "--config", "caller.toml"])
        .ready();
    let pin = "tls-pin = ['sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=']\n";
    let away = "[bind.AWAY]\nto = 'tls:localhost:1'\n";
    write(&world, "caller.toml", &[head, away].concat());
    let said = reload(&mut daemon, "the configuration stays as it was: ");
    assert!(said.contains("give --tls-ca"), "{said}");
    write(&world, "caller.toml", &[pin, head, away].concat());
    let said = reload(&mut daemon, "the configuration stays as it was: ");
    assert!(
        said.contains("was not said at the start; restart"),
        "{said}"
    );
    assert!(daemon.stop().success());
}

#[test]
fn without_a_file_a_hangup_ends_nothing_and_says_what_it_did() {
    let world = World::new();
    world.database();
    let mut daemons = [world.callee(&["--tail", "tail.jsonl"]), world.caller(&[])];
    std::fs::rename(world.path("tail.jsonl"), world.path("tail.jsonl.1")).unwrap();
    for daemon in &mut daemons {
        reload(daemon, "there is no --config to read again");
    }
    assert_eq!(
        world
            .query(&world.unix("caller.sock"), "select 1", &[])
            .rows(),
        json!([[1]])
    );
    for daemon in daemons {
        assert!(daemon.stop().success());
    }
    assert!(
        !world.tail("tail.jsonl").is_empty(),
        "the moved file is not written to"
    );
    assert!(world.tail("tail.jsonl.1").is_empty());
}

#[test]
fn the_service_manager_is_told_when_a_reload_begins_and_how_it_ended() {
    let world = World::new();
    database(&world, "shop.sqlite", 1);
    let manager = UnixDatagram::bind(world.path("notify")).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let told = || {
        let mut bytes = [0; 4096];
        let n = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    };
    let good = "listen = ['unix:callee.sock']\n[d1.DB]\npath = 'shop.sqlite'\n";
    write(&world, "callee.toml", good);
    let mut program = callee();
    program.env("NOTIFY_SOCKET", world.path("notify"));
    let daemon = world.start(program, &["--config", "callee.toml"]);
    assert_eq!(told(), "READY=1\nSTATUS=serving DB (D1, shop.sqlite)\n");
    for (text, status) in [
        (
            good.replace("d1.DB", "d1.NEW"),
            "serving NEW (D1, shop.sqlite)\n",
        ),
        (
            "nonsense".to_owned(),
            "serving NEW (D1, shop.sqlite); the last reload failed: ",
        ),
    ] {
        write(&world, "callee.toml", &text);
        daemon.signal(Signal::HUP);
        let began = told();
        let time = began
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .map(str::trim_end);
        assert!(
            time.is_some_and(|time| time.parse::<u64>().is_ok()),
            "{began}"
        );
        let ended = told();
        assert!(
            ended.starts_with(&format!("READY=1\nSTATUS={status}")),
            "{ended}"
        );
    }
    assert!(daemon.stop().success());
}

#[test]
fn a_configuration_that_became_a_pipe_freezes_no_call() {
    let world = World::new();
    database(&world, "a.sqlite", 1);
    let text = "listen = ['unix:callee.sock']\n[d1.A]\npath = 'a.sqlite'\n";
    write(&world, "callee.toml", text);
    let mut daemon = world.start(callee(), &["--config", "callee.toml"]).ready();
    std::fs::remove_file(world.path("callee.toml")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, world.path("callee.toml"), kind, mode, 0).unwrap();
    let said = reload(&mut daemon, "the configuration stays as it was");
    assert!(said.contains("callee.toml: it is a pipe"), "{said}");
    assert_eq!(ask(&world, "callee.sock", "A"), Ok(1));
    // And is read when it is a file again.
    std::fs::remove_file(world.path("callee.toml")).unwrap();
    write(&world, "callee.toml", text);
    reload(&mut daemon, READ);
}

/// Whether there is a binding of this name, whatever it is.
fn is_there(world: &World, binding: &str) -> bool {
    let done = world.call(
        &world.unix("callee.sock"),
        &[&format!("{binding}.no_such_method"), "1", "--no-tree"],
    );
    assert_ne!(done.code, Some(0), "{done:?}");
    !done.stderr.contains("there is no binding")
}

#[test]
fn a_callee_takes_ai_bindings_up_and_puts_them_away_while_it_serves() {
    let world = World::new();
    database(&world, "a.sqlite", 1);
    std::fs::write(world.path("headers"), "x-team: one\n").unwrap();
    let head = "listen = ['unix:callee.sock']\n";
    let db = "[d1.DB]\npath = 'a.sqlite'\n";
    let one = "[ai.ONE]\nurl = 'http://127.0.0.1:1/v1'\nheader-file = 'headers'\n";
    let two = "[ai.TWO]\nbuiltin = true\n[ai.TWO.gateway.g]\nrate-limit = 1\n";
    let file = |parts: &[&str]| write(&world, "callee.toml", &(head.to_owned() + &parts.concat()));
    file(&[db, one]);
    let mut daemon = world.start(callee(), &["--config", "callee.toml"]);
    let ready = daemon.line("listening on");
    let serving = "serving DB (D1, a.sqlite), ONE (http://127.0.0.1:1/v1)";
    assert!(ready.ends_with(serving), "{ready}");
    assert!(is_there(&world, "ONE") && !is_there(&world, "TWO"));

    // What did not change is not opened again.
    file(&[db, one, two]);
    let said = reload(&mut daemon, READ);
    assert!(said.ends_with("again: added TWO"), "{said}");
    assert!(is_there(&world, "ONE") && is_there(&world, "TWO"));

    // A rule within a table within a table, and a file that a setting names.
    file(&[db, one, &two.replace("rate-limit = 1", "rate-limit = 2")]);
    std::fs::write(world.path("headers"), "x-team: two\n").unwrap();
    let said = reload(&mut daemon, READ);
    assert!(said.ends_with("again: changed ONE, TWO"), "{said}");
    assert!(is_there(&world, "ONE") && is_there(&world, "TWO"));

    // A name that means something else from now on; another that is gone.
    file(&["[ai.DB]\nbuiltin = true\n", one]);
    let said = reload(&mut daemon, READ);
    assert!(said.ends_with("again: changed DB; removed TWO"), "{said}");
    assert!(ask(&world, "callee.sock", "DB").is_err());
    assert!(is_there(&world, "DB") && !is_there(&world, "TWO"));

    // One that cannot be used: nothing of the file counts.
    file(&[db, &one.replace("headers'", "nowhere'"), two]);
    let said = reload(&mut daemon, "the configuration stays as it was: ");
    assert!(
        said.contains("callee.toml:6:15: ai.ONE.header-file: "),
        "{said}"
    );
    assert!(!is_there(&world, "TWO"));
    assert!(daemon.stop().success());
}
