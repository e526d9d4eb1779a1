//! What a network does to a call: before its write is committed, and after, while the answer is on its way.

use serde_json::json;

use crate::relay::Mode;
use crate::scene::{Scene, WAYS, Way, failed};
use crate::util::{Done, request};

/// How a call ends.
enum Ends {
    /// With its result.
    Answered,
    /// Because the connection was lost.
    Lost,
    /// Because nothing came in time.
    Late,
}

impl Ends {
    #[track_caller]
    fn check(self, done: &Done) {
        match self {
            Self::Answered => assert_eq!(done.json()["success"], json!(true)),
            Self::Lost => failed(
                done,
                69,
                &[
                    "caller: connection lost: ",
                    "whether the call ran is not known",
                ],
            ),
            Self::Late => failed(done, 124, &["caller: deadline of 3s passed"]),
        }
    }
}

/// A deadline that a busy machine does not reach, unless nothing comes.
fn deadline(fault: Mode) -> &'static str {
    if fault == Mode::Stall { "3s" } else { "50s" }
}

fn before_the_commit(way: Way, fault: Mode) {
    let mut scene = Scene::new(way);
    let (value, call) = scene.write_that_waits(&["--deadline", deadline(fault)]);
    scene.relay.set(fault);
    let ends = if fault == Mode::Stall {
        Ends::Late
    } else {
        Ends::Lost
    };
    ends.check(&call.join().unwrap());
    scene.release();
    scene.works();
    assert!(scene.count(value) <= 1, "{way:?} {fault:?}");
    scene.end();
}

fn after_the_commit(way: Way, fault: Mode) {
    let mut scene = Scene::new(way);
    let (value, call) = scene.write_that_waits(&["--deadline", deadline(fault)]);
    scene.hold_answer(value);
    scene.relay.set(fault);
    let ends = match fault {
        Mode::Stall => Ends::Late,
        // An answer that is there is read, whoever has no more to say.
        Mode::EndRequests => Ends::Answered,
        _ => Ends::Lost,
    };
    ends.check(&call.join().unwrap());
    scene.works();
    assert_eq!(scene.count(value), 1, "{way:?} {fault:?}: it was committed");
    scene.end();
}

fn in_every_way(fault: Mode) {
    for way in WAYS {
        println!("{way:?}");
        before_the_commit(way, fault);
        after_the_commit(way, fault);
    }
}

#[test]
fn a_reset_costs_the_call_and_nothing_that_was_committed() {
    in_every_way(Mode::Reset);
}

#[test]
fn no_more_requests_cost_the_calls_that_are_not_answered() {
    in_every_way(Mode::EndRequests);
}

#[test]
fn no_more_replies_cost_the_call_and_nothing_that_was_committed() {
    in_every_way(Mode::EndReplies);
}

#[test]
fn a_stall_ends_with_the_deadline() {
    in_every_way(Mode::Stall);
}

#[test]
fn a_stall_behind_a_sidecar_ends_with_the_sidecars_deadline() {
    let mut scene = Scene::with(Way::Back, &["--deadline", "3s"]);
    let (value, call) = scene.write_that_waits(&["--deadline", "50s"]);
    scene.relay.set(Mode::Stall);
    Ends::Late.check(&call.join().unwrap());
    scene.release();
    scene.works();
    assert!(scene.count(value) <= 1);
    scene.end();
}

#[test]
fn bytes_that_come_one_by_one_are_a_call_as_any_other() {
    for way in WAYS {
        let scene = Scene::new(way);
        scene.relay.set(Mode::Dribble);
        let (value, call) = scene.write(&["--deadline", "50s"]);
        Ends::Answered.check(&call.join().unwrap());
        assert_eq!(scene.count(value), 1);
        let long = request("select replace(hex(zeroblob(10000)), '0', 'x') as long");
        let done = scene.world.call(&scene.at, &["DB.query", &long]);
        let rows = done.rows();
        assert_eq!(rows[0][0].as_str().unwrap().len(), 20_000, "{way:?}");
        scene.works();
        scene.end();
    }
}
