//! The help of both programs, as committed in `snapshots/`.
//!
//! After a change that is meant: `UPDATE_SNAPSHOTS=1 cargo test -p binding-span-daemons --test cli_help`

mod util;

use std::path::Path;
use std::process::Command;

/// A program, its arguments, and the file with what it prints.
type Case = (fn() -> Command, &'static [&'static str], &'static str);

const CASES: [Case; 14] = [
    (util::callee, &["-h"], "callee.short.txt"),
    (util::callee, &["--help"], "callee.long.txt"),
    (util::caller, &["-h"], "caller.short.txt"),
    (util::caller, &["--help"], "caller.long.txt"),
    (util::caller, &["call", "-h"], "caller-call.short.txt"),
    (util::caller, &["call", "--help"], "caller-call.long.txt"),
    (util::caller, &["health", "-h"], "caller-health.txt"),
    (util::caller, &["serve", "-h"], "caller-serve.short.txt"),
    (util::caller, &["serve", "--help"], "caller-serve.long.txt"),
    (util::caller, &["tail", "-h"], "caller-tail.short.txt"),
    (util::caller, &["tail", "--help"], "caller-tail.long.txt"),
    (util::callee, &["--help-limits"], "callee.limits.txt"),
    (util::bspan, &["-h"], "bspan.short.txt"),
    (util::bspan, &["serve", "-h"], "bspan-serve.short.txt"),
];

#[test]
fn the_help_is_as_committed_and_fits_a_terminal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/snapshots");
    for (program, args, file) in CASES {
        let done = util::finish(program().args(args), None);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{file}");
        let wide = done.stdout.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{file}");
        let path = folder.join(file);
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &done.stdout).unwrap();
        }
        let committed = util::read(&path);
        assert!(
            committed == done.stdout,
            "{file} is not what is printed; if that is meant: \
             UPDATE_SNAPSHOTS=1 cargo test -p binding-span-daemons --test cli_help\n{}",
            done.stdout
        );
    }
}

#[test]
fn the_limits_have_a_help_of_their_own_a_line_each() {
    let limits = util::finish(util::callee().arg("--help-limits"), None).stdout;
    let each: Vec<&str> = limits
        .lines()
        .filter(|line| line.starts_with("      --limit-"))
        .collect();
    assert!(each.len() > 30, "{limits}");
    let databases = limits.split("Databases:").nth(1).unwrap();
    for bound in [
        "parameters",
        "sql",
        "value",
        "columns",
        "statements",
        "rows",
        "result",
    ] {
        let option = format!("      --d1-max-{bound} <");
        assert!(databases.contains(&option), "{bound}: {limits}");
    }
    // And the manual page has them.
    let world = util::World::new();
    world.run(util::callee(), &["--generate", "man", "man"]);
    let page = util::read(&world.path("man/callee.1")).replace('\\', "");
    assert!(page.contains("--limit-queued"), "{page}");
    for (program, args) in [
        (util::caller as fn() -> Command, &["serve"][..]),
        (util::bspan, &["serve"]),
        (util::bspan, &["callee"]),
    ] {
        let done = util::finish(program().args(args).arg("--help-limits"), None);
        let of_all = |text: &str| {
            text.split("\n\n")
                .find(|part| part.starts_with("Limits:"))
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            (done.code, of_all(&done.stdout)),
            (Some(0), of_all(&limits))
        );
        let help = util::finish(program().args(args).arg("--help"), None).stdout;
        assert!(
            !help.contains("--limit-q")
                && !help.contains("--d1-max-")
                && help.contains("--help-limits"),
            "{help}"
        );
        assert!(help.lines().count() < 430, "{}", help.lines().count());
    }
}
