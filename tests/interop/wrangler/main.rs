//! Local development: a real `wrangler dev` and a real miniflare, pinned in `package-lock.json`, reach both daemons
//! by ordinary service bindings, and `caller call --dev` reaches their Workers.
//!
//! Each test has a registry of its own and needs no network. Without npm or its registry these tests fail and say so.

#[path = "../../util.rs"]
mod util;

mod session;

use session::{Wrangler, asking, at_home, miniflare};
use util::{World, attribute, attributes, bspan, callee, caller, opened};

/// Rows in an answer of D1's, in whichever form.
fn has_rows(answer: &str, rows: &str) -> bool {
    answer.contains(&format!("\"rows\":{rows}"))
}

#[test]
fn a_worker_under_wrangler_reaches_a_database_and_calls_reach_the_worker() {
    let world = World::new();
    world.database();
    let registry = format!("--dev-registry={}", world.text("registry"));
    let args = ["--d1", &world.db(), &registry];
    let daemon = world.start(callee(), &args).ready();
    let wrangler = Wrangler::start(&world);
    let (status, answer) = wrangler.query("DB", "select a + 1 as n from t");
    assert!(
        status == 200 && has_rows(&answer, "[[2],[3],[4]]"),
        "{answer}"
    );
    // A named entrypoint of a database is none, and says what there is; the next call is served.
    let (status, answer) = wrangler.query("NAMED", "select 1");
    assert_eq!(status, 500, "{answer}");
    assert!(
        answer.contains("no binding \"DB#Admin\" here; there is: DB"),
        "{answer}"
    );
    let (status, answer) = wrangler.query("DB", "select 'x' as n");
    assert!(status == 200 && has_rows(&answer, "[[\"x\"]]"), "{answer}");
    // What is not served this way is said, and so it is to others who ask for it.
    let (status, answer) = wrangler.get("/DB?fetch=");
    assert_eq!(status, 500, "{answer}");
    assert!(
        answer.contains("call a method of the binding instead"),
        "{answer}"
    );
    // wrangler's explorer asks every entry for what a session of wrangler has; without it there is just less to list.
    let (status, answer) = wrangler.get("/cdn-cgi/local/explorer/api/local/workers");
    assert!(
        status == 200 && answer.contains("\"name\":\"app\""),
        "{status} {answer}"
    );

    // The other way: every Worker in development has its name, and its entrypoints theirs.
    let dev = format!("--dev={}", world.text("registry"));
    let call = |args: &[&str]| world.run(caller(), &[&["call", &dev, "--no-tree"], args].concat());
    assert_eq!(call(&["app#Calculator.add", "1", "2"]).json(), 3);
    let done = call(&["app#Nobody.add", "1", "2"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    let done = call(&["nobody.add", "1", "2"]);
    assert_eq!(done.code, Some(69), "{done:?}");
    assert!(done.last_line().ends_with("there is: DB, app"), "{done:?}");

    // A daemon that stops leaves; one that starts is found, without another start of wrangler.
    assert!(daemon.stop().success());
    assert!(!world.path("registry/DB").exists());
    wrangler.until(&asking("DB", "select 1 as n"), "Worker \"DB\" not found");
    let daemon = world.start(callee(), &args).ready();
    let count = asking("DB", "select count(*) as n from t");
    let answer = wrangler.until(&count, "\"rows\"");
    assert!(has_rows(&answer, "[[3]]"), "{answer}");
    // Nor does one that was killed stand in the way of the next.
    daemon.kill();
    assert!(world.path("registry/DB").exists());
    wrangler.until(&count, "Network connection lost");
    let _daemon = world.start(callee(), &args).ready();
    wrangler.until(&count, "\"rows\":[[3]]");
}

#[test]
fn with_a_caller_in_between_the_call_of_a_worker_has_its_real_name() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let registry = format!("--dev-registry={}", world.text("registry"));
    let address = world.unix("callee.sock");
    let (bind, admin) = (format!("DB={address}"), format!("DB#Admin={address}#DB"));
    let tail = world.text("tail.jsonl");
    let args = [
        "serve",
        "--bind",
        &bind,
        "--bind",
        &admin,
        "--dev-name",
        "DB=shop",
        "--tail",
        &tail,
    ];
    let args = [&args[..], &[&registry]].concat();
    let daemon = world.start(caller(), &args).ready();
    let wrangler = Wrangler::start(&world);
    let (status, answer) = wrangler.query("SHOP", "select a from t where a = 2");
    assert!(status == 200 && has_rows(&answer, "[[2]]"), "{answer}");
    // Nor is a named entrypoint more than another binding.
    let (status, answer) = wrangler.query("ADMIN", "select a from t where a = 3");
    assert!(status == 200 && has_rows(&answer, "[[3]]"), "{answer}");
    // It is there under that name alone.
    let (_, answer) = wrangler.query("DB", "select 1");
    assert!(answer.contains("Worker \"DB\" not found"), "{answer}");
    assert!(daemon.stop().success());
    let events = world.tail("tail.jsonl");
    let names = opened(&events).into_iter().map(|(name, ..)| name);
    let names: Vec<String> = names.collect();
    assert_eq!(names, ["jsRpcSession", "jsRpcSession"], "{events:?}");
    let renamed = events.iter().any(|event| {
        let event = &event["event"];
        let info = &event["info"];
        let update = info["type"] == "name" && info["name"] == "d1.query";
        let attribute = info.as_array().is_some_and(|all| {
            all.iter()
                .any(|one| one["name"] == "span.name" && one["value"] == "d1.query")
        });
        update || attribute
    });
    assert!(renamed, "{events:?}");
    let statement = attribute(&events, "db.query.text");
    assert!(statement.is_some(), "{:?}", attributes(&events));
}

/// The guide, whose files and commands are what is run here.
const GUIDE: &str = include_str!("../../../docs/wrangler.md");

/// A section of it, to its end.
fn section(title: &str) -> &'static str {
    let rest = GUIDE.split(&format!("\n## {title}\n")).nth(1);
    rest.unwrap_or_else(|| panic!("no section {title}"))
}

