//! rotel, an OpenTelemetry collector that is not ours, as the receiver of spans: it prints every span that
//! it gets.
//!
//! Sets up what it needs below the target folder; without python3, pip or a package registry it fails and
//! says what is missing.

use std::collections::HashSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::setup;
use crate::util::{LIMIT, World, read};

/// How often it is looked what rotel does.
const PAUSE: Duration = Duration::from_millis(20);

/// The program, installed once.
static AGENT: LazyLock<PathBuf> = LazyLock::new(|| {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rotel-venv");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/rotel");
    let requirements = folder.join("requirements.txt");
    let wanted = std::fs::read(&requirements).unwrap();
    let installed = venv.join("installed.txt");
    if std::fs::read(&installed).ok().as_ref() != Some(&wanted) {
        let make = ["-m", "venv", "--clear", venv.to_str().unwrap()];
        set_up("python3", &make, "python3 with venv (Debian: python3-venv)");
        let from = requirements.to_str().unwrap();
        let pip = [
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            from,
        ];
        let python = venv.join("bin/python");
        set_up(
            python.to_str().unwrap(),
            &pip,
            "pip and a Python package registry",
        );
        std::fs::write(&installed, wanted).unwrap();
    }
    let found = std::fs::read_dir(venv.join("lib")).unwrap();
    let mut found = found.map(|python| {
        python
            .unwrap()
            .path()
            .join("site-packages/rotel/rotel-agent")
    });
    found
        .find(|agent| agent.is_file())
        .expect("the wheel has the program")
});

fn set_up(program: &str, args: &[&str], needs: &str) {
    let made = setup::download(|_| {
        let mut command = Command::new(program);
        command.args(args);
        command
    });
    if let Err(problem) = made {
        panic!("the tests with rotel need {needs}:\n{problem}");
    }
}

/// A span as it prints it; values as `Int(3)`, `Str(users)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub service: String,
    pub trace: String,
    pub parent: String,
    pub id: String,
    pub name: String,
    pub kind: String,
    pub status: String,
    pub message: String,
    pub attributes: Vec<(String, String)>,
}

impl Seen {
    /// The value of an attribute; it must not be there twice.
    #[track_caller]
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut found = self.attributes.iter().filter(|(known, _)| known == key);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{key} is there twice: {self:?}");
        value
    }
}

/// A running rotel; killed when dropped.
pub struct Rotel {
    child: Child,
    folder: PathBuf,
    output: PathBuf,
    grpc: u16,
    http: u16,
}

impl Rotel {
    /// Starts it and waits until both ports are open. Whoever takes one of them first is left alone: it
    /// starts again, with others.
    pub fn start(world: &World) -> Self {
        let started = (0..5).find_map(|_| {
            let (grpc, http) = (free_port(), free_port());
            Self::on(&world.path(""), "rotel", grpc, http)
        });
        started.unwrap_or_else(|| panic!("rotel ended:\n{}", read(&world.path("rotel.txt"))))
    }

    /// None if it ended.
    fn on(folder: &Path, name: &str, grpc: u16, http: u16) -> Option<Self> {
        let output = folder.join(format!("{name}.txt"));
        let out = std::fs::File::create(&output).unwrap();
        let child = Command::new(&*AGENT)
            .current_dir(folder)
            .arg("start")
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--exporter", "blackhole", "--batch-timeout", "20ms"])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--pid-file", &format!("{name}.pid")])
            .args(["--log-file", &format!("{name}.log")])
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .unwrap();
        let mut rotel = Self {
            child,
            folder: folder.to_owned(),
            output,
            grpc,
            http,
        };
        let limit = Instant::now() + LIMIT;
        for port in [grpc, http] {
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                if rotel.child.try_wait().unwrap().is_some() {
                    return None;
                }
                assert!(Instant::now() < limit, "{}", read(&rotel.output));
                std::thread::sleep(PAUSE);
            }
        }
        Some(rotel)
    }

    /// Kills it, by SIGKILL; what it has printed can still be read.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Another one, after this one was killed: on the same ports, with a file of its own to print to.
    pub fn again(&self, name: &str) -> Self {
        Self::on(&self.folder, name, self.grpc, self.http).expect("its ports are free again")
    }

    pub fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// All that it has printed so far.
    pub fn seen(&self) -> Vec<Seen> {
        parse(&read(&self.output))
    }

    /// Waits until it has printed so many spans.
    #[track_caller]
    pub fn spans(&mut self, n: usize) -> Vec<Seen> {
        self.wait(|rotel| rotel.seen().len() >= n);
        self.seen()
    }

    /// The ids of the spans that it has printed so far.
    pub fn ids(&self) -> HashSet<String> {
        self.seen().into_iter().map(|span| span.id).collect()
    }

    /// Waits until it has printed so many different spans; their ids.
    #[track_caller]
    pub fn until_ids(&mut self, n: usize) -> HashSet<String> {
        self.wait(|rotel| rotel.ids().len() >= n);
        self.ids()
    }

    /// Waits until what it has printed is so.
    #[track_caller]
    pub fn until(&mut self, until: impl Fn(&[Seen]) -> bool) {
        self.wait(|rotel| until(&rotel.seen()));
    }

    /// It prints to a file, and opens ports, without telling us.
    #[track_caller]
    fn wait(&mut self, until: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + LIMIT;
        while !until(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < limit,
                "rotel ({ended:?}) printed:\n{}",
                read(&self.output)
            );
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody has right now, and that nobody is given who does not care which: those begin at 32768.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn parse(text: &str) -> Vec<Seen> {
    let mut service = String::new();
    let mut spans: Vec<Seen> = Vec::new();
    // Whole lines; the last one may still be written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut of_span = false;
    for line in whole.lines() {
        let line = line.trim();
        if line.starts_with("ResourceSpans #") {
            of_span = false;
        } else if line.starts_with("Span #") {
            of_span = true;
            spans.push(Seen {
                service: service.clone(),
                ..Seen::default()
            });
        }
        if let Some((key, value)) = line.strip_prefix("-> ").and_then(|l| l.split_once(": ")) {
            match spans.last_mut() {
                Some(span) if of_span => span.attributes.push((key.into(), value.into())),
                _ if key == "service.name" => {
                    let name = value.strip_prefix("Str(").and_then(|v| v.strip_suffix(')'));
                    name.unwrap_or(value).clone_into(&mut service);
                }
                _ => {}
            }
        } else if let (Some(span), Some((key, value))) = (spans.last_mut(), line.split_once(':')) {
            let field = match key.trim() {
                "Trace ID" => &mut span.trace,
                "Parent ID" => &mut span.parent,
                "ID" => &mut span.id,
                "Name" => &mut span.name,
                "Kind" => &mut span.kind,
                "Status code" => &mut span.status,
                "Status message" => &mut span.message,
                _ => continue,
            };
            value.trim().clone_into(field);
        }
    }
    spans
}
