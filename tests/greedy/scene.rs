//! The programs, and an honest client of each kind.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::honest::{Kind, Threads, Took, Wire, post, query};
use super::http::{Http, http_of};
use super::util::{self, Daemon, LIMIT, World};

/// Calls of one measurement.
const CALLS: usize = 100;

pub struct Scene {
    pub ports: Ports,
    callee: Daemon,
    caller: Daemon,
}

/// Where they are.
pub struct Ports {
    pub world: World,
    pub http: String,
    pub admin: String,
}

/// An honest client of each kind, connected before anybody else comes. They belong to one thread.
struct Honest {
    callee: Wire,
    sidecar: Wire,
    http: Http,
}

thread_local! {
    static HONEST: RefCell<Option<Honest>> = const { RefCell::new(None) };
}

impl Scene {
    pub fn start() -> Self {
        let world = World::new();
        drop(world.database());
        let callee = world.callee(&[]);
        let (listen, bind) = (world.unix("caller.sock"), world.unix("callee.sock"));
        let bind = format!("DB={bind}");
        let (http, admin) = (["--http", "127.0.0.1:0"], ["--admin", "127.0.0.1:0"]);
        let args = [
            &["serve", "--listen", &listen, "--bind", &bind][..],
            &http,
            &admin,
        ]
        .concat();
        let mut caller = world.start(util::caller(), &args);
        let line = caller.line("admin port at");
        let at = line.split_once("admin port at ").unwrap().1;
        let admin = at.split_once(": GET").unwrap().0.to_owned();
        let http = http_of(&mut caller);
        HONEST.set(Some(Honest {
            callee: Wire::to(&world.unix("callee.sock")),
            sidecar: Wire::to(&world.unix("caller.sock")),
            http: Http::tcp(&http),
        }));
        let scene = Self {
            ports: Ports { world, http, admin },
            callee,
            caller,
        };
        // Who connects and says nothing is sent away.
        for kind in [Kind::Callee, Kind::Sidecar] {
            scene.once(kind).unwrap();
        }
        scene
    }

    /// Measures an honest client.
    pub fn honest(&self, kind: Kind) -> Took {
        // One that was idle for long is closed.
        HONEST.with_borrow_mut(|honest| {
            honest.as_mut().unwrap().http = Http::tcp(&self.ports.http);
        });
        let calls = if kind == Kind::LongHttp { 20 } else { CALLS };
        let threads = Threads::of([self.callee.id(), self.caller.id()]);
        Took::of(calls, &threads, || self.once(kind))
    }

    /// How long one honest call takes.
    pub fn probe(&self, kind: Kind) -> Duration {
        let began = Instant::now();
        let _ = self.once(kind);
        began.elapsed()
    }

    fn once(&self, kind: Kind) -> Result<(), String> {
        let short = || json!([query("select a from t where a = ?", json!([2]))]).to_string();
        HONEST.with_borrow_mut(|honest| {
            let honest = honest.as_mut().unwrap();
            match kind {
                Kind::Callee => honest.callee.call(),
                Kind::Sidecar => honest.sidecar.call(),
                Kind::Http => post(&mut honest.http, &short()),
                Kind::LongHttp => {
                    let sql = "select a from t where a = ? and length(?) > 0";
                    let long = json!([query(sql, json!([2, "x".repeat(70 << 10)]))]);
                    post(&mut honest.http, &long.to_string())
                }
                Kind::Admin => ["/livez", "/readyz"]
                    .into_iter()
                    .try_for_each(|path| self.get(path)),
            }
        })
    }

    fn get(&self, path: &str) -> Result<(), String> {
        let mut stream = TcpStream::connect(&self.ports.admin).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        let asked = stream.write_all(head.as_bytes());
        let read = asked.and_then(|()| stream.read_to_string(&mut answer));
        match (read, answer.starts_with("HTTP/1.1 200")) {
            (Ok(_), true) => Ok(()),
            (read, _) => Err(format!("{path}: {read:?} {answer:.100}")),
        }
    }

    /// What both programs have held at most since they began, in bytes.
    pub fn memory(&self) -> u64 {
        let peak = |daemon: &Daemon| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))
                .unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
        };
        peak(&self.callee) + peak(&self.caller)
    }

    pub fn stop(self) {
        HONEST.take();
        assert!(self.caller.stop().success());
        assert!(self.callee.stop().success());
    }
}
