//! Vectorize indexes in the real programs: configured, called, reloaded, killed, counted, checked, backed up, moved.

#[path = "../crates/bindings/tests/common/postgres.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod postgres;
mod util;

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::{Value as Json, json};
use util::{Daemon, Done, World, bspan, callee};

const DOCS: &str = "DOCS=./docs.sqlite,dimensions=3,metric=cosine";

/// A callee with an index in a file, ready.
fn docs(world: &World, more: &[&str]) -> Daemon {
    let listen = world.unix("callee.sock");
    let args = [
        &[
            "--listen",
            &listen,
            "--vectorize",
            DOCS,
            "--vectorize-create",
        ],
        more,
    ];
    world.start(callee(), &args.concat()).ready()
}

fn call(world: &World, method: &str, args: &[Json]) -> Done {
    let args: Vec<String> = args.iter().map(Json::to_string).collect();
    let mut line = vec!["call", "--connect", "unix:./callee.sock", method];
    line.extend(args.iter().map(String::as_str));
    world.run(bspan(), &line)
}

fn vector(id: &str, values: [f64; 3], year: u32) -> Json {
    json!({"id": id, "values": values, "namespace": "books", "metadata": {"year": year}})
}

fn insert(world: &World) {
    let vectors = json!([
        vector("east", [1.0, 0.0, 0.0], 1999),
        vector("north", [0.0, 1.0, 0.0], 2001),
        vector("up", [0.0, 0.0, 1.0], 2005),
    ]);
    let inserted = call(world, "DOCS.insert", &[vectors]).json();
    assert!(inserted["mutationId"].is_string(), "{inserted}");
}

fn count(world: &World) -> Json {
    call(world, "DOCS.describe", &[]).json()["vectorCount"].clone()
}

/// The ids of the matches, the nearest first.
fn near(world: &World, values: [f64; 3], options: Json) -> Vec<String> {
    let found = call(world, "DOCS.query", &[json!(values), options]).json();
    let matches = found["matches"].as_array().unwrap().iter();
    let id = |found: &Json| found["id"].as_str().unwrap().to_owned();
    matches.map(id).collect()
}

fn command(world: &World, args: &[&str]) -> Done {
    let mut program = bspan();
    program.env_remove("PGPASSWORD");
    world.run(program, &[&["vectorize"], args].concat())
}

