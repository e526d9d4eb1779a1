//! Completions and manual pages: they have every option of the programs, and the shells that are here can
//! read them.

mod util;

use std::collections::BTreeSet;
use std::process::Command;

use util::{Done, World, callee, caller, finish};

/// A program, and its commands.
type Program = (fn() -> Command, &'static str, &'static [&'static str]);

const PROGRAMS: [Program; 3] = [
    (callee, "callee", &[""]),
    (caller, "caller", &["", "call", "serve", "health", "demo"]),
    (
        util::bspan,
        "bspan",
        &["", "call", "serve", "health", "demo", "tail", "callee"],
    ),
];

/// The options in the help of a command.
fn options(program: fn() -> Command, command: &str) -> BTreeSet<String> {
    let args = [command, "--help"]
        .into_iter()
        .filter(|arg| !arg.is_empty());
    let help = finish(program().args(args), None).stdout;
    let lines = help.lines().map(str::trim_start);
    let line = |line: &str| {
        let at = line.starts_with('-').then(|| line.find("--"))??;
        let name: String = line[at..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        Some(name)
    };
    let found: BTreeSet<String> = lines.filter_map(line).collect();
    assert!(found.contains("--help"), "{help}");
    found
}

fn generate(world: &World, program: fn() -> Command, what: &[&str]) -> Done {
    let done = world.run(program(), &[&["--generate"], what].concat());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{what:?}");
    done
}

#[test]
fn completions_have_every_option_of_every_command() {
    let world = World::new();
    for (program, name, commands) in PROGRAMS {
        for shell in ["bash", "zsh", "fish"] {
            let text = generate(&world, program, &[shell]).stdout;
            for option in commands
                .iter()
                .flat_map(|command| options(program, command))
            {
                let written = match shell {
                    "fish" => format!("-l {}", &option[2..]),
                    _ => option,
                };
                assert!(text.contains(&written), "{name} {shell}: {written}");
            }
        }
    }
}

#[test]
fn bash_reads_its_completions_and_completes_with_them() {
    let world = World::new();
    for (program, name, typed, offered) in [
        (callee as fn() -> Command, "callee", "--d1", "--d1-create"),
        (caller, "caller", "ser", "serve"),
    ] {
        let text = generate(&world, program, &["bash"]).stdout;
        std::fs::write(world.path("completions"), text).unwrap();
        let script = format!(
            "source ./completions && COMP_WORDS=({name} {typed}) COMP_CWORD=1 && \
             _{name} {name} {typed} {name} && printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let done = world.run(Command::new("bash"), &["--norc", "-c", &script]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        assert!(done.stdout.lines().any(|line| line == offered), "{done:?}");
    }
}

#[test]
fn there_is_a_manual_page_for_each_command_with_its_options_and_examples() {
    let world = World::new();
    for (program, _, _) in PROGRAMS {
        generate(&world, program, &["man", "man1"]);
    }
    let pages: BTreeSet<String> = std::fs::read_dir(world.path("man1"))
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected = BTreeSet::new();
    for (program, name, commands) in PROGRAMS {
        for command in commands {
            let page = match *command {
                "" => format!("{name}.1"),
                command => format!("{name}-{command}.1"),
            };
            let text = std::fs::read_to_string(world.path("man1").join(&page)).unwrap();
            let text = text.replace("\\-", "-");
            for option in options(program, command) {
                assert!(text.contains(&option), "{page}: {option}");
            }
            assert!(text.contains(".SH SYNOPSIS"), "{page}");
            expected.insert(page);
        }
    }
    assert!(pages.is_superset(&expected), "{pages:?}");
    assert!(
        !pages.contains("caller-demo-callee.1") && !pages.contains("caller-help.1"),
        "{pages:?}"
    );
    // Examples keep their lines.
    let text = std::fs::read_to_string(world.path("man1/callee.1")).unwrap();
    assert!(
        text.contains("BINDING_SPAN_LISTEN"),
        "its variable stands beside each option"
    );
    assert!(
        text.contains(".nf\n") && text.contains("\n    callee \\-\\-listen"),
        "{text}"
    );
}

#[test]
fn what_the_environment_says_is_in_no_page() {
    let world = World::new();
    let mut program = callee();
    program.env("BINDING_SPAN_TLS_KEY", "/secret/place");
    assert_eq!(
        world.run(program, &["--generate", "man", "man1"]).code,
        Some(0)
    );
    let text = std::fs::read_to_string(world.path("man1/callee.1")).unwrap();
    assert!(!text.contains("/secret/place"));
}

#[test]
fn another_request_is_told_what_there_is() {
    let world = World::new();
    for args in [
        &["--generate"][..],
        &["--generate", "perl"],
        &["--generate", "man"],
    ] {
        for (program, _, _) in PROGRAMS {
            let done = world.run(program(), args);
            assert_eq!(done.code, Some(2), "{done:?}");
            assert!(done.last_line().contains("bash, zsh or fish"), "{done:?}");
        }
    }
    let done = world.run(callee(), &["--generate", "man", "/proc/nowhere"]);
    assert_eq!(done.code, Some(74), "{done:?}");
}
