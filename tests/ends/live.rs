//! With a live reader what a method says is heard as it says it: a call that has no answer has a name as well.

use std::fs::File;
use std::process::Stdio;

use serde_json::json;

use crate::callee::{ATTRIBUTE, NAME};
use crate::scene::{Route, Scene, Setup, until};
use crate::util::{self, Daemon};

/// A sidecar, its live reader, and a call whose name that reader has seen.
#[track_caller]
fn ends(killed: bool, code: &str, outcome: &str, error: Option<&str>) {
    let mut scene = Scene::new(Route::Sidecar, &Setup::default());
    let seen = scene.world.path("seen");
    let mut reader = util::caller();
    let admin = scene.world.unix("sidecar0.admin");
    reader
        .args(["tail", "--json", "--connect", &admin])
        .stdin(Stdio::null())
        .stdout(File::create(&seen).unwrap());
    let mut reader = Daemon::spawn(&mut reader);
    reader.line("following");
    let call = scene.call("sleeps", &json!([]));
    until("the reader sees the name", || {
        let seen = util::read(&seen);
        seen.contains(NAME) && seen.contains(ATTRIBUTE.1)
    });
    let ended = match killed {
        true => {
            scene.callee.take().unwrap().kill();
            call.end()
        }
        false => call.abandon(),
    };
    assert_eq!(ended.code, code, "{ended:?}");
    // `caller call` has no reader: it has the sidecar's answer, if there is one.
    let first = if killed { NAME } else { "jsRpcSession" };
    let spans = scene.called("sleeps");
    for (span, name) in spans.iter().zip([first, NAME]) {
        assert_eq!(span.name, name, "{span:?}");
        assert_eq!(span.outcome.as_deref(), Some(outcome), "{span:?}");
        assert_eq!(span.error_type(), error, "{span:?}");
    }
    assert_eq!(spans[1].get(ATTRIBUTE.0), Some(ATTRIBUTE.1), "{spans:?}");
    reader.kill();
    scene.stop();
}

#[test]
fn a_cancelled_call_is_named() {
    ends(false, "130", "canceled", None);
}

#[test]
fn a_call_that_was_lost_is_named() {
    ends(true, "69", "exception", Some("disconnected"));
}