#[test]
fn a_query_with_a_filter_is_answered_and_its_span_enriched_directly_and_through_serve() {
    let world = World::new();
    let daemon = docs(&world, &["--admin", "unix:admin.sock"]);
    insert(&world);
    let options = json!({"topK": 2, "filter": {"year": {"$gte": 2000}}, "returnMetadata": "all"});
    assert_eq!(
        near(&world, [1.0, 0.5, 0.1], options.clone()),
        ["north", "up"]
    );
    let done = call(&world, "DOCS.query", &[json!([1, 0, 0]), options.clone()]);
    assert!(done.stderr.contains("vectorize.query"), "{done:?}");
    let wrong = call(&world, "DOCS.query", &[json!([1, 0])]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    let says = "VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 3 dimensions, and got 2 dimensions";
    assert!(wrong.stderr.contains(says), "{wrong:?}");

    // The owner of the span gets all of it.
    let listen = world.unix("caller.sock");
    let bind = format!("DOCS={}", world.unix("callee.sock"));
    let args = [
        "serve",
        "--listen",
        &listen,
        "--bind",
        &bind,
        "--tail",
        "caller.jsonl",
    ];
    let serve = world.start(bspan(), &args).ready();
    let args = json!([0, 1, 0]).to_string();
    let through = world.run(
        bspan(),
        &[
            "call",
            "--connect",
            &listen,
            "DOCS.query",
            &args,
            &options.to_string(),
        ],
    );
    assert_eq!(through.json()["matches"][0]["id"], "north");
    assert!(serve.stop().success());
    let events = world.tail("caller.jsonl");
    for (name, value) in [
        ("db.system.name", json!("cloudflare-vectorize")),
        ("db.namespace", json!("DOCS")),
        ("db.operation.name", json!("query")),
        ("cloudflare.vectorize.index.dimensions", json!(3)),
        ("cloudflare.vectorize.query.top_k", json!(2)),
        ("cloudflare.vectorize.response.search", json!("exact")),
        ("db.response.returned_rows", json!(2)),
    ] {
        assert_eq!(util::attribute(&events, name), Some(value), "{name}");
    }
    let text = util::read(&world.path("caller.jsonl"));
    assert!(
        text.contains("year") && !text.contains("2000"),
        "keys, not values"
    );

    // And all of it is counted.
    let metrics = util::metrics(&world, "admin.sock");
    for line in [
        "binding_span_vectorize_operations_total{binding=\"DOCS\",operation=\"insert\",outcome=\"ok\"} 1",
        "binding_span_vectorize_operations_total{binding=\"DOCS\",operation=\"query\",outcome=\"ok\"} 3",
        "binding_span_vectorize_operations_total{binding=\"DOCS\",operation=\"query\",outcome=\"invalid_query_vector\"} 1",
        "binding_span_vectorize_operation_duration_seconds_count{binding=\"DOCS\",operation=\"query\"} 4",
        "binding_span_vectorize_searches_total{binding=\"DOCS\",search=\"exact\"} 3",
        "binding_span_vectorize_searches_total{binding=\"DOCS\",search=\"index\"} 0",
        "binding_span_vectorize_vectors_changed_total{binding=\"DOCS\"} 3",
        "binding_span_vectorize_vectors_returned_total{binding=\"DOCS\"} 6",
        "binding_span_vectorize_vectors{binding=\"DOCS\"} 3",
        "binding_span_vectorize_failing{binding=\"DOCS\"} 0",
    ] {
        assert!(
            metrics.lines().any(|there| there == line),
            "{line}\n{metrics}"
        );
    }
    assert!(daemon.stop().success());
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_and_nobody_else_may_open_the_file() {
    let world = World::new();
    let daemon = docs(&world, &[]);
    insert(&world);
    let args = [
        "--listen",
        "unix:b.sock",
        "--vectorize",
        "DOCS=./docs.sqlite",
    ];
    let second = world.run(callee(), &args);
    assert_eq!(second.code, Some(78), "{second:?}");
    assert!(
        second.stderr.contains("another process has the index"),
        "{second:?}"
    );
    daemon.kill();
    // It knows what it is.
    let listen = world.unix("callee.sock");
    let args = ["--listen", &listen, "--vectorize", "DOCS=./docs.sqlite"];
    let daemon = world.start(callee(), &args).ready();
    assert_eq!(count(&world), 3);
    assert_eq!(near(&world, [0.1, 0.9, 0.0], json!({"topK": 1})), ["north"]);
    assert!(daemon.stop().success());
    for (place, says) in [
        ("docs.sqlite,dimensions=4", "has 3 dimensions, and not 4"),
        (
            "docs.sqlite,metric=euclidean",
            "has the metric cosine, and not euclidean",
        ),
    ] {
        let place = format!("DOCS={place}");
        let done = world.run(
            callee(),
            &["--listen", "unix:b.sock", "--vectorize", &place],
        );
        assert_eq!(done.code, Some(78), "{done:?}");
        assert!(done.stderr.contains(says), "{done:?}");
    }
    world.database();
    let args = [
        "--listen",
        "unix:b.sock",
        "--vectorize",
        "DOCS=./shop.sqlite",
    ];
    let foreign = world.run(callee(), &args);
    assert_eq!(foreign.code, Some(78), "{foreign:?}");
    assert!(foreign.stderr.contains("no Vectorize index"), "{foreign:?}");
}

#[test]
fn a_check_finds_what_is_wrong_with_its_place_and_opens_nothing() {
    let world = World::new();
    std::fs::create_dir(world.path("folder")).unwrap();
    std::fs::write(world.path("empty"), "").unwrap();
    let check = |text: &str| {
        let text = format!("listen = 'unix:b'\n[vectorize.DOCS]\n{text}\n");
        std::fs::write(world.path("callee.toml"), text).unwrap();
        let mut program = callee();
        program
            .env_remove("CREDENTIALS_DIRECTORY")
            .env("PASSWORD", "geheim");
        world.run(program, &["--config", "callee.toml", "--check-config"])
    };
    for (text, says) in [
        (
            "pth = 'a'",
            "3:1: vectorize.DOCS.pth: there is no such key; did you mean path?",
        ),
        (
            "create = true",
            "2:12: vectorize.DOCS: there is no `path` and no `url`; ",
        ),
        (
            "path = 'a.sqlite'",
            "3:8: vectorize.DOCS.path: the Vectorize index DOCS: a.sqlite is no file; create it",
        ),
        (
            "path = 'folder'",
            "3:8: vectorize.DOCS.path: the Vectorize index DOCS: folder is not a file",
        ),
        (
            "path = 'no/a'\ncreate = true",
            "3:8: vectorize.DOCS.path: the Vectorize index DOCS: no/a cannot be created",
        ),
        (
            "path = 'a'\ncreate = true\nmetric = 'cosine'",
            "needs its dimensions and its metric",
        ),
        (
            "path = 'a'\ncreate = true\nmetric = 'l2'",
            "5:10: vectorize.DOCS.metric: write cosine, euclidean or dot-product",
        ),
        (
            "path = 'a'\ncreate = true\nmetric = 'cosine'\ndimensions = 4000",
            "6:14: vectorize.DOCS.dimensions: ",
        ),
        (
            "path = 'a'\nmetadata-indexes = ['genre']",
            "4:21: vectorize.DOCS.metadata-indexes: write PROPERTY:TYPE",
        ),
        (
            "path = 'a'\nmetadata-indexes = ['a:string', 'a:number']",
            "\"a\" is there twice",
        ),
        (
            "path = 'a'\ntable = 't'",
            "4:9: vectorize.DOCS.table: this is for an index in PostgreSQL",
        ),
        (
            "path = 'a'\nurl = 'postgres://h/d'",
            "4:7: vectorize.DOCS.url: there is a path already",
        ),
        (
            "url = 'postgres://me:geheim@h/d'",
            "3:7: vectorize.DOCS.url: a PostgreSQL URL must have no password in it",
        ),
        (
            "url = 'postgres://h/d'\npassword = 'geheim'",
            "4:12: vectorize.DOCS.password: passwords do not belong into this file",
        ),
        (
            "url = 'postgres://h/d'\npassword-file = 'no'",
            "4:17: vectorize.DOCS.password-file: the file that it names cannot be read",
        ),
        (
            "url = 'postgres://h/d'\npassword-file = 'empty'",
            "4:17: vectorize.DOCS.password-file: the file that it names is empty",
        ),
        (
            "url = 'postgres://h/d'\npassword-env = 'NO_SUCH'",
            "4:16: vectorize.DOCS.password-env: the variable that it names is not set",
        ),
        (
            "url = 'postgres://h/d'\nssl-mode = 'allow'",
            "4:12: vectorize.DOCS.ssl-mode: write disable, prefer, ",
        ),
        (
            "url = 'postgres://h/d'\nssl-cert = 'empty'",
            "4:12: vectorize.DOCS.ssl-cert: it needs ssl-key",
        ),
        (
            "url = 'postgres://h/d'\nmax-top-k = 0",
            "4:13: vectorize.DOCS.max-top-k: ",
        ),
    ] {
        let done = check(text);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(78), ""),
            "{text}\n{done:?}"
        );
        assert!(done.stderr.contains(says), "{text}\n{}", done.stderr);
        assert!(!done.stderr.contains("geheim"), "{text}\n{}", done.stderr);
    }
    // Every key is one.
    let all = "url = 'postgres://h/d'\ntable = 't'\ncreate = true\ndimensions = 3\nmetric = 'cosine'\n\
               metadata-indexes = ['genre:string', 'author.name:string', 'year:number']\npassword-env = 'PASSWORD'\n\
               ssl-mode = 'require'\nmax-connections = 3\nconnect-timeout = '1s'\ntimeout = '2s'\nexact-below = 5\n\
               searchers = 1\nqueue = 7\napi-version = 'v1'\nmax-vectors = 9\nmax-memory = '1MiB'\nmax-batch = 2\n\
               max-request = '1MB'\nmax-dimensions = 10\nmax-id = 32\nmax-namespace = '32'\nmax-namespaces = 2\n\
               max-metadata = '1KiB'\nmax-top-k = 5\nmax-top-k-with-values = 3\nmax-ids-to-get = 2\n\
               max-ids-to-delete = 2\nmax-filter = '1KiB'\nmax-metadata-indexes = 3\n";
    let done = check(all);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert_eq!(done.stdout, "the configuration can be used: serving DOCS\n");
    let done = check("url = 'postgres://h/d'\ncredential = 'pg'");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stderr
            .contains("vectorize.DOCS.credential is not checked"),
        "{done:?}"
    );
    let done = check("path = 'new'\ncreate = true\ndimensions = 3\nmetric = 'cosine'");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!world.path("new").exists(), "nothing was opened");
    // Options alike.
    for (option, says) in [
        ("DOCS", "--vectorize: write NAME=PLACE, "),
        (
            "DOCS=a,dimensions=x",
            "--vectorize: DOCS: dimensions is a whole number",
        ),
        (
            "DOCS=postgres://me:geheim@h/d",
            "--vectorize: DOCS: a PostgreSQL URL must have no password",
        ),
        (
            "DOCS=a;DOCS=b",
            "--vectorize names the binding \"DOCS\" twice",
        ),
    ] {
        let done = world.run(callee(), &["--listen", "unix:b", "--vectorize", option]);
        assert_eq!(done.code, Some(2), "{option}: {done:?}");
        assert!(done.stderr.contains(says), "{option}: {done:?}");
        assert!(!done.stderr.contains("geheim"), "{option}: {done:?}");
    }
}

