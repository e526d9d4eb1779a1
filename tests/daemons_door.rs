//! Who may connect to the daemons and whom they connect to; what they do when descriptors run out.

#[path = "../crates/js-rpc/tests/door_certs/mod.rs"]
mod certs;
mod util;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use certs::{Authority, Files};
use daemons::signals::Hangup;
use js_rpc::{Address, Args, Context, KeyPin, Listener, RpcLimits, Server, Service, ServiceResult};
use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use serde_json::json;
use util::{Daemon, Done, World, request};

/// A group and a user that need not have names.
const GROUP: u32 = 4242;
const USER: u32 = 4243;
const STRANGER: u32 = 4244;

/// Only root can become somebody else.
fn can_be_others() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("skipped: it takes root to be two users");
    }
    root
}

/// `caller call` as another user, whom the build's folder may be closed to.
fn query_as(world: &World, uid: u32, gid: u32, at: &str, more: &[&str]) -> Done {
    let program = world.path("caller-for-all");
    if !program.exists() {
        copy_program(&util::caller(), &program);
        open_folder(world);
    }
    let mut command = Command::new(program);
    command.uid(uid).gid(gid);
    let call = [
        "call",
        "--no-tree",
        "--connect",
        at,
        "DB.query",
        &request("select 1"),
    ];
    world.run(command, &[&call[..], more].concat())
}

/// Copies a program, by a process of its own: a descriptor of ours that is open for writing would be inherited
/// by whatever another test starts meanwhile, and a file that is written to cannot be run.
fn copy_program(program: &Command, to: &Path) {
    let mut copy = Command::new("install");
    copy.args(["-m", "755"]).arg(program.get_program()).arg(to);
    assert!(copy.status().unwrap().success(), "{copy:?}");
}

fn open_folder(world: &World) {
    let folder = world.path(".");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_group_is_admitted_and_within_it_only_users_who_are_named() {
    if !can_be_others() {
        return;
    }
    let world = World::new();
    world.database();
    let at = world.unix("callee.sock");
    let (group, user) = (GROUP.to_string(), USER.to_string());
    let ours = ["--peer-uid", "0"];

    let callee = world.callee(&["--socket-group", &group]);
    let meta = fs::symlink_metadata(world.path("callee.sock")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o660, GROUP));
    assert_eq!(
        query_as(&world, USER, GROUP, &at, &ours).rows(),
        json!([[1]])
    );
    let outside = query_as(&world, STRANGER, STRANGER, &at, &[]);
    assert_eq!(outside.code, Some(69), "{outside:?}");
    assert!(
        outside.last_line().contains("--socket-group"),
        "{outside:?}"
    );
    assert!(callee.stop().success());

    let mut callee = world.callee(&["--socket-group", &group, "--allow-uid", &user]);
    assert_eq!(query_as(&world, USER, GROUP, &at, &[]).rows(), json!([[1]]));
    assert_eq!(
        world.query(&at, "select 1", &[]).rows(),
        json!([[1]]),
        "our own user"
    );
    let other = query_as(&world, STRANGER, GROUP, &at, &[]);
    assert_eq!(other.code, Some(69), "{other:?}");
    assert!(other.last_line().contains("may not admit us"), "{other:?}");
    let line = callee.line("refused a connection");
    assert!(line.contains(&format!("uid {STRANGER}")), "{line}");
    assert!(line.contains("--allow-uid"), "{line}");
    assert!(callee.stop().success());

    // A socket that somebody else listens on is not talked to.
    let theirs = query_as(&world, USER, GROUP, &at, &[]);
    assert_eq!(theirs.code, Some(69), "nobody listens: {theirs:?}");
    let database = world.path("shop.sqlite");
    for file in ["", "-wal", "-shm"] {
        let path = format!("{}{file}", database.display());
        let _ = std::os::unix::fs::chown(&path, Some(USER), None);
    }
    std::os::unix::fs::chown(world.path("."), Some(USER), None).unwrap();
    let program = world.path("callee-for-all");
    copy_program(&util::callee(), &program);
    let mut program = Command::new(program);
    program.uid(USER).gid(GROUP);
    let db = world.db();
    let callee = world
        .start(program, &["--listen", &at, "--d1", &db])
        .ready();
    let done = world.query(&at, "select 1", &[]);
    assert_eq!(done.code, Some(69), "{done:?}");
    assert!(done.last_line().contains("--peer-uid 4243"), "{done:?}");
    // Root may open the socket, and is not the callee's user.
    let done = world.query(&at, "select 1", &["--peer-uid", &user]);
    assert_eq!(done.code, Some(69), "{done:?}");
    assert!(done.last_line().contains("may not admit us"), "{done:?}");
    assert!(callee.stop().success());
}

