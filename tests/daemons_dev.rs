//! The development registry without anybody else's program in it: daemons enter themselves and leave, and calls go by
//! it. With wrangler and miniflare it is in `interop/wrangler`.

mod util;

use std::fs::{File, FileTimes};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::{Value as Json, json};
use util::{Daemon, Done, World, bspan, callee, caller, request};

/// An entry of the registry `registry`, if it is there.
fn entry(world: &World, name: &str) -> Option<Json> {
    let text = std::fs::read_to_string(world.path("registry").join(name)).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// Waits until that entry is as it should be.
fn until(world: &World, name: &str, is: impl Fn(Option<&Json>) -> bool) -> Option<Json> {
    let until = Instant::now() + util::LIMIT;
    loop {
        let found = entry(world, name);
        if is(found.as_ref()) {
            return found;
        }
        assert!(Instant::now() < until, "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The names in that registry, without what is only there while an entry is written.
fn names(world: &World) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(world.path("registry")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// `callee` with `args` and that registry.
fn entered(world: &World, args: &[&str]) -> Daemon {
    world
        .start(callee(), &[args, &["--dev-registry=registry"]].concat())
        .ready()
}

/// `caller call --dev` of a query by that name.
fn query(world: &World, name: &str, sql: &str) -> Done {
    let method = format!("{name}.query");
    world.run(
        caller(),
        &[
            "call",
            "--dev=registry",
            &method,
            &request(sql),
            "--no-tree",
        ],
    )
}

/// The line of standard error that says why.
fn says(done: &Done) -> &str {
    assert_eq!(done.code, Some(69), "{done:?}");
    done.last_line()
}

#[test]
fn a_daemon_is_in_the_registry_from_its_first_word_to_its_last() {
    let world = World::new();
    world.database();
    let db = world.db();
    let daemon = entered(&world, &["--d1", &db]);
    let found = entry(&world, "DB").unwrap();
    assert_eq!(found["defaultEntrypointService"], "DB");
    assert_eq!(found["userWorkerService"], "DB");
    let owner = format!("callee, process {}", daemon.id());
    assert_eq!(found["owner"], json!(owner));
    let address = found["debugPortAddress"].as_str().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    // What stands beside it: nothing that somebody could take for a Worker.
    assert_eq!(names(&world), ["DB"]);
    assert!(
        query(&world, "DB", "select sum(a) from t")
            .stdout
            .contains("[[6]]")
    );
    // The program with every command finds it as well.
    let args = ["call", "--dev=registry", "DB.query", &request("select 7")];
    assert!(world.run(bspan(), &args).stdout.contains("[[7]]"));
    // What somebody has set for other calls does not count here.
    let mut program = caller();
    program.env("BINDING_SPAN_CONNECT", "127.0.0.1:1");
    assert!(world.run(program, &args).stdout.contains("[[7]]"));
    assert!(daemon.stop().success());
    assert_eq!(
        std::fs::read_dir(world.path("registry")).unwrap().count(),
        0
    );
    let done = query(&world, "DB", "select 1");
    assert!(
        says(&done).contains("nor anybody else: start `wrangler dev`"),
        "{done:?}"
    );
}

#[test]
fn a_listener_of_ones_own_is_used_where_one_fits() {
    let world = World::new();
    let db = world.db();
    let create = ["--d1", &db, "--d1-create"];
    let address = || entry(&world, "DB").unwrap()["debugPortAddress"].clone();
    let unix = world.unix("callee.sock");
    // Neither a socket that has no port, nor one that leads to one binding.
    let mut daemon = world.start(
        callee(),
        &[
            &create[..],
            &[
                "--listen",
                &unix,
                "--listen",
                "127.0.0.1:0,binding=DB",
                "--dev-registry=registry",
            ],
        ]
        .concat(),
    );
    let line = daemon.line("for local development, DB at 127.0.0.1:");
    let own = address().as_str().unwrap().to_owned();
    assert!(line.contains(&own), "{line}");
    daemon.line(&format!("listening on {own}, "));
    assert!(query(&world, "DB", "select 1").stdout.contains("[[1]]"));
    assert!(daemon.stop().success());
    let mut daemon = world.start(
        callee(),
        &[
            &create[..],
            &[
                "--listen",
                &unix,
                "--listen",
                "127.0.0.1:0",
                "--dev-registry=registry",
            ],
        ]
        .concat(),
    );
    daemon.line(&format!("listening on {unix}"));
    let line = daemon.line("listening on 127.0.0.1:");
    assert!(line.contains(address().as_str().unwrap()), "{line}");
    assert!(daemon.stop().success());
}

#[test]
fn without_a_directory_it_is_where_wrangler_and_miniflare_look() {
    let world = World::new();
    let db = world.db();
    let with = |mut command: Command, variables: &[(&str, &str)]| {
        for name in [
            "CLOUDFLARE_DEV_REGISTRY_PATH",
            "WRANGLER_REGISTRY_PATH",
            "MINIFLARE_REGISTRY_PATH",
        ] {
            command.env_remove(name);
        }
        command
            .env("HOME", world.path("home"))
            .env("XDG_CONFIG_HOME", world.path("config"));
        command.envs(variables.iter().copied());
        command
    };
    let args = ["--d1", &db, "--d1-create", "--dev-registry"];
    let daemon = world.start(with(callee(), &[]), &args).ready();
    for place in [
        "config/.wrangler/registry/DB",
        "config/cloudflare/dev-registry/v5/DB",
    ] {
        assert!(world.path(place).is_file(), "{place}");
    }
    let call = ["call", "--dev", "DB.query", &request("select 8")];
    assert!(
        world
            .run(with(caller(), &[]), &call)
            .stdout
            .contains("[[8]]")
    );
    assert!(daemon.stop().success());
    assert!(!world.path("config/.wrangler/registry/DB").exists());
    // By a variable of wrangler's, and by ours, for the daemon and for the call.
    for name in ["WRANGLER_REGISTRY_PATH", "BINDING_SPAN_DEV_REGISTRY"] {
        let variable = [(name, "elsewhere")];
        let on = ["--d1", &db, "--dev-registry"];
        let by_ours = ["--d1", &db];
        let args: &[&str] = if name.starts_with("BINDING") {
            &by_ours
        } else {
            &on
        };
        let daemon = world.start(with(callee(), &variable), args).ready();
        assert!(world.path("elsewhere/DB").is_file(), "{name}");
        assert!(
            !world.path("config/.wrangler/registry/DB").exists(),
            "{name}"
        );
        assert!(
            world
                .run(with(caller(), &variable), &call)
                .stdout
                .contains("[[8]]")
        );
        assert!(daemon.stop().success());
    }
}

#[test]
fn an_entry_of_somebody_who_lives_is_said_and_left_alone_until_its_end() {
    let world = World::new();
    let db = world.db();
    let first = entered(&world, &["--d1", &db, "--d1-create"]);
    let other = format!("DB={}", world.text("other.sqlite"));
    let log = format!("LOG={}", world.text("log.sqlite"));
    let args = [
        "--d1",
        &other,
        "--d1",
        &log,
        "--d1-create",
        "--dev-registry=registry",
    ];
    let mut second = world.start(callee(), &args);
    let line = second.line("DB is not entered");
    for part in [
        format!("callee, process {}", first.id()),
        "--dev-name 'DB=NAME'".into(),
    ] {
        assert!(line.contains(&part), "{line}");
    }
    // What is not there is not promised.
    let line = second.line("for local development");
    assert!(line.contains("for local development, LOG at"), "{line}");
    let mut second = second.ready();
    let of = |daemon: &Daemon| json!(format!("callee, process {}", daemon.id()));
    assert_eq!(entry(&world, "DB").unwrap()["owner"], of(&first));
    assert!(first.stop().success());
    second.line("DB is entered in the development registry");
    assert_eq!(entry(&world, "DB").unwrap()["owner"], of(&second));
    assert!(second.stop().success());
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn the_entry_of_a_killed_process_is_stale_and_the_next_one_replaces_it() {
    let world = World::new();
    let db = world.db();
    let killed = entered(&world, &["--d1", &db, "--d1-create"]);
    killed.kill();
    let left = entry(&world, "DB").unwrap();
    let done = query(&world, "DB", "select 1");
    let line = says(&done);
    let address = left["debugPortAddress"].as_str().unwrap();
    assert!(
        line.contains(address) && line.contains("nobody listens there"),
        "{line}"
    );
    let next = entered(&world, &["--d1", &db]);
    assert_ne!(
        entry(&world, "DB").unwrap()["instanceId"],
        left["instanceId"]
    );
    assert!(query(&world, "DB", "select 1").stdout.contains("[[1]]"));
    next.kill();
    // Somebody else has the port now; that nobody has touched the entry for long tells all the same.
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut left = entry(&world, "DB").unwrap();
    left["debugPortAddress"] = json!(somebody.local_addr().unwrap().to_string());
    let path = world.path("registry/DB");
    std::fs::write(&path, left.to_string()).unwrap();
    age(&path, 100);
    let done = query(&world, "DB", "select 1");
    assert!(says(&done).contains("was last touched 1m 4"), "{done:?}");
    let _next = entered(&world, &["--d1", &db]);
    assert!(query(&world, "DB", "select 1").stdout.contains("[[1]]"));
}

fn age(path: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(then)).unwrap();
}

#[test]
fn entries_follow_the_file_and_are_kept_young() {
    let world = World::new();
    let write = |more: &str| {
        let top = "dev-registry = 'registry'\nlisten = ['127.0.0.1:0']\nd1-create = true\n";
        std::fs::write(world.path("callee.toml"), format!("{top}{more}")).unwrap();
    };
    write("[d1.DB]\npath = 'a.sqlite'\n[d1.LOG]\npath = 'b.sqlite'\n");
    let daemon = world.start(callee(), &["--config", "callee.toml"]).ready();
    assert_eq!(names(&world), ["DB", "LOG"]);
    let log = world.path("registry/LOG");
    age(&log, 80);
    std::fs::remove_file(world.path("registry/DB")).unwrap();
    write("dev-name = ['SHOP=shop']\n[d1.SHOP]\npath = 'c.sqlite'\n[d1.LOG]\npath = 'b.sqlite'\n");
    daemon.signal(Signal::HUP);
    let found = until(&world, "shop", |found| found.is_some()).unwrap();
    assert_eq!(found["defaultEntrypointService"], "SHOP");
    assert_eq!(names(&world), ["LOG", "shop"]);
    until(&world, "LOG", |_| {
        let touched = std::fs::metadata(&log).unwrap().modified().unwrap();
        touched.elapsed().unwrap() < Duration::from_secs(60)
    });
    assert!(query(&world, "shop", "select 5").stdout.contains("[[5]]"));
    // Whoever removes it, it comes back by the next heartbeat.
    std::fs::remove_file(world.path("registry/shop")).unwrap();
    until(&world, "shop", |found| found.is_some());
    assert!(daemon.stop().success());
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn a_caller_enters_what_it_passes_on_and_a_switch_in_a_file_is_enough() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let file = format!(
        "dev-registry = true\n[bind.DB]\nto = '{}'\n",
        world.unix("callee.sock")
    );
    std::fs::write(world.path("caller.toml"), file).unwrap();
    let mut program = caller();
    program.env("WRANGLER_REGISTRY_PATH", "registry");
    let daemon = world
        .start(program, &["serve", "--config", "caller.toml"])
        .ready();
    let found = entry(&world, "DB").unwrap();
    assert_eq!(
        found["owner"],
        json!(format!("caller, process {}", daemon.id()))
    );
    let args = [
        "call",
        "--dev=registry",
        "DB.query",
        &request("select max(a) from t"),
    ];
    let done = world.run(caller(), &args);
    assert!(
        done.stdout.contains("[[3]]") && done.stderr.contains("d1.query"),
        "{done:?}"
    );
    // Its entries follow its bindings. A binding that is an entrypoint is reached by its service's entry.
    let to = format!("to = '{}#DB'", world.unix("callee.sock"));
    let file = format!("dev-registry = true\n[bind.LOG]\n{to}\n[bind.'LOG#Admin']\n{to}\n");
    std::fs::write(world.path("caller.toml"), file).unwrap();
    daemon.signal(Signal::HUP);
    until(&world, "LOG", |found| found.is_some());
    assert_eq!(names(&world), ["LOG"]);
    for name in ["LOG", "LOG#default", "LOG#Admin"] {
        assert!(
            query(&world, name, "select 4").stdout.contains("[[4]]"),
            "{name}"
        );
    }
    let done = query(&world, "LOG#Nobody", "select 4");
    assert!(
        done.code == Some(1) && done.stderr.contains("no binding \"LOG#Nobody\""),
        "{done:?}"
    );
    assert!(daemon.stop().success());
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn entries_that_lead_elsewhere_or_nowhere_are_said() {
    let world = World::new();
    let nobody = ["call", "--dev=nowhere", "DB.query"];
    let done = world.run(caller(), &nobody);
    let line = says(&done);
    assert!(
        line.contains(&format!(
            "no development registry at {}",
            world.text("nowhere")
        )),
        "{line}"
    );
    std::fs::create_dir(world.path("registry")).unwrap();
    let services = r#""defaultEntrypointService":"x","userWorkerService":"x"}"#;
    for (text, says_) in [
        (
            "{\"protocol\":\"http\"}".into(),
            "is not one that this version can read",
        ),
        (
            format!(r#"{{"debugPortAddress":"192.0.2.1:1",{services}"#),
            "is not on this machine",
        ),
        (
            format!(r#"{{"debugPortAddress":"example.com:1",{services}"#),
            "is not on this machine",
        ),
        (
            format!(r#"{{"debugPortAddress":"soon",{services}"#),
            "is no address",
        ),
        (
            r#"{"debugPortAddress":"127.0.0.1:1"}"#.into(),
            "names no service there",
        ),
    ] {
        std::fs::write(world.path("registry/DB"), &text).unwrap();
        let done = query(&world, "DB", "select 1");
        assert!(says(&done).contains(says_), "{text}: {done:?}");
    }
    for (args, says) in [
        (
            &["call", "--dev=registry", "a/b.c"][..],
            "names of files do not have",
        ),
        (
            &[
                "call",
                "--dev=registry",
                "--connect",
                "127.0.0.1:1",
                "DB.query",
            ],
            "leave one of them out",
        ),
        (&["call", "DB.query"], "--connect <ADDR>"),
    ] {
        let done = world.run(caller(), args);
        assert_eq!(done.code, Some(2), "{done:?}");
        assert!(done.stderr.contains(says), "{done:?}");
    }
}

#[test]
fn names_that_cannot_be_entered_are_refused_before_anything_is_open() {
    let world = World::new();
    let db = |name: &str| format!("{name}=./x.sqlite");
    let (one, two, slash) = (db("DB"), db("LOG"), db("a/b"));
    let on = ["--d1-create", "--check-config", "--dev-registry=registry"];
    for (args, says) in [
        (
            vec!["--d1", &one, "--dev-name", "LOG=x"],
            "names the binding \"LOG\", which is not served; there is: DB",
        ),
        (
            vec!["--d1", &one, "--dev-name", "DB=a", "--dev-name", "DB=b"],
            "names the binding \"DB\" twice",
        ),
        (
            vec!["--d1", &one, "--d1", &two, "--dev-name", "LOG=DB"],
            "DB and LOG would both be DB",
        ),
        (
            vec!["--d1", &slash],
            "give it another one: --dev-name 'a/b=NAME'",
        ),
        (
            vec!["--d1", &one, "--dev-name", "DB=../x"],
            "names of files do not have",
        ),
        (
            vec!["--d1", &one, "--dev-name", "DB=.x"],
            "others use for something else",
        ),
    ] {
        let done = world.run(callee(), &[&args[..], &on].concat());
        assert!(
            matches!(done.code, Some(2 | 78)) && done.stderr.contains(says),
            "{args:?}: {done:?}"
        );
    }
    let done = world.run(
        callee(),
        &["--d1", &one, "--listen", "unix:./x", "--dev-name", "DB=x"],
    );
    assert!(
        done.code == Some(2) && done.stderr.contains("--dev-registry"),
        "{done:?}"
    );
    let file = "dev-registry = 7\nlisten = ['unix:./x']\n[d1.DB]\npath = 'x'\n";
    std::fs::write(world.path("callee.toml"), file).unwrap();
    let done = world.run(callee(), &["--config", "callee.toml", "--check-config"]);
    assert!(
        done.stderr
            .contains("callee.toml:1:16: dev-registry: write true, false or a path"),
        "{done:?}"
    );
    // A place that cannot be one.
    std::fs::write(world.path("file"), "").unwrap();
    let args = ["--d1", &one, "--d1-create", "--dev-registry=file/registry"];
    let done = world.run(callee(), &args);
    assert!(
        done.code == Some(78) && done.stderr.contains("cannot be made"),
        "{done:?}"
    );
}