#[test]
fn a_reload_adds_changes_and_removes_indexes() {
    let world = World::new();
    let table = "create = true\ndimensions = 3\nmetric = 'cosine'\n";
    let write = |rest: &str| {
        let text = format!("listen = ['unix:callee.sock']\n{rest}");
        std::fs::write(world.path("callee.toml"), text).unwrap();
    };
    let first = format!("[vectorize.DOCS]\npath = 'docs.sqlite'\n{table}");
    write(&first);
    let mut daemon = world.start(callee(), &["--config", "callee.toml"]);
    daemon.line("serving DOCS (Vectorize, docs.sqlite)");
    insert(&world);
    write(&format!(
        "{first}max-batch = 2\n[vectorize.MORE]\npath = 'more.sqlite'\n{table}"
    ));
    daemon.signal(Signal::HUP);
    let line = daemon.line("read the configuration again: ");
    assert!(
        line.contains("added MORE") && line.contains("changed DOCS"),
        "{line}"
    );
    // The same open file within other limits.
    assert_eq!(count(&world), 3);
    let three = json!([
        vector("a", [1.0; 3], 1),
        vector("b", [1.0; 3], 1),
        vector("c", [1.0; 3], 1)
    ]);
    let done = call(&world, "DOCS.insert", &[three]);
    assert!(done.stderr.contains("(code = 40007)"), "{done:?}");
    assert_eq!(call(&world, "MORE.describe", &[]).json()["vectorCount"], 0);
    write(&format!("[vectorize.MORE]\npath = 'more.sqlite'\n{table}"));
    daemon.signal(Signal::HUP);
    let line = daemon.line("read the configuration again: ");
    assert!(line.contains("removed DOCS"), "{line}");
    assert_ne!(call(&world, "DOCS.describe", &[]).code, Some(0));
    assert!(daemon.stop().success());
}