/// A world with an issuer, and certificates of a callee, a caller and an application.
struct Secured {
    world: World,
    authority: Authority,
    ca: String,
    callee: Files,
    caller: Files,
    app: Files,
}

impl Secured {
    fn new() -> Self {
        let world = World::new();
        world.database();
        let authority = Authority::new("ours");
        let folder = world.path(".");
        Self {
            ca: text(&authority.write(&folder, "ca")),
            callee: authority.issue(&folder, "callee", "localhost"),
            caller: authority.issue(&folder, "caller", "localhost"),
            app: authority.issue(&folder, "app", "app"),
            authority,
            world,
        }
    }

    fn start(
        &self,
        program: Command,
        listen: &str,
        files: &Files,
        more: &[&str],
    ) -> (Daemon, String) {
        let own = [
            "--listen",
            listen,
            "--tls-cert",
            files.cert(),
            "--tls-key",
            files.key(),
        ];
        let serves = match more.first() {
            Some(&"serve") => [&more[..1], &own, &more[1..]].concat(),
            _ => [&own, more].concat(),
        };
        ready(self.world.start(program, &serves))
    }

    fn serve(&self, more: &[&str]) -> (Daemon, String) {
        let db = self.world.db();
        let more = [&["--d1", &db], more].concat();
        self.start(util::callee(), "tls:127.0.0.1:0", &self.callee, &more)
    }

    fn query(&self, at: &str, more: &[&str]) -> Done {
        self.world
            .query(at, "select 1", &[&["--no-tree"], more].concat())
    }
}

