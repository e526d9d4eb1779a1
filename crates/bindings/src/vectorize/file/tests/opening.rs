//! Files that are no index, and files that are used already.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rusqlite::Connection;

use super::*;
use crate::vectorize::{Code, OpenError};

fn refusal(path: &Path, options: &IndexOptions) -> String {
    match FileStore::open(path, options) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_new_index_needs_its_shape_and_an_old_one_keeps_it() {
    let (folder, path) = place();
    let mut wanted = options();
    wanted.create = false;
    assert!(matches!(
        FileStore::open(&path, &wanted),
        Err(OpenError::Missing(_))
    ));
    assert!(!path.exists());
    wanted.create = true;
    wanted.dimensions = None;
    assert!(refusal(&path, &wanted).contains("give its dimensions and its metric"));
    for dimensions in [0, 1537] {
        wanted.dimensions = Some(dimensions);
        assert!(refusal(&path, &wanted).contains("from 1 to 1536"));
    }
    assert!(!path.exists());
    let nowhere = folder.path().join("none/docs.sqlite");
    assert!(refusal(&nowhere, &options()).contains("mkdir -p"));
    assert!(refusal(folder.path(), &options()).contains("is not a file"));

    let store = open(&path);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut other = options();
    other.dimensions = Some(4);
    let while_open = refusal(&path, &other);
    store.close().await;
    assert_eq!(refusal(&path, &other), while_open);
    assert!(
        while_open.contains("has 3 dimensions, and not 4"),
        "{while_open}"
    );
    other = options();
    other.metric = Some(Metric::Cosine);
    assert!(refusal(&path, &other).contains("the metric euclidean, and not cosine"));
    let store = FileStore::open(&path, &IndexOptions::default()).unwrap();
    assert_eq!(store.info().await.unwrap().dimensions, 3);
}

#[tokio::test]
async fn a_file_that_is_something_else_is_refused_and_left_alone() {
    let (folder, path) = place();
    std::fs::write(
        &path,
        "no database, but longer than a header of one would be".repeat(20),
    )
    .unwrap();
    assert!(refusal(&path, &options()).contains("not a SQLite database"));

    let other = folder.path().join("d1.sqlite");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let before = std::fs::read(&other).unwrap();
    assert!(refusal(&other, &options()).contains("no Vectorize index"));
    assert_eq!(std::fs::read(&other).unwrap(), before);

    let newer = folder.path().join("newer.sqlite");
    open(&newer).close().await;
    Connection::open(&newer)
        .unwrap()
        .execute_batch("PRAGMA user_version = 7")
        .unwrap();
    assert!(refusal(&newer, &options()).contains("the format 7"));

    // An empty file is one that nothing was written to yet.
    let empty = folder.path().join("empty.sqlite");
    std::fs::write(&empty, "").unwrap();
    let mut no = options();
    no.create = false;
    assert!(matches!(
        FileStore::open(&empty, &no),
        Err(OpenError::Missing(_))
    ));
    open(&empty).close().await;
}

#[tokio::test]
async fn a_damaged_index_is_refused() {
    let (_folder, path) = place();
    let store = open(&path);
    let vectors = (0..50).map(|n| vector(&n.to_string(), [1.0; 3])).collect();
    upsert(&store, vectors).await.unwrap();
    store.close().await;
    let file = Connection::open(&path).unwrap();
    file.execute_batch("UPDATE vals SET vals = x'00' WHERE row = 7")
        .unwrap();
    drop(file);
    let why = refusal(&path, &options());
    assert!(why.contains("is damaged: row 7"), "{why}");
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(100).step_by(7) {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, bytes).unwrap();
    let why = refusal(&path, &options());
    assert!(
        why.contains("damaged") || why.contains("cannot be opened"),
        "{why}"
    );
}

#[tokio::test]
async fn a_file_is_open_once_in_a_process_and_in_one_process_only() {
    let (folder, path) = place();
    let store = open(&path);
    upsert(&store, vec![vector("a", [0.0; 3])]).await.unwrap();
    // The same file by another name, with other limits.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut small = options();
    small.limits.max_vectors = 1;
    let other = FileStore::open(&link, &small).unwrap();
    let error = upsert(&other, vec![vector("b", [0.0; 3])])
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Full);
    upsert(&store, vec![vector("b", [1.0; 3])]).await.unwrap();
    assert_eq!(ids(&other, near([0.0; 3], 5)).await, ["a", "b"]);
    store.close().await;
    assert_eq!(
        store.query(ME, near([0.0; 3], 5)).await.unwrap_err().code,
        Code::Store
    );
    assert_eq!(ids(&other, near([0.0; 3], 5)).await, ["a", "b"]);

    let second = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "vectorize::file::tests::opening::is_refused_in_a_second_process",
        ])
        .env("BINDING_SPAN_TEST_SECOND", &path)
        .output()
        .unwrap();
    assert!(second.status.success(), "{second:?}");
    other.close().await;
    open(&path).close().await;
}

/// Not a test by itself: the second process.
#[test]
fn is_refused_in_a_second_process() {
    if let Some(path) = std::env::var_os("BINDING_SPAN_TEST_SECOND") {
        let why = refusal(Path::new(&path), &options());
        assert!(why.contains("another process has the index"), "{why}");
    }
}

#[tokio::test]
async fn a_file_that_is_removed_or_replaced_fails_until_it_is_opened_again() {
    let (folder, path) = place();
    let store = open(&path);
    let also = open(&path);
    upsert(&store, vec![vector("a", [0.0; 3])]).await.unwrap();
    assert_eq!(store.status().failing, None);
    let aside = folder.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    let failing = store.status().failing.unwrap();
    assert!(failing.contains("removed or replaced"), "{failing}");
    for error in [
        store.query(ME, near([0.0; 3], 1)).await.map(drop),
        upsert(&store, vec![vector("b", [0.0; 3])]).await.map(drop),
        store.info().await.map(drop),
    ] {
        assert_eq!(error.unwrap_err().code, Code::Store);
    }
    // Put back, it is as it was.
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(ids(&store, near([0.0; 3], 5)).await, ["a"]);
    // Another one in its place is another index.
    for end in ["", "-wal", "-shm"] {
        let from = format!("{}{end}", path.display());
        std::fs::rename(from, format!("{}{end}", aside.display())).unwrap();
    }
    for store in [&store, &also] {
        store.reopen().await.unwrap();
        assert_eq!(ids(store, near([0.0; 3], 5)).await, [""; 0]);
    }
    upsert(&also, vec![vector("new", [0.0; 3])]).await.unwrap();
    assert_eq!(ids(&store, near([0.0; 3], 5)).await, ["new"]);
    store.close().await;
    also.close().await;
    assert_eq!(ids(&open(&path), near([0.0; 3], 5)).await, ["new"]);
    assert_eq!(ids(&open(&aside), near([0.0; 3], 5)).await, ["a"]);
}