#[test]
fn a_file_that_is_removed_makes_the_callee_unready_until_it_is_opened_again() {
    let world = World::new();
    let mut daemon = docs(&world, &["--admin", "unix:admin.sock"]);
    insert(&world);
    let done = command(&world, &["backup", "docs.sqlite", "backup.sqlite"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(util::get(&world, "admin.sock", "/readyz").starts_with("HTTP/1.1 200"));
    for file in ["docs.sqlite", "docs.sqlite-wal", "docs.sqlite-shm"] {
        let _ = std::fs::remove_file(world.path(file));
    }
    let failed = call(&world, "DOCS.describe", &[]);
    assert!(
        failed.stderr.contains("was removed or replaced"),
        "{failed:?}"
    );
    let ready = util::get(&world, "admin.sock", "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(
        ready.contains("DOCS: ") && ready.contains("was removed or replaced"),
        "{ready}"
    );
    let metrics = util::metrics(&world, "admin.sock");
    assert!(
        metrics.contains("binding_span_vectorize_failing{binding=\"DOCS\"} 1"),
        "{metrics}"
    );
    std::fs::rename(world.path("backup.sqlite"), world.path("docs.sqlite")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.line("DOCS is opened again");
    assert!(util::get(&world, "admin.sock", "/readyz").starts_with("HTTP/1.1 200"));
    assert_eq!(count(&world), 3);
    assert!(daemon.stop().success());
}

#[test]
fn commands_show_check_back_up_and_copy_files() {
    let world = World::new();
    let daemon = docs(&world, &[]);
    insert(&world);
    // While it is in use.
    let info = command(&world, &["info", "docs.sqlite"]);
    assert_eq!(info.code, Some(0), "{info:?}");
    for line in [
        "dimensions        3\n",
        "metric            cosine\n",
        "vectors           3\n",
    ] {
        assert!(info.stdout.contains(line), "{info:?}");
    }
    let check = command(&world, &["check", "docs.sqlite"]);
    assert_eq!(
        (check.code, check.stdout.as_str()),
        (Some(0), "docs.sqlite is sound: 3 vectors\n")
    );
    let backup = command(&world, &["backup", "docs.sqlite", "backup.sqlite"]);
    assert_eq!(backup.code, Some(0), "{backup:?}");
    let again = command(&world, &["backup", "docs.sqlite", "backup.sqlite"]);
    assert_eq!(again.code, Some(78), "{again:?}");
    assert!(again.stderr.contains("exists already"), "{again:?}");
    let busy = command(&world, &["copy", "docs.sqlite", "copy.sqlite", "--create"]);
    assert_eq!(busy.code, Some(78), "{busy:?}");
    assert!(
        busy.stderr.contains("another process has the index"),
        "{busy:?}"
    );
    assert!(daemon.stop().success());

    let missing = command(&world, &["copy", "backup.sqlite", "copy.sqlite"]);
    assert_eq!(missing.code, Some(78), "{missing:?}");
    assert!(missing.stderr.contains("--create"), "{missing:?}");
    for _ in 0..2 {
        let copy = command(
            &world,
            &["copy", "backup.sqlite", "copy.sqlite", "--create"],
        );
        let says = "3 vectors are in copy.sqlite, each the same as in backup.sqlite\n";
        assert_eq!(
            (copy.code, copy.stdout.as_str()),
            (Some(0), says),
            "{copy:?}"
        );
        assert!(
            copy.stderr.contains("compared 3 of 3 vectors, 100%"),
            "{copy:?}"
        );
    }
    let same = command(&world, &["copy", "copy.sqlite", "./copy.sqlite"]);
    assert_eq!(same.code, Some(2), "{same:?}");

    // A vector too many in the target is found. One too few is copied, as after an interruption.
    let change = |method: &str, argument: Json| {
        let place = "DOCS=copy.sqlite";
        let args = ["--listen", "unix:./callee.sock", "--vectorize", place];
        let daemon = world.start(callee(), &args).ready();
        call(&world, method, &[argument]).json();
        assert!(daemon.stop().success());
    };
    change("DOCS.insert", json!([vector("zenith", [1.0; 3], 1)]));
    let differs = command(&world, &["copy", "backup.sqlite", "copy.sqlite"]);
    assert_eq!(differs.code, Some(1), "{differs:?}");
    assert!(differs.stderr.contains("zenith"), "{differs:?}");
    change("DOCS.deleteByIds", json!(["zenith", "up"]));
    let copy = command(&world, &["copy", "backup.sqlite", "copy.sqlite"]);
    assert_eq!(copy.code, Some(0), "{copy:?}");
    assert!(copy.stdout.starts_with("3 vectors are in"), "{copy:?}");

    // Damage is found.
    let file = rusqlite::Connection::open(world.path("copy.sqlite")).unwrap();
    file.execute("UPDATE vals SET vals = x'00' WHERE row = 1", ())
        .unwrap();
    file.close().unwrap();
    let damaged = command(&world, &["check", "copy.sqlite"]);
    assert_eq!(damaged.code, Some(1), "{damaged:?}");
    assert!(damaged.stdout.lines().count() >= 1, "{damaged:?}");
    assert!(
        damaged.stderr.contains("copy.sqlite is damaged"),
        "{damaged:?}"
    );
    for args in [&["check", "none.sqlite"][..], &["info", "none.sqlite"]] {
        let done = command(&world, args);
        assert_eq!(done.code, Some(78), "{done:?}");
        assert!(
            done.stderr.contains("there is no index at none.sqlite"),
            "{done:?}"
        );
    }
}

#[test]
fn an_index_moves_from_a_file_to_postgresql_is_served_there_and_moves_back() {
    let world = World::new();
    let server = postgres::Server::shared();
    let database = server.database("moved");
    server.psql(&database, "CREATE EXTENSION vector");
    server.psql(
        &database,
        "CREATE ROLE rag LOGIN PASSWORD 'geheim'; GRANT CREATE, USAGE ON SCHEMA public TO rag",
    );
    let url = format!("postgres://rag@127.0.0.1:{}/{database}", server.port);
    std::fs::write(world.path("password"), "geheim\n").unwrap();
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(world.path("password"), private).unwrap();
    let daemon = docs(&world, &[]);
    insert(&world);
    assert!(daemon.stop().success());

    let place = format!("{url},table=docs");
    let refused = command(&world, &["copy", "docs.sqlite", &place, "--create"]);
    assert_eq!(refused.code, Some(69), "{refused:?}");
    let file = ["--password-file", "password"];
    let there = command(
        &world,
        &[&["copy", "docs.sqlite", &place, "--create"], &file[..]].concat(),
    );
    assert_eq!(there.code, Some(0), "{there:?}");
    let info = command(&world, &[&["info", &place], &file[..]].concat());
    assert!(info.stdout.contains("vectors           3\n"), "{info:?}");

    let text = format!(
        "listen = ['unix:callee.sock']\nadmin = ['unix:admin.sock']\n[vectorize.DOCS]\nurl = '{url}'\n\
         password-file = 'password'\nmetadata-indexes = ['year:number']\n"
    );
    std::fs::write(world.path("callee.toml"), text).unwrap();
    let mut daemon = world.start(callee(), &["--config", "callee.toml"]);
    let says = daemon.line("listening on");
    assert!(
        says.contains("Vectorize, table docs of PostgreSQL at 127.0.0.1:"),
        "{says}"
    );
    let filter = json!({"topK": 1, "filter": {"year": {"$gt": 2001}}});
    assert_eq!(near(&world, [1.0, 0.0, 0.0], filter), ["up"]);
    call(
        &world,
        "DOCS.upsert",
        &[json!([vector("west", [-1.0, 0.0, 0.0], 2010)])],
    )
    .json();
    let metrics = util::metrics(&world, "admin.sock");
    let connections = "binding_span_vectorize_connections{binding=\"DOCS\"} ";
    let line = metrics
        .lines()
        .find(|line| line.starts_with(connections))
        .unwrap();
    assert!(!line.ends_with(" 0"), "{line}");
    assert!(daemon.stop().success());

    let back = command(
        &world,
        &[&["copy", &place, "back.sqlite", "--create"], &file[..]].concat(),
    );
    assert_eq!(back.code, Some(0), "{back:?}");
    let info = command(&world, &["info", "back.sqlite"]);
    assert!(info.stdout.contains("vectors           4\n"), "{info:?}");
    assert!(
        info.stdout.contains("metadata indexes  year:number\n"),
        "{info:?}"
    );
    for text in [there, back] {
        assert!(!format!("{text:?}").contains("geheim"), "{text:?}");
    }
}
