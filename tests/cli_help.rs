//! The help of both programs, as committed in `snapshots/`.
//!
//! After a change that is meant: `UPDATE_SNAPSHOTS=1 cargo test -p binding-span-daemons --test cli_help`

mod util;

use std::path::Path;
use std::process::Command;

/// A program, its arguments, and the file with what it prints.
type Case = (fn() -> Command, &'static [&'static str], &'static str);

const CASES: [Case; 11] = [
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