/// Waits until it listens; where, by the name that certificates have.
fn ready(mut daemon: Daemon) -> (Daemon, String) {
    let line = daemon.line("listening on");
    let at = line.split("tls:").nth(1);
    let port = at.and_then(|at| at.split([':', ',']).nth(1)).unwrap();
    (daemon, format!("tls:localhost:{port}"))
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn both_ends_of_a_sidecar_show_certificates_and_renew_them_without_a_restart() {
    let secured = Secured::new();
    let ca = secured.ca.as_str();
    let (mut callee, db) = secured.serve(&["--tls-client-ca", ca]);
    // The sidecar is told by its file; options say the same.
    let file = format!(
        "listen = 'tls:127.0.0.1:0'\ntls-cert = {:?}\ntls-key = {:?}\ntls-ca = {ca:?}\n\
         tls-client-ca = {ca:?}\nconnections-per-peer = 8\n[bind.DB]\nto = '{db}'\n",
        secured.caller.cert(),
        secured.caller.key(),
    );
    fs::write(secured.world.path("caller.toml"), file).unwrap();
    let from_file = ["serve", "--config", "caller.toml"];
    let (mut caller, at) = ready(secured.world.start(util::caller(), &from_file));
    let app = [
        "--tls-ca",
        ca,
        "--tls-cert",
        secured.app.cert(),
        "--tls-key",
        secured.app.key(),
    ];
    assert_eq!(
        secured.query(&at, &app).rows(),
        json!([[1]]),
        "through both"
    );

    // Without a certificate, or with one of another issuer.
    for to in [&at, &db] {
        let done = secured.query(to, &["--tls-ca", ca]);
        assert_eq!(done.code, Some(69), "{done:?}");
        assert!(done.stderr.contains("it wants a certificate"), "{done:?}");
    }
    // Where the operator looks: the log of the side that refuses, as it is by default.
    for daemon in [&mut callee, &mut caller] {
        let line = daemon.line("refused a TLS connection of 127.0.0.1:");
        assert!(line.contains("WARN"), "{line}");
        assert!(line.contains("the peer has shown no certificate"), "{line}");
    }
    let stranger = Authority::new("theirs").issue(&secured.world.path("."), "stranger", "app");
    let shows = [
        "--tls-ca",
        ca,
        "--tls-cert",
        stranger.cert(),
        "--tls-key",
        stranger.key(),
    ];
    let done = secured.query(&db, &shows);
    assert!(done.stderr.contains("does not know who issued"), "{done:?}");

    // A renewed certificate, of a new key, is what the next connection sees.
    let pin = |files: &Files| KeyPin::of_public_key(&files.public_key).to_string();
    let renewed = secured
        .authority
        .issue(&secured.world.path("."), "renewed", "localhost");
    let new = pin(&renewed);
    let pinned = [&app[..], &["--tls-pin", &new]].concat();
    let done = secured.query(&db, &pinned);
    assert_eq!(done.code, Some(69), "{done:?}");
    assert!(done.stderr.contains("not one that is pinned"), "{done:?}");
    assert!(done.stderr.contains(&pin(&secured.callee)), "{done:?}");
    renewed.replace(&secured.callee);
    assert_eq!(secured.query(&db, &pinned).rows(), json!([[1]]));
    assert_eq!(secured.query(&at, &app).rows(), json!([[1]]));
    assert!(caller.stop().success());
    assert!(callee.stop().success());
}

#[test]
fn names_that_are_not_the_certificates_are_not_talked_to() {
    let secured = Secured::new();
    let (callee, at) = secured.serve(&[]);
    let by_address = at.replace("localhost", "127.0.0.1");
    let done = secured.query(&by_address, &["--tls-ca", &secured.ca]);
    assert_eq!(done.code, Some(69), "{done:?}");
    assert!(
        done.last_line()
            .contains("is not for 127.0.0.1 but for localhost;"),
        "{done:?}"
    );
    assert_eq!(
        secured.query(&at, &["--tls-ca", &secured.ca]).rows(),
        json!([[1]])
    );
    assert!(callee.stop().success());
}

#[test]
fn whoever_comes_without_tls_is_told_that_it_is_spoken_there_and_the_other_way_round() {
    let secured = Secured::new();
    let plain = "127.0.0.1:0";
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind(plain)
        .unwrap()
        .local_addr()
        .unwrap();
    let (free, admin) = (free.to_string(), format!("tls:{free}"));
    let more = [
        "--listen",
        plain,
        "--admin",
        &admin,
        "--tls-client-ca",
        &secured.ca,
    ];
    let (callee, at) = secured.serve(&more);
    let at = at
        .strip_prefix("tls:")
        .unwrap()
        .replace("localhost", "127.0.0.1");
    let spoken = "TLS is spoken there; write tls:host:port";
    for opening in [&[][..], &["--connect-name", "DB"]] {
        let done = secured.query(&at, opening);
        assert_eq!(done.code, Some(69), "{done:?}");
        assert!(done.last_line().contains(spoken), "{opening:?}: {done:?}");
        assert!(!done.stderr.contains("(\""), "debug output: {done:?}");
    }
    let end = ["--connect", &free];
    for ask in ["health", "tail"] {
        let done = secured
            .world
            .run(util::caller(), &[&[ask], &end[..]].concat());
        assert!(done.stderr.contains("is TLS spoken there?"), "{done:?}");
    }
    assert!(callee.stop().success());
    // A certificate that is its own authority says so in words.
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (secured.world.path("own.pem"), secured.world.path("own.key"));
    std::fs::write(&cert, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let files = [
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let (listen, db) = (["--listen", "tls:127.0.0.1:0", "--d1"], secured.world.db());
    let args = [&listen[..], &[&db], &files].concat();
    let (callee, at) = ready(secured.world.start(util::callee(), &args));
    for ca in [cert.to_str().unwrap(), &secured.ca] {
        let done = secured.query(&at, &["--tls-ca", ca]);
        assert!(
            !done.stderr.contains("Other") && !done.stderr.contains("(\""),
            "{done:?}"
        );
    }
    assert!(callee.stop().success());
}

#[test]
fn options_that_would_mean_less_than_they_say_are_refused() {
    let secured = Secured::new();
    let (db, at) = (secured.world.db(), secured.world.unix("callee.sock"));
    let (ca, cert, key) = (
        secured.ca.as_str(),
        secured.callee.cert(),
        secured.callee.key(),
    );
    let other = secured.app.key();
    let cases: [(&[&str], i32, &str); 9] = [
        (
            &["--listen", "tls:127.0.0.1:0"],
            78,
            "--tls-cert and --tls-key",
        ),
        (
            &["--listen", &at, "--tls-client-ca", ca],
            2,
            "begins with tls:",
        ),
        (&["--listen", &at, "--tls-cert", cert], 2, "--tls-key"),
        (
            &["--listen", &at, "--allow-uid", "4243"],
            2,
            "add --socket-group",
        ),
        (
            &["--listen", &at, "--allow-uid", "no one"],
            2,
            "there is no user",
        ),
        (&["--listen", &at, "--tls-client-pin", "abc"], 2, "sha256//"),
        (
            &["--listen", "tls:*:0", "--tls-cert", cert, "--tls-key", key],
            78,
            "say who may connect with --tls-client-ca",
        ),
        (
            &[
                "--listen",
                "tls:127.0.0.1:0",
                "--tls-cert",
                cert,
                "--tls-key",
                other,
            ],
            78,
            "the key is not this certificate's",
        ),
        (
            &[
                "--listen",
                "tls:127.0.0.1:0",
                "--tls-cert",
                cert,
                "--tls-key",
                "nowhere",
            ],
            78,
            "cannot read nowhere",
        ),
    ];
    for (args, code, says) in cases {
        let done = secured
            .world
            .run(util::callee(), &[args, &["--d1", &db]].concat());
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
        assert!(done.stderr.contains(says), "{args:?}: {}", done.stderr);
    }
    let cases: [(&[&str], i32, &str); 3] = [
        (
            &["tls:127.0.0.1:1"],
            2,
            "--tls-ca (who issues its certificate)",
        ),
        (&[&at, "--tls-ca", ca], 2, "begins with tls:"),
        (
            &["tls:127.0.0.1:1", "--tls-ca", "nowhere"],
            78,
            "cannot read nowhere",
        ),
    ];
    for (args, code, says) in cases {
        let done = secured.query(args[0], &args[1..]);
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
        assert!(done.stderr.contains(says), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn insecure_is_said_loudly_and_certificates_make_it_unnecessary() {
    let secured = Secured::new();
    let db = secured.world.db();
    let mut callee = secured.world.start(
        util::callee(),
        &["--listen", "*:0", "--d1", &db, "--insecure"],
    );
    callee.line("INSECURE: 0.0.0.0:");
    assert!(callee.ready().stop().success());
    let more = ["--d1", &db, "--tls-client-ca", &secured.ca];
    let (callee, _) = secured.start(util::callee(), "tls:*:0", &secured.callee, &more);
    assert!(callee.stop().success());
}

#[test]
fn connections_beyond_the_quota_are_closed_at_once_and_the_log_says_why() {
    let world = World::new();
    world.database();
    let mut callee = world.callee(&["--listen", "127.0.0.1:0", "--connections-per-peer", "2"]);
    let line = callee.line("listening on 127.0.0.1:");
    let tcp = line
        .split("listening on ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let held = [(); 2].map(|()| TcpStream::connect(tcp).unwrap());
    let mut flood: Vec<_> = (0..100).map(|_| TcpStream::connect(tcp).unwrap()).collect();
    for stream in &mut flood {
        stream.set_read_timeout(Some(util::LIMIT)).unwrap();
        // Closed, or reset.
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)), "nothing is said");
    }
    let line = callee.line("refused a connection of 127.0.0.1");
    assert!(
        line.contains("it has 2 open already (--connections-per-peer)"),
        "{line}"
    );
    let at = world.unix("callee.sock");
    assert_eq!(
        world.query(&at, "select 1", &[]).rows(),
        json!([[1]]),
        "another peer"
    );
    drop(held);
    callee.signal(rustix::process::Signal::TERM);
    let said = callee.rest();
    assert!(said.matches("refused a connection").count() < 5, "{said}");
    assert!(callee.end().success());
}

/// Clock ticks of processor time that a process has used, a hundredth of a second each.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn when_descriptors_run_out_what_is_open_goes_on_and_who_waits_is_served_later() {
    let world = World::new();
    world.database();
    let mut callee = world.callee(&[]);
    let id = callee.id();
    let path = world.path("callee.sock");
    let at = world.unix("callee.sock");
    // One that is open before.
    assert_eq!(world.query(&at, "select 1", &[]).rows(), json!([[1]]));
    let open = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count() as u64;
    let limit = |n| Rlimit {
        current: Some(n),
        maximum: Some(4096),
    };
    let pid = Pid::from_raw(id as i32);
    prlimit(pid, Resource::Nofile, limit(open + 4)).unwrap();
    let mut held: Vec<_> = (0..20)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    let line = callee.line("cannot accept");
    assert!(line.contains("what is open goes on"), "{line}");
    let (before, since) = (ticks(id), Instant::now());
    thread::sleep(Duration::from_secs(2));
    let used = ticks(id) - before;
    assert!(
        used < 20,
        "{used} ticks in {:?}: it is busy",
        since.elapsed()
    );
    // Descriptors are free again: whoever waited in the queue is served.
    held.clear();
    assert_eq!(world.query(&at, "select 1", &[]).rows(), json!([[1]]));
    callee.signal(rustix::process::Signal::TERM);
    let said = callee.rest();
    assert!(said.matches("cannot accept").count() <= 5, "{said}");
    assert!(callee.end().success());
}

/// The variable by which a test starts itself as a daemon, with the address of its socket.
const BLOCKED: &str = "DOOR_TEST_BLOCKED";

struct Blocks;

#[js_rpc::async_trait(?Send)]
impl Service for Blocks {
    async fn call(&self, _: &str, _: Args, _: &Context) -> ServiceResult {
        eprintln!("blocking");
        thread::sleep(util::LIMIT * 10);
        js_rpc::nothing()
    }
}

/// Not a test of its own: a daemon whose one method never gives its thread back.
#[test]
fn blocked_daemon() {
    let Ok(at) = std::env::var(BLOCKED) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let drain = Duration::from_millis(100);
        let shutdown =
            daemons::signals::Shutdown::install("blocked", drain, Hangup::Reload).unwrap();
        let at: Address = at.parse().unwrap();
        let listener = Listener::bind(&at).await.unwrap();
        eprintln!("listening on {at}");
        let limits = RpcLimits {
            drain,
            ..RpcLimits::default()
        };
        let server = Server::new().service("DB", Blocks).limits(limits);
        server.serve([listener], shutdown.requested()).await;
    });
}

#[test]
fn a_method_that_never_gives_its_thread_back_does_not_keep_the_daemon() {
    use rustix::process::Signal;
    let grace = daemons::signals::GRACE;
    // One signal and patience; or a second one.
    for (signals, codes, within) in [
        (&[Signal::TERM][..], [124, 124], grace * 2),
        (&[Signal::TERM, Signal::INT], [128 + 2, 128 + 2], grace),
    ] {
        let world = World::new();
        let at = world.unix("callee.sock");
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.env(BLOCKED, &at);
        let args = ["--exact", "blocked_daemon", "--nocapture"];
        let mut daemon = world.start(program, &args).ready();
        let call = thread::spawn(move || {
            let mut call = util::caller();
            call.args(["call", "--connect", &at, "DB.any"]);
            util::finish(&mut call, None)
        });
        daemon.line("blocking");
        let since = Instant::now();
        for signal in signals {
            daemon.signal(*signal);
            // What follows within a second is the same signal.
            thread::sleep(Duration::from_millis(1100));
        }
        let said = daemon.rest();
        let code = daemon.end().code().unwrap();
        assert!(codes.contains(&code), "{code}: {said}");
        assert!(since.elapsed() < within, "{:?}", since.elapsed());
        assert_eq!(said.contains("ended at once"), code == 124, "{said}");
        assert_eq!(call.join().unwrap().code, Some(69));
    }
}
