//! Daemons under a service manager: what they tell it, and the sockets that it hands over.
//!
//! The manager is the test: a real notification socket, real inherited descriptors. systemd itself is not
//! started.

mod util;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use util::{Daemon, LIMIT, World, callee, caller};

/// What daemons report to.
struct Manager(UnixDatagram);

impl Manager {
    fn new(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.path("notify")).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    /// The next report that has this in it.
    #[track_caller]
    fn told(&self, part: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            let n = self
                .0
                .recv(&mut bytes)
                .unwrap_or_else(|e| panic!("no {part}: {e}"));
            let text = String::from_utf8(bytes[..n].to_vec()).unwrap();
            if text.contains(part) {
                return text;
            }
        }
    }
}

/// A program that reports there.
fn managed(mut program: Command, world: &World) -> Command {
    program.env("NOTIFY_SOCKET", world.path("notify"));
    program
}

#[test]
fn both_daemons_say_when_they_are_ready_and_when_they_stop() {
    let world = World::new();
    world.database();
    let manager = Manager::new(&world);
    let (at, db) = (world.unix("callee.sock"), world.db());
    let callee = world.start(managed(callee(), &world), &["--listen", &at, "--d1", &db]);
    let ready = manager.told("READY=1");
    assert!(ready.contains("\nSTATUS=serving DB (D1, "), "{ready}");
    // It is true: nobody has waited for the line that says so.
    assert_eq!(world.query(&at, "select 1", &[]).rows(), json!([[1]]));

    let (listen, bind) = (world.unix("caller.sock"), format!("DB={at}"));
    let serve = ["serve", "--listen", &listen, "--bind", &bind];
    let caller = world.start(managed(caller(), &world), &serve);
    let ready = manager.told("READY=1");
    assert!(ready.contains("\nSTATUS=passing on DB to unix:"), "{ready}");

    for daemon in [caller, callee] {
        daemon.signal(Signal::TERM);
        let stopping = manager.told("STOPPING=1");
        assert!(stopping.contains("within 10s"), "{stopping}");
        assert!(daemon.end().success());
    }
}

#[test]
fn signs_of_life_come_twice_in_the_time_that_the_manager_waits_and_not_when_nobody_does() {
    let world = World::new();
    world.database();
    let manager = Manager::new(&world);
    let (at, db) = (world.unix("callee.sock"), world.db());
    let mut program = managed(callee(), &world);
    program.env("WATCHDOG_USEC", "400000");
    let began = std::time::Instant::now();
    let daemon = world.start(program, &["--listen", &at, "--d1", &db]);
    for _ in 0..3 {
        assert_eq!(manager.told("WATCHDOG"), "WATCHDOG=1\n");
    }
    assert!(
        began.elapsed().as_millis() >= 400,
        "the first at once, two more"
    );
    assert!(daemon.stop().success());

    let mut program = managed(callee(), &world);
    // Another process's.
    program
        .env("WATCHDOG_USEC", "1000")
        .env("WATCHDOG_PID", "1");
    let daemon = world.start(program, &["--listen", &at, "--d1", &db]);
    manager.told("READY=1");
    assert_eq!(world.query(&at, "select 1", &[]).rows(), json!([[1]]));
    daemon.signal(Signal::TERM);
    let mut bytes = [0; 4096];
    let n = manager.0.recv(&mut bytes).unwrap();
    assert!(bytes[..n].starts_with(b"STOPPING=1"), "nothing came before");
    assert!(daemon.end().success());
}

const HANGING: &str = "SYSTEMD_TEST_HANGING";

/// Not a test of its own: a daemon whose one method does not give its thread back for as long as it says.
#[test]
fn hanging_daemon() {
    let Ok(at) = std::env::var(HANGING) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    runtime.unwrap().block_on(async {
        tokio::task::spawn_local(daemons::systemd::watchdog());
        let listener = js_rpc::Listener::bind(&at.parse().unwrap()).await.unwrap();
        eprintln!("listening on {at}");
        let hang = js_rpc::service_fn(async |_: &str, args: js_rpc::Args, _: &js_rpc::Context| {
            thread::sleep(Duration::from_millis(args.first()?));
            js_rpc::nothing()
        });
        let server = js_rpc::Server::new().service("S", hang);
        server.serve([listener], std::future::pending()).await;
    });
}

#[test]
fn a_thread_that_hangs_gives_no_sign_of_life_and_gives_it_again_when_it_goes_on() {
    let world = World::new();
    let manager = Manager::new(&world);
    let at = world.unix("hanging.sock");
    let mut program = managed(Command::new(std::env::current_exe().unwrap()), &world);
    program.env("WATCHDOG_USEC", "200000").env(HANGING, &at);
    let args = ["--exact", "hanging_daemon", "--nocapture"];
    let daemon = world.start(program, &args).ready();
    manager.told("WATCHDOG=1");
    thread::scope(|scope| {
        let call = scope.spawn(|| world.call(&at, &["S.hang", "4000", "--no-tree"]));
        // Several times as long as between two signs: what was on its way has come; and then nothing does.
        thread::sleep(Duration::from_secs(2));
        manager.0.set_nonblocking(true).unwrap();
        while manager.0.recv(&mut [0; 4096]).is_ok() {}
        thread::sleep(Duration::from_secs(1));
        let error = manager.0.recv(&mut [0; 4096]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "no sign came");
        assert_eq!(call.join().unwrap().code, Some(0));
    });
    manager.0.set_nonblocking(false).unwrap();
    manager.told("WATCHDOG=1");
    daemon.kill();
}

