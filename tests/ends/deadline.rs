//! A deadline counts once, whatever the time is spent on.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::callee::{self, BINDING, Settings};
use crate::scene::{Ended, Route, Scene, Setup, path, post};
use crate::util::{self, Daemon, World};

/// What the call has, and what of that is gone before the callee hears anything.
const DEADLINE: Duration = Duration::from_secs(3);
const LATE: Duration = Duration::from_millis(2500);

/// Passes on what comes to a socket, each connection late.
fn late(at: PathBuf, to: PathBuf) {
    let listener = UnixListener::bind(at).unwrap();
    thread::spawn(move || {
        for near in listener.incoming() {
            let to = to.clone();
            thread::spawn(move || {
                thread::sleep(LATE);
                let (near, far) = (near.unwrap(), UnixStream::connect(to).unwrap());
                let pass = |mut from: UnixStream, mut to: UnixStream| {
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    })
                };
                let there = pass(near.try_clone().unwrap(), far.try_clone().unwrap());
                let _ = (pass(far, near).join(), there.join());
            });
        }
    });
}

/// The programs, with a callee that is reached late.
fn scene(route: Route) -> Scene {
    let world = World::new();
    let callee: Daemon = world
        .start(callee::command(&Settings::default()), &[])
        .ready();
    late(world.path("late.sock"), world.path(callee::SOCKET));
    let setup = Setup {
        deadline: Some(DEADLINE),
        ..Setup::default()
    };
    Scene::behind(route, &setup, world, Some(callee), "late.sock")
}

/// After the deadline, less what a callee that was reached leaves its answer, and not after both times.
#[track_caller]
fn in_time(what: &str, began: Instant) {
    let took = began.elapsed();
    println!("{what}: {took:?} of {DEADLINE:?}, connecting {LATE:?}");
    assert!(
        took > DEADLINE - Duration::from_millis(300),
        "{what}: {took:?}"
    );
    // A busy machine may be late, but not by that much.
    assert!(
        took < DEADLINE + Duration::from_millis(1500),
        "{what}: {took:?}"
    );
}

fn by_hand(scene: &Scene, more: &[&str]) -> Ended {
    let method = format!("{BINDING}.sleeps");
    let late = scene.world.unix("late.sock");
    let args = [
        "call",
        "--no-tree",
        "--deadline",
        "3s",
        "--connect",
        &late,
        &method,
    ];
    let done = scene.world.run(util::caller(), &[&args, more].concat());
    Ended {
        code: done.code.unwrap().to_string(),
        text: done.last_line().to_owned(),
        body: json!(null),
    }
}

#[track_caller]
fn passed(ended: &Ended, code: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(
        ended
            .text
            .contains("deadline of 3s passed without an answer"),
        "{ended:?}"
    );
}

#[test]
fn a_callee_that_is_reached_late_does_not_make_a_call_longer() {
    thread::scope(|scope| {
        scope.spawn(|| {
            for more in [&[][..], &["--connect-name", BINDING]] {
                let scene = scene(Route::Call);
                let began = Instant::now();
                let ended = by_hand(&scene, more);
                in_time(&format!("`caller call` {more:?}"), began);
                passed(&ended, "124");
            }
        });
        for route in [Route::Sidecar, Route::TwoSidecars] {
            scope.spawn(move || {
                let scene = scene(route);
                let began = Instant::now();
                let ended = scene.call("sleeps", &json!([])).end();
                in_time(route.name(), began);
                passed(&ended, "124");
                for span in scene.called("sleeps") {
                    assert_eq!(span.error_type(), Some("deadline"), "{span:?}");
                }
            });
        }
        scope.spawn(|| {
            let scene = scene(Route::Http);
            let began = Instant::now();
            let ended = scene.call("sleeps", &json!([])).end();
            in_time("HTTP", began);
            passed(&ended, "504");
        });
        // Which opens with CONNECT, and is answered late.
        scope.spawn(|| {
            let scene = scene(Route::Library);
            let config = format!(
                "listen = ['unix:./named.sock']\nhttp = 'unix:./named.http'\ndeadline = '3s'\n\
                 [bind.{BINDING}]\nto = 'unix:late.sock'\nconnect-name = '{BINDING}'\n"
            );
            std::fs::write(scene.world.path("named.toml"), config).unwrap();
            let args = ["serve", "--config", "named.toml"];
            let mut caller = scene.world.start(util::caller(), &args);
            caller.line("(HTTP, POST /v1/call/BINDING/METHOD)");
            let began = Instant::now();
            let ended = post(&scene.world.path("named.http"), &path("sleeps"), &json!([])).end();
            in_time("HTTP, CONNECT answered late", began);
            passed(&ended, "504");
        });
    });
}
