//! A database that another program has locked.

use serde_json::json;

use crate::scene::{Scene, WAYS, failed};

#[test]
fn a_lock_that_is_not_let_go_of_is_said_and_reads_go_on() {
    for way in WAYS {
        let mut scene = Scene::new(way);
        let (value, call) = scene.write_that_waits(&["--deadline", "50s"]);
        let read = scene.world.query(&scene.at, "select count(*) from t", &[]);
        assert_eq!(read.rows(), json!([[3]]), "{way:?}");
        let done = call.join().unwrap().answer();
        assert_eq!(done["success"], json!(false), "{way:?}: {done}");
        let message = done["error"]["$error"]["message"].as_str().unwrap();
        assert!(
            message.contains("database is locked: SQLITE_BUSY"),
            "{message}"
        );
        scene.release();
        scene.works();
        assert_eq!(scene.count(value), 0, "{way:?}: it was said to have failed");
        scene.end();
    }
}

#[test]
fn a_deadline_may_pass_while_the_lock_is_held() {
    for way in WAYS {
        let mut scene = Scene::new(way);
        let (value, call) = scene.write_that_waits(&["--deadline", "3s"]);
        failed(&call.join().unwrap(), 124, &["deadline of 3s passed"]);
        scene.release();
        scene.works();
        assert!(scene.count(value) <= 1, "{way:?}");
        scene.end();
    }
}
