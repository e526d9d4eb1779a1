//! Backups and checks.

use std::ops::ControlFlow::{Break, Continue};

use rusqlite::Connection;
use serde_json::json;

use super::*;
use crate::vectorize::{BackupError, OpenError, backup, check};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_while_others_write_is_whole_and_can_be_opened() {
    let (folder, path) = place();
    let store = open(&path);
    for batch in 0..20 {
        let vectors = (0..500).map(|n| {
            with(
                vector(&format!("{batch}-{n}"), [n as f32, 0.0, 0.0]),
                "",
                json!({"text": "x".repeat(500)}),
            )
        });
        upsert(&store, vectors.collect()).await.unwrap();
    }
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 0.. {
                let pair = ["a", "b"].map(|id| vector(&format!("{id}{n}"), [0.0; 3]));
                upsert(&store, pair.to_vec()).await.unwrap();
            }
        }
    });
    let to = folder.path().join("backup.sqlite");
    let copied = tokio::task::spawn_blocking({
        let (path, to) = (path.clone(), to.clone());
        move || {
            let mut seen = Vec::new();
            backup(&path, &to, &mut |done, of| {
                seen.push((done, of));
                Continue(())
            })
            .unwrap();
            seen
        }
    });
    let seen = copied.await.unwrap();
    assert!(seen.len() > 1 && seen.is_sorted(), "{seen:?}");
    let (done, of) = seen[seen.len() - 1];
    assert!(done == of && of > 256);
    let report = tokio::task::spawn_blocking({
        let (path, limits) = (path.clone(), options().limits);
        move || check(&path, &limits).unwrap()
    });
    assert_eq!(report.await.unwrap().problems, [""; 0]);
    writer.abort();
    let _ = writer.await;

    let report = check(&to, &options().limits).unwrap();
    assert_eq!(report.problems, [""; 0]);
    assert!(report.vectors >= 10_000 && report.vectors.is_multiple_of(2));
    let copy = open(&to);
    assert_eq!(copy.info().await.unwrap().vectors, report.vectors);
    let again = backup(&path, &to, &mut |_, _| Continue(()));
    assert_eq!(again, Err(BackupError::Exists(to)));
    let nowhere = backup(&path, &folder.path().join("none/x"), &mut |_, _| {
        Continue(())
    });
    assert!(matches!(nowhere, Err(BackupError::Target { .. })));
    let nothing = backup(
        &folder.path().join("none"),
        &folder.path().join("y"),
        &mut |_, _| Continue(()),
    );
    assert!(matches!(
        nothing,
        Err(BackupError::Source(OpenError::Missing(_)))
    ));
    let stopped = backup(&path, &folder.path().join("z"), &mut |_, _| Break(()));
    assert_eq!(stopped, Err(BackupError::Stopped));
    let left = std::fs::read_dir(folder.path()).unwrap().flatten();
    let left = left.filter(|file| file.file_name().to_string_lossy().contains("partial"));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_check_names_what_is_wrong() {
    let (_folder, path) = place();
    let mut options = options();
    options.metadata_indexes = vec![index("n", MetadataType::Number)];
    let store = FileStore::open(&path, &options).unwrap();
    let vectors = (0..9).map(|n| with(vector(&n.to_string(), [0.0; 3]), "ns", json!({"n": n})));
    upsert(&store, vectors.collect()).await.unwrap();
    store.close().await;
    assert_eq!(check(&path, &options.limits).unwrap().problems, [""; 0]);
    let file = Connection::open(&path).unwrap();
    file.execute_batch(
        "UPDATE vals SET vals = x'0000c07f' || zeroblob(8) WHERE row = 1;
         UPDATE vals SET vals = x'00' WHERE row = 2;
         UPDATE vectors SET metadata = '[1]' WHERE row = 3;
         UPDATE vectors SET id = '' WHERE row = 4;
         UPDATE vectors SET namespace = 77 WHERE row = 5;
         DELETE FROM properties WHERE row = 6;
         UPDATE state SET vectors = 10;",
    )
    .unwrap();
    // Concatenation makes texts of blobs.
    file.execute(
        "UPDATE vals SET vals = ?1 WHERE row = 1",
        [[0, 0, 0xc0, 0x7f].repeat(3)],
    )
    .unwrap();
    drop(file);
    let report = check(&path, &options.limits).unwrap();
    let expected = [
        "row 1: it has values that are not finite",
        "row 2: it does not have 3 values",
        "row 3: its metadata is not a JSON object",
        "row 4: its id is not from 1 to 64 bytes",
        "row 5: its namespace does not exist",
        "row 6: it is not in the metadata index \"n\"",
        "9 vectors, and not 10",
    ];
    for problem in expected {
        assert!(
            report.problems.iter().any(|found| found == problem),
            "{problem}: {report:?}"
        );
    }
}
