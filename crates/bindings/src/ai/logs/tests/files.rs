//! The log's file: who may read it, and what is refused in its place.

use super::*;

#[tokio::test]
async fn a_log_is_there_when_it_is_opened_again_and_is_one_private_file() {
    let (folder, path) = folder();
    let logs = open(&path);
    let added = entry("g");
    logs.add(added.clone());
    logs.close().await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "the write-ahead log is gone");
    assert_eq!(logs.get("g", &added.id).await, Err(LogError::Closed));
    logs.add(entry("g"));
    assert_eq!(logs.dropped(), 1, "what comes after the end is counted");
    logs.close().await;
    let again = open(&path);
    assert_eq!(again.get("g", &added.id).await.unwrap().entry, added);
}

#[tokio::test]
async fn two_logs_of_one_file_find_each_others_entries() {
    let (_folder, path) = folder();
    let (one, other) = (open(&path), open(&path));
    let (a, b) = (entry("g"), entry("g"));
    one.add(a.clone());
    other.add(b.clone());
    one.flush().await;
    other.flush().await;
    assert!(one.get("g", &b.id).await.is_ok() && other.get("g", &a.id).await.is_ok());
    one.close().await;
    other.add(entry("g"));
    other.close().await;
    assert_eq!((one.dropped(), other.dropped()), (0, 0));
    let rows: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM logs", (), |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn what_others_may_read_is_closed_to_them() {
    let (_folder, path) = folder();
    open(&path).close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    open(&path).close().await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_no_log_is_refused_in_words_and_left_as_it_was() {
    let (folder, path) = folder();
    let at = |name: &str| folder.path().join(name);
    assert!(refused(folder.path()).contains("it is a folder"));
    assert!(
        refused(&at("none/log.db")).contains("its folder does not exist; create it with `mkdir -p")
    );
    std::fs::write(at("target"), "").unwrap();
    symlink(at("target"), at("link")).unwrap();
    assert!(refused(&at("link")).contains("it is a symbolic link"));
    symlink(at("nowhere"), at("dangling")).unwrap();
    assert!(refused(&at("dangling")).contains("it is a symbolic link"));
    assert!(!at("nowhere").exists());
    let text = "this is a text and no database, however long it is ".repeat(50);
    std::fs::write(at("text"), &text).unwrap();
    std::fs::set_permissions(at("text"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&at("text")).contains("it is not a SQLite database"));
    assert_eq!(std::fs::read_to_string(at("text")).unwrap(), text);
    let mode = std::fs::metadata(at("text")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert!(refused(Path::new("/dev/null")).contains("it is not a file"));
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(refused(&path).contains("it is another program's database"));
}

#[tokio::test]
async fn a_newer_log_is_refused() {
    let (_folder, path) = folder();
    open(&path).close().await;
    let newer = Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(newer);
    let reason = refused(&path);
    assert!(
        reason.contains("a newer version of this program wrote it (its schema is 2"),
        "{reason}"
    );
}

#[test]
fn a_log_in_a_folder_behind_a_link_is_opened() {
    let (folder, _) = folder();
    std::fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    open(&folder.path().join("link/log.db"));
    assert!(folder.path().join("real/log.db").is_file());
}

#[test]
fn a_file_that_another_process_has_locked_is_waited_for_and_then_refused() {
    let (_folder, path) = folder();
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE x (y)")
        .unwrap();
    let reason = refused(&path);
    assert!(reason.contains("locked by another process"), "{reason}");
}
