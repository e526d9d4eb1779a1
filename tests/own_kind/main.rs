//! A kind of binding of one's own, a folder (`echo/`), in the programs of this project: nothing but its name in a list
//! is needed for its options, tables, help, metrics, readiness, reload, commands and service.
//!
//! This executable is those programs with that list, where `OWN_KIND` says which.

mod echo;
#[path = "../util.rs"]
mod util;

use std::path::Path;
use std::process::{Command, ExitCode};

use daemons::kinds::Kinds;
use rustix::process::Signal;
use util::{Daemon, World};

const KINDS: Kinds = &[&echo::Echo];

fn main() -> ExitCode {
    match std::env::var("OWN_KIND").as_deref() {
        Ok("callee") => return daemons::callee::main_with(KINDS),
        Ok("bspan") => return daemons::bspan::main_with(KINDS),
        _ => {}
    }
    let tests: [(&str, fn()); 5] = [
        ("help_has_its_options_and_examples", help),
        ("it_is_configured_served_counted_and_reloaded", serving),
        ("what_is_wrong_is_said_in_its_words", wrong),
        ("its_command_is_one_of_bspan", command),
        ("callee_admin_port_and_metrics_name_no_kind", names),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    let passed = tests.len();
    println!("test result: ok. {passed} passed; 0 failed; 0 ignored");
    ExitCode::SUCCESS
}

fn program(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("OWN_KIND", name);
    command
}

fn help() {
    let help = util::finish(program("callee").arg("--help"), None).stdout;
    for expected in [
        "callee [OPTIONS] --listen <ADDR[,binding=NAME]> --echo <NAME=WORD>\n",
        "      --echo <NAME=WORD>\n",
        "`[echo.NAME]`",
        "callee --listen unix:/run/callee.sock --echo E=hello\n",
        "  An echo that is loud:\n",
    ] {
        assert!(help.contains(expected), "{expected}\n{help}");
    }
    for other in ["--d1", "--ai", "echo-max-length"] {
        assert!(!help.contains(other), "{other}\n{help}");
    }
    let limits = util::finish(program("callee").arg("--help-limits"), None).stdout;
    assert!(
        limits.contains("Echoes:\n      --echo-max-length <N>"),
        "{limits}"
    );
}

fn serving() {
    let world = World::new();
    let write = |rest: &str| {
        let head = "listen = ['unix:callee.sock']\nadmin = ['unix:admin.sock']\n";
        std::fs::write(world.path("callee.toml"), format!("{head}{rest}")).unwrap();
    };
    let say = |name: &str| {
        let done = world.call(
            &world.unix("callee.sock"),
            &[&format!("{name}.say"), "--no-tree"],
        );
        (done.code, done.stdout.trim().to_owned())
    };
    write("[echo.E]\nword = 'hello'\n");
    let mut callee = world.start(
        program("callee"),
        &["--config", "callee.toml", "--echo", "F=ho"],
    );
    callee.line("serving E (echo of hello), F (echo of ho)");
    assert_eq!(say("E"), (Some(0), "\"hello\"".into()));
    assert_eq!(say("F"), (Some(0), "\"ho\"".into()));
    let counted = "binding_span_echo_calls_total{binding=\"E\"} 1";
    let metrics = util::metrics(&world, "admin.sock");
    assert!(metrics.contains(counted), "{metrics}");

    // One that does not work makes the callee unready, and another word is taken up while it serves.
    write("[echo.E]\nword = 'broken'\n");
    reload(&mut callee, "changed E");
    assert_eq!(ready(&world), "HTTP/1.1 503 E: it is broken");
    write("[echo.G]\nword = 'new'\n");
    reload(&mut callee, "added G; removed E");
    assert_eq!(ready(&world), "HTTP/1.1 200 ok");
    assert_eq!(say("G"), (Some(0), "\"new\"".into()));
    assert!(callee.stop().success());
}

fn reload(callee: &mut Daemon, says: &str) {
    callee.signal(Signal::HUP);
    let said = callee.line("read the configuration again: ");
    assert!(said.contains(says), "{said}");
}

/// The status line and the first line of `/readyz`.
fn ready(world: &World) -> String {
    let answer = util::get(world, "admin.sock", "/readyz");
    let status = answer.get(..12).unwrap_or(&answer);
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    format!("{status} {}", body.lines().next().unwrap_or_default())
}

fn wrong() {
    let world = World::new();
    let checked = |text: &str| {
        std::fs::write(world.path("callee.toml"), text).unwrap();
        let done = world.run(
            program("callee"),
            &["--config", "callee.toml", "--check-config"],
        );
        assert_eq!(done.code, Some(78), "{}", done.stderr);
        done.last_line().to_owned()
    };
    let listen = "listen = ['unix:a']\n";
    let nothing = checked(listen);
    let expected =
        "there is nothing to serve; write [echo.NAME] with word = \"WORD\", or --echo NAME=WORD";
    assert!(nothing.ends_with(expected), "{nothing}");
    let key = checked(&format!("{listen}[echo.E]\nwort = 'a'\n"));
    assert!(
        key.ends_with("callee.toml:3:1: echo.E.wort: there is no such key; did you mean word?"),
        "{key}"
    );
    let other = checked(&format!("{listen}[d1.DB]\npath = 'a'\n"));
    assert!(
        other.contains("callee.toml:2:2: d1: there is no such key"),
        "{other}"
    );
}

fn command() {
    let world = World::new();
    let done = world.run(program("bspan"), &["echo", "hello"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "hello\n"));
    let done = world.run(program("bspan"), &["echo", "broken"]);
    assert_eq!((done.code, done.last_line()), (Some(1), "it is broken"));
    let help = world.run(program("bspan"), &["--help"]).stdout;
    assert!(help.contains("\n  echo "), "{help}");
}

/// What would have to be changed for the next kind.
fn names() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![
        src.join("kinds.rs"),
        src.join("bspan.rs"),
        src.join("cli.rs"),
    ];
    for folder in ["callee", "admin", "metrics"] {
        let entries = std::fs::read_dir(src.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    assert!(files.len() > 20, "{files:?}");
    let is_of = |word: &str, kind: &str| {
        let begins = word.get(..kind.len()).unwrap_or_default();
        let rest = word.get(kind.len()..).unwrap_or_default();
        // As a word, or as the first one of an identifier.
        begins.eq_ignore_ascii_case(kind) && !rest.starts_with(|c: char| c.is_ascii_lowercase())
    };
    for file in files {
        let text = util::read(&file);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let words: Vec<&str> = words.collect();
        for kind in bindings::kinds() {
            let named = words.iter().find(|word| is_of(word, kind.name()));
            assert_eq!(named, None, "{} in {}", kind.name(), file.display());
        }
    }
}
