//! What tests download, from package registries: tried again, since networks and registries have bad moments.

use std::io::ErrorKind;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Before each attempt but the first.
const PAUSES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(20),
];

/// Runs a command, which `make` makes for each attempt, until it succeeds; else what it said at last.
pub fn download(make: impl Fn(usize) -> Command) -> Result<(), String> {
    let mut problem = String::new();
    for (attempt, pause) in PAUSES.into_iter().enumerate() {
        thread::sleep(pause);
        let mut command = make(attempt);
        let program = command.get_program().to_string_lossy().into_owned();
        match command.output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                problem = String::from_utf8_lossy(&said).into_owned();
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(format!("{program} is not there: {error}"));
            }
            Err(error) => problem = format!("{program} does not run: {error}"),
        }
    }
    Err(problem)
}
