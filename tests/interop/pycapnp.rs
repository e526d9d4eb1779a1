//! pycapnp, another implementation of Cap'n Proto, as callee and as caller of the inventory service in
//! `examples/your-own-service`. It loads the same schema files.
//!
//! Sets up what it needs below the target folder; without python3, pip or a package registry it fails
//! and says what is missing.

#[path = "../../crates/binding-span/tests/other_project/mod.rs"]
mod other_project;
#[path = "setup.rs"]
mod setup;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use other_project::{build_dir, target_dir};

/// The folder of the Python programs.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/pycapnp")
}

/// The Python that has pycapnp, made once.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let venv = target_dir().join("pycapnp-venv");
    let python = venv.join("bin/python");
    let requirements = folder().join("requirements.txt");
    let wanted = std::fs::read(&requirements).unwrap();
    let installed = venv.join("installed.txt");
    if std::fs::read(&installed).ok().as_ref() != Some(&wanted) {
        let venv = ["-m", "venv", "--clear", venv.to_str().unwrap()];
        set_up("python3", &venv, "python3 with venv (Debian: python3-venv)");
        let from = requirements.to_str().unwrap();
        let pip = [
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "-r",
            from,
        ];
        set_up(
            python.to_str().unwrap(),
            &pip,
            "pip and a Python package registry",
        );
        std::fs::write(&installed, wanted).unwrap();
    }
    python
});

fn set_up(program: &str, args: &[&str], needs: &str) {
    let made = setup::download(|_| {
        let mut command = Command::new(program);
        command.args(args);
        command
    });
    if let Err(problem) = made {
        panic!("the interoperability test with pycapnp needs {needs}:\n{problem}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program of the example, built.
fn example(program: &str) -> PathBuf {
    let mut build = other_project::cargo("build", "../../examples/your-own-service");
    let output = build.arg("--bins").output().expect("cargo runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    build_dir().join("debug").join(program)
}

fn python(script: &str) -> Command {
    let mut command = Command::new(&*PYTHON);
    // No caches beside the sources.
    command.arg("-B").arg(folder().join(script));
    command
}

/// A server that is stopped when the test is over, and the address that it printed.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").map(String::from);
        Self {
            process,
            address: address.unwrap_or_else(|| panic!("it printed {line:?}")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a client to its end, which must come within a minute.
fn run(mut command: Command) -> Output {
    let (done, output) = mpsc::channel();
    std::thread::spawn(move || done.send(command.output()));
    let output = output.recv_timeout(Duration::from_secs(60));
    let output = output.expect("it ends").expect("it starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

#[test]
fn a_callee_in_python_names_and_tags_the_span_of_a_rust_caller() {
    let server = Server::start(python("server.py"));
    let mut client = Command::new(example("inventory-client"));
    client.args([&server.address, "nut", "careless", "quiet"]);
    let output = run(client);
    assert_eq!(text(&output.stdout), "nut: 3\ncareless: 8\nquiet: 5\n");
    let log = text(&output.stderr);
    let said = r#"name="python.lookup" attributes=language="python" shelf=-9223372036854775808 weight=1.5 fragile=true tags=["new", "", "schön"] sizes=[1.0, 2.5]"#;
    assert!(log.contains(said), "{log}");
    assert!(log.contains("attributes=kept=true dropped=3"), "{log}");
    assert!(
        log.contains("dropped name_too_long=1 key_too_long=1 list_too_long=1"),
        "{log}"
    );
    assert_eq!(log.matches("span enriched").count(), 2, "{log}");
}

#[test]
fn a_caller_in_python_reads_what_a_rust_callee_said() {
    let mut client = python("client.py");
    let mut server = Command::new(example("inventory-server"));
    server.arg("127.0.0.1:0");
    let server = Server::start(server);
    client.args([&server.address, "nut", "no such thing"]);
    let lines = text(&run(client).stdout);
    let expected = concat!(
        r#"{"count": 41, "name": "inventory.lookup", "attributes": [["inventory.shelf", "int64", 7]]}"#,
        "\n",
        r#"{"count": 0, "name": null, "attributes": null}"#,
        "\n"
    );
    assert_eq!(lines, expected);
}