/// The first text of a section that is marked as this language.
fn file(section: &'static str, language: &str) -> &'static str {
    let block = section.split(&format!("```{language}\n")).nth(1);
    block.and_then(|rest| rest.split("```").next()).unwrap()
}

/// The first command of a section that begins so; its arguments.
fn command(section: &'static str, program: &str) -> Vec<&'static str> {
    let line = section
        .lines()
        .find_map(|line| line.strip_prefix("    ")?.strip_prefix(program));
    line.unwrap_or_else(|| panic!("no {program}"))
        .split_whitespace()
        .collect()
}

#[test]
fn the_three_commands_of_the_guide_show_the_call_of_a_worker_under_its_real_name() {
    let world = World::new();
    let guide = section("Three commands");
    std::fs::write(world.path("wrangler.jsonc"), file(guide, "jsonc")).unwrap();
    std::fs::write(world.path("index.js"), file(guide, "js")).unwrap();
    let start = |command: &[&str]| world.start(at_home(bspan(), &world), command).ready();
    let callee = start(&[&["callee"], &command(guide, "bspan callee ")[..]].concat());
    let serve = start(&[&["serve"], &command(guide, "bspan serve ")[..]].concat());
    assert_eq!(command(guide, "npx "), ["wrangler", "dev"]);
    let wrangler = Wrangler::start_in(&world, &world.path(""));
    let (_, answer) = wrangler.get("/?name=Ada");
    assert_eq!(answer, "[[\"Ada\",1]]");
    let tail = command(guide, "bspan tail ");
    let args = [&["tail"], &tail[..], &["--since", "1h", "--no-follow"]].concat();
    let done = world.run(bspan(), &args);
    assert!(done.stdout.contains("jsRpcSession → d1.batch"), "{done:?}");

    // And the one command that does without the caller, once the others have ended.
    assert!(callee.stop().success());
    assert!(serve.stop().success());
    let alone = GUIDE
        .lines()
        .filter_map(|line| line.strip_prefix("    bspan callee "));
    let alone = { alone }
        .find(|line| line.ends_with("--dev-registry"))
        .unwrap();
    let args: Vec<&str> = alone.split_whitespace().collect();
    let _alone = start(&[&["callee"], &args[..]].concat());
    wrangler.until("/?name=Ada", "[[\"Ada\",2]]");
}

#[test]
fn a_worker_under_wrangler_has_the_models_of_the_guide_and_its_calls_their_names() {
    let world = World::new();
    let guide = section("Models");
    std::fs::write(world.path("wrangler.jsonc"), file(guide, "jsonc")).unwrap();
    std::fs::write(world.path("index.js"), file(guide, "js")).unwrap();
    let start = |command: &[&str]| world.start(at_home(bspan(), &world), command).ready();
    let _callee = start(&[&["callee"], &command(guide, "bspan callee ")[..]].concat());
    let serve = command(guide, "bspan serve ");
    let serve = start(&[&["serve", "--tail", "./tail.jsonl"], &serve[..]].concat());
    let wrangler = Wrangler::start_in(&world, &world.path(""));
    let (status, answer) = wrangler.get("/?prompt=one+two+three");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200, "{answer}");
    let counted = "The last message has 3 words: one two three";
    assert_eq!(answer["response"], counted);
    let streamed = answer["streamed"].as_str().unwrap();
    assert!(streamed.ends_with("data: [DONE]\n\n"), "{streamed}");
    // Both requests, the streamed one as well.
    assert!(serve.stop().success());
    let tail = std::fs::read_to_string(world.path("tail.jsonl")).unwrap();
    for part in ["chat @cf/meta/llama-3.1-8b-instruct", "ai_gateway.run"] {
        assert!(tail.contains(part), "{part}: {tail}");
    }
    let counts = "\"gen_ai.usage.output_tokens\",\"value\":9";
    assert_eq!(tail.matches(counts).count(), 2, "{tail}");
}

#[test]
fn miniflare_reaches_a_binding_by_an_external_service() {
    let world = World::new();
    world.database();
    // The name that miniflare sends is its own: the listener says which binding is meant.
    let db = world.db();
    let unix = format!("{},binding=DB", world.unix("db.sock"));
    let args = [
        "--d1",
        &db,
        "--listen",
        "127.0.0.1:0,binding=DB",
        "--listen",
        &unix,
    ];
    let mut daemon = world.start(callee(), &args);
    let line = daemon.line("listening on 127.0.0.1:");
    let daemon = daemon.ready();
    let address = line
        .split("listening on ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    for address in [address.unwrap(), &world.unix("db.sock")] {
        let answer = miniflare(&world, address, "select max(a) as n from t");
        assert!(has_rows(&answer, "[[3]]"), "{address}: {answer}");
    }
    // Through a caller as well.
    let bind = format!("DB={}", world.unix("db.sock"));
    let listen = format!("{},binding=DB", world.unix("caller.sock"));
    let args = ["serve", "--bind", &bind, "--listen", &listen];
    let _caller = world.start(caller(), &args).ready();
    let answer = miniflare(
        &world,
        &world.unix("caller.sock"),
        "select min(a) as n from t",
    );
    assert!(has_rows(&answer, "[[1]]"), "{answer}");
    drop(daemon);
}

#[test]
fn miniflare_reaches_a_binding_by_its_name_in_the_registry_that_it_has_by_itself() {
    let world = World::new();
    world.database();
    let args = ["--d1", &world.db(), "--dev-registry"];
    let _daemon = world.start(at_home(callee(), &world), &args).ready();
    let answer = miniflare(&world, "registry", "select sum(a) as n from t");
    assert!(has_rows(&answer, "[[6]]"), "{answer}");
}