#[test]
fn a_manager_that_is_not_there_costs_a_line_and_nothing_else() {
    let world = World::new();
    world.database();
    let (at, db) = (world.unix("callee.sock"), world.db());
    let program = managed(callee(), &world);
    let mut daemon = world.start(program, &["--listen", &at, "--d1", &db]);
    daemon.line("cannot tell the service manager (NOTIFY_SOCKET)");
    assert_eq!(world.query(&at, "select 1", &[]).rows(), json!([[1]]));
    assert!(daemon.stop().success());
}

/// Starts a program with inherited sockets, as a service manager does: descriptors from 3 on, and
/// variables that say so, of which `LISTEN_PID` is only known once the process is there.
fn activate(
    world: &World,
    program: &Command,
    sockets: [OwnedFd; 2],
    pid: &str,
    args: &[&str],
) -> Daemon {
    let script = format!(
        "export LISTEN_PID={pid} LISTEN_FDS=2 LISTEN_FDNAMES=rpc:tcp; \
         exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null"
    );
    let [first, second] = sockets;
    let mut shell = Command::new("sh");
    shell
        .env_clear()
        .envs(program.get_envs().filter_map(|(k, v)| Some((k, v?))));
    shell
        .arg("-c")
        .arg(script)
        .arg(program.get_program())
        .args(args);
    shell.current_dir(world.path("."));
    Daemon::spawn(shell.stdin(Stdio::from(first)).stdout(Stdio::from(second)))
}

/// A unix socket and one of TCP, as a `.socket` unit would open them; with the second one's address.
fn sockets(world: &World) -> (UnixListener, TcpListener, String) {
    let unix = UnixListener::bind(world.path("callee.sock")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = tcp.local_addr().unwrap().to_string();
    (unix, tcp, at)
}

#[test]
fn inherited_sockets_are_served_and_outlive_the_process_so_that_nobody_is_turned_away() {
    let world = World::new();
    world.database();
    let (unix, tcp, at) = sockets(&world);
    let on_unix = world.unix("callee.sock");
    let start = || {
        let sockets = [
            unix.try_clone().unwrap().into(),
            tcp.try_clone().unwrap().into(),
        ];
        let args = ["--listen", "systemd", "--d1", &world.db()];
        let mut daemon = activate(&world, &callee(), sockets, "$$", &args).ready();
        daemon.line(&format!("listening on {at}"));
        daemon
    };
    let first = start();
    for at in [&on_unix, &at] {
        assert_eq!(
            world.query(at, "select 1", &[]).rows(),
            json!([[1]]),
            "{at}"
        );
    }
    assert!(first.stop().success());
    assert!(
        world.path("callee.sock").exists(),
        "whoever made the file removes it"
    );

    // While nobody serves, a call waits; the next process serves it.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| world.query(&on_unix, "select 2", &[]));
        let second = start();
        assert_eq!(waiting.join().unwrap().rows(), json!([[2]]));
        assert!(second.stop().success());
    });
}

#[test]
fn sockets_are_chosen_by_name_for_one_binding_and_what_nobody_takes_is_said() {
    let world = World::new();
    world.database();
    let (unix, tcp, at) = sockets(&world);
    let args = ["--listen", "systemd:tcp,binding=DB", "--d1", &world.db()];
    let mut daemon = activate(&world, &callee(), [unix.into(), tcp.into()], "$$", &args);
    daemon.line("sockets were handed over that no --listen takes: rpc");
    daemon.line(&format!("listening on {at} (only DB)"));
    // Its own copy is closed with the process at the latest; until then it listens and is not served.
    assert!(UnixStream::connect(world.path("callee.sock")).is_ok());
    assert!(daemon.stop().success());
}

#[test]
fn sockets_that_are_not_there_or_not_ours_or_open_to_others_are_refused() {
    let world = World::new();
    world.database();
    let db = world.db();
    for (pid, listen, says) in [
        (
            "$$",
            "systemd:http",
            "no socket of that name was handed over; there is: rpc, tcp",
        ),
        ("1", "systemd", "no socket was handed over (LISTEN_FDS)"),
        ("$$", "systemd,tls", "those do without TLS"),
        ("$$", "systemd:tcp,tls", "--tls-cert"),
    ] {
        let (unix, tcp, _) = sockets(&world);
        let args = ["--listen", listen, "--d1", &db];
        let mut daemon = activate(&world, &callee(), [unix.into(), tcp.into()], pid, &args);
        daemon.line(says);
        assert_eq!(daemon.end().code(), Some(78), "{listen}");
        std::fs::remove_file(world.path("callee.sock")).unwrap();
    }
    let unix = UnixListener::bind(world.path("callee.sock")).unwrap();
    let public = TcpListener::bind("0.0.0.0:0").unwrap();
    let args = ["--listen", "systemd:tcp", "--d1", &db];
    let mut daemon = activate(&world, &callee(), [unix.into(), public.into()], "$$", &args);
    daemon.line("refusing to listen on 0.0.0.0:");
    assert_eq!(daemon.end().code(), Some(78));
    let done = world.run(callee(), &["--listen", "systemd", "--d1", &db]);
    assert_eq!(done.code, Some(78), "{done:?}");
}
