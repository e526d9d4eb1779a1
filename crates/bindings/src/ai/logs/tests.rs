use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use js_value::Value;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::ai::gateway::Metadata;

fn entry(gateway: &str) -> Entry {
    Entry {
        id: Logs::new_id(),
        gateway: gateway.to_owned(),
        provider: "local".into(),
        model: "tiny".into(),
        model_type: Some("chat".into()),
        path: "chat/completions".into(),
        duration: Duration::from_millis(1234),
        request_type: Some("universal".into()),
        request_content_type: Some("application/json".into()),
        status_code: 200,
        response_content_type: Some("text/event-stream".into()),
        success: true,
        cached: false,
        tokens_in: Some(12),
        tokens_out: Some(34),
        metadata: Metadata::from_iter([("user".to_owned(), json!(7))]),
        step: Some(1),
        cost: Some(0.25),
        custom_cost: true,
        request_size: 100,
        request_head: Head::of(b"{\"prompt\"", 100),
        response_size: 2,
        response_head: Head::of(b"hi", 2),
        created_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_340_000_123),
    }
}

fn gateways() -> Vec<GatewayOptions> {
    let small = GatewayOptions {
        max_log_bytes: 100_000,
        log_retention: Duration::from_secs(365 * 24 * 3600 * 100),
        ..GatewayOptions::new("small")
    };
    let short = GatewayOptions {
        log_retention: Duration::from_secs(3600),
        ..GatewayOptions::new("short")
    };
    vec![small, short]
}

fn keepings() -> Keepings {
    let mut keepings = Keepings::new(&gateways());
    // The entry's date is a fixed one.
    keepings.others.retention = Duration::from_secs(365 * 24 * 3600 * 100);
    keepings
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    (folder, path)
}

fn open(path: &Path) -> Logs {
    Logs::open(Some(path), keepings()).unwrap()
}

fn refused(path: &Path) -> String {
    let refused = Logs::open(Some(path), keepings());
    match refused {
        Err(OpenError::Log {
            path: named,
            reason,
        }) => {
            assert_eq!(named, path.display().to_string());
            reason
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{} was opened", path.display()),
    }
}

#[tokio::test]
async fn an_entry_is_found_right_after_it_was_added_with_all_that_it_had() {
    let (_folder, path) = folder();
    for logs in [Logs::open(None, keepings()).unwrap(), open(&path)] {
        let added = entry("g");
        logs.add(added.clone());
        let found = logs.get("g", &added.id).await.unwrap();
        assert_eq!(found.entry, added);
        assert_eq!((found.score, found.feedback), (None, None));
        let other = logs.get("h", &added.id).await;
        assert_eq!(other, Err(LogError::NotFound), "another gateway's");
        assert_eq!(logs.get("g", "x' OR 1").await, Err(LogError::NotFound));
    }
}

#[tokio::test]
async fn an_entry_without_what_may_be_missing_is_found_as_well() {
    let logs = Logs::open(None, keepings()).unwrap();
    let added = Entry {
        model_type: None,
        request_type: None,
        request_content_type: None,
        response_content_type: None,
        tokens_in: None,
        tokens_out: None,
        metadata: Metadata::new(),
        step: None,
        cost: Some(f64::NAN),
        request_head: Head::none(),
        response_head: Head::none(),
        ..entry("g")
    };
    logs.add(added.clone());
    let found = logs.get("g", &added.id).await.unwrap();
    assert_eq!(
        found.entry,
        Entry {
            cost: None,
            ..added
        }
    );
    let json = found.to_json();
    for absent in [
        "model_type",
        "tokens_in",
        "metadata",
        "cost",
        "request_head",
        "score",
        "feedback",
    ] {
        assert_eq!(json.get(absent), None, "{absent}");
    }
    assert_eq!(json["request_head_complete"], json!(false));
}

#[tokio::test]
async fn an_entry_is_shown_with_cloudflares_names_and_its_date() {
    let logs = Logs::open(None, keepings()).unwrap();
    let added = entry("g");
    logs.add(added.clone());
    let patch = Patch::from_json(&json!({"score": 50, "feedback": 1})).unwrap();
    logs.patch("g", &added.id, patch).await.unwrap();
    let found = logs.get("g", &added.id).await.unwrap();
    let mut expected = json!({
        "id": added.id,
        "provider": "local",
        "model": "tiny",
        "model_type": "chat",
        "path": "chat/completions",
        "duration": 1234,
        "request_type": "universal",
        "request_content_type": "application/json",
        "status_code": 200,
        "response_content_type": "text/event-stream",
        "success": true,
        "cached": false,
        "tokens_in": 12,
        "tokens_out": 34,
        "metadata": {"user": 7},
        "step": 1,
        "cost": 0.25,
        "custom_cost": true,
        "request_size": 100,
        "request_head": "{\"prompt\"",
        "request_head_complete": false,
        "response_size": 2,
        "response_head": "hi",
        "response_head_complete": true,
        "feedback": 1,
        "score": 50,
        "created_at": "2026-11-22T09:33:20.123Z",
    });
    assert_eq!(found.to_json(), expected);
    let value = found.to_value();
    assert_eq!(
        value.get("created_at"),
        Some(&Value::Date(1_795_340_000_123.0))
    );
    assert_eq!(
        value.get_path(&["metadata", "user"]),
        Some(&Value::Number(7.0))
    );
    expected.as_object_mut().unwrap().remove("created_at");
    for name in expected.as_object().unwrap().keys() {
        assert!(value.get(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_removes() {
    let logs = Logs::open(None, keepings()).unwrap();
    let added = entry("g");
    let id = &added.id;
    logs.add(added.clone());
    let patch = async |patch| {
        let patch = Patch::from_json(&patch).unwrap();
        logs.patch("g", id, patch).await.unwrap();
        let found = logs.get("g", id).await.unwrap();
        let metadata = serde_json::Value::Object(found.entry.metadata);
        (found.score, found.feedback, metadata)
    };
    let user = json!({"user": 7});
    assert_eq!(patch(json!({})).await, (None, None, user.clone()));
    assert_eq!(
        patch(json!({"feedback": -1})).await,
        (None, Some(-1), user.clone())
    );
    assert_eq!(
        patch(json!({"score": 0.5})).await,
        (Some(0.5), Some(-1), user)
    );
    let changed = patch(json!({"metadata": {"a": "b"}, "feedback": null})).await;
    assert_eq!(changed, (Some(0.5), None, json!({"a": "b"})));
    let changed = patch(json!({"metadata": null, "score": null})).await;
    assert_eq!(changed, (None, None, json!({})));
    let missing = logs.patch("g", "none", Patch::default()).await;
    assert_eq!(missing, Err(LogError::NotFound));
    let others = logs.patch("h", id, Patch::default()).await;
    assert_eq!(others, Err(LogError::NotFound));
    let error = GatewayError::from(LogError::NotFound);
    assert_eq!((error.status.as_u16(), error.code), (404, 7002));
}

#[test]
fn a_patch_that_cannot_be_meant_says_why() {
    for (given, says) in [
        (json!([]), "give {score, feedback, metadata}"),
        (
            json!({"score": 101}),
            "score: give a number from 0 to 100, or null",
        ),
        (json!({"score": -0.1}), "score: give a number"),
        (json!({"score": "5"}), "score: give a number"),
        (json!({"feedback": 0}), "feedback: give -1, 1 or null"),
        (json!({"feedback": true}), "feedback: give -1, 1 or null"),
        (json!({"metadata": 1}), "metadata is not an object"),
        (
            json!({"metadata": {"a": {}}}),
            "metadata: \"a\" is an object",
        ),
        (
            json!({"scores": 1}),
            "\"scores\" of a log entry cannot be changed; score, feedback",
        ),
        (
            json!({"created_at": 1}),
            "\"created_at\" of a log entry cannot be changed",
        ),
    ] {
        let error = Patch::from_json(&given).unwrap_err();
        assert!(error.message.contains(says), "{}", error.message);
        assert_eq!(error.status, 400);
    }
    let whole = Patch::from_json(&json!({"score": 100.0, "feedback": 1.0})).unwrap();
    assert_eq!(
        (whole.score, whole.feedback),
        (Some(Some(100.0)), Some(Some(1)))
    );
}

#[test]
fn ids_sort_by_time_and_are_not_alike() {
    assert_eq!(ulid(0, [0; 10]), "00000000000000000000000000");
    assert_eq!(
        ulid((1 << 48) - 1, [0xff; 10]),
        "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
    );
    // The example of the ULID specification's clock.
    assert!(ulid(1_469_918_176_385, [0; 10]).starts_with("01ARYZ6S41"));
    assert!(ulid(1, [0xff; 10]) < ulid(2, [0; 10]));
    let ids: std::collections::HashSet<_> = (0..1000).map(|_| Logs::new_id()).collect();
    assert_eq!(ids.len(), 1000);
}

#[test]
fn heads_are_cut_at_characters() {
    assert_eq!(
        Head::of(b"abc", 3),
        Head {
            text: Some("abc".into()),
            complete: true
        }
    );
    assert_eq!(
        Head::of(b"abc", 4),
        Head {
            text: Some("abc".into()),
            complete: false
        }
    );
    let long = "é".repeat(20_000);
    let head = Head::of(long.as_bytes(), long.len() as u64);
    assert_eq!(head.text.unwrap().len(), 16 << 10);
    assert!(!head.complete);
    let odd = format!("x{long}");
    let head = Head::of(odd.as_bytes(), odd.len() as u64).text.unwrap();
    assert!(
        head.len() <= 16 << 10 && head.ends_with('é'),
        "{}",
        head.len()
    );
    let binary = Head::of(&[0xff; 20_000], 20_000).text.unwrap();
    assert!(binary.len() <= 16 << 10);
}

#[tokio::test]
async fn nothing_of_an_entry_is_longer_than_it_may_be() {
    let logs = Logs::open(None, keepings()).unwrap();
    let long = "x".repeat(1 << 20);
    let id = Logs::new_id();
    logs.add(Entry {
        id: id.clone(),
        provider: long.clone(),
        model: long.clone(),
        path: long.clone(),
        model_type: Some(long.clone()),
        request_content_type: Some(long.clone()),
        request_head: Head {
            text: Some(long.clone()),
            complete: true,
        },
        tokens_in: Some(u64::MAX),
        duration: Duration::MAX,
        ..entry("g")
    });
    let found = logs.get("g", &id).await.unwrap();
    assert!(found.to_json().to_string().len() < 24_000);
    assert!(!found.entry.request_head.complete);
    assert_eq!(found.entry.tokens_in, Some(i64::MAX as u64));
}

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

#[tokio::test]
async fn entries_are_removed_when_their_time_has_passed() {
    let (_folder, path) = folder();
    let logs = open(&path);
    let at = |minutes: u64, gateway| Entry {
        created_at: SystemTime::now() - Duration::from_secs(60 * minutes),
        ..entry(gateway)
    };
    let (old, new, other) = (at(61, "short"), at(59, "short"), at(61, "g"));
    for entry in [&old, &new, &other] {
        logs.add(entry.clone());
    }
    logs.prune().await.unwrap();
    assert_eq!(logs.get("short", &old.id).await, Err(LogError::NotFound));
    assert!(logs.get("short", &new.id).await.is_ok());
    assert!(
        logs.get("g", &other.id).await.is_ok(),
        "another gateway keeps for longer"
    );
}

#[tokio::test]
async fn what_became_too_old_while_nobody_looked_is_removed_at_the_start() {
    let (_folder, path) = folder();
    let logs = Logs::open(
        Some(&path),
        Keepings::new(&[GatewayOptions {
            log_retention: Duration::from_secs(1 << 40),
            ..GatewayOptions::new("short")
        }]),
    )
    .unwrap();
    for _ in 0..1500 {
        logs.add(entry("short"));
        logs.flush().await;
    }
    logs.close().await;
    let before = std::fs::metadata(&path).unwrap().len();
    let again = Logs::open(Some(&path), keepings_short()).unwrap();
    again.prune().await.unwrap();
    again.close().await;
    let after = std::fs::metadata(&path).unwrap().len();
    assert!(after < before / 10, "{before} bytes became {after}");
}

fn keepings_short() -> Keepings {
    Keepings::new(&[GatewayOptions {
        log_retention: Duration::from_secs(1),
        ..GatewayOptions::new("short")
    }])
}

#[tokio::test]
async fn a_full_log_loses_its_oldest_entries_and_its_file_stays_small() {
    let (_folder, path) = folder();
    let logs = open(&path);
    let body = "x".repeat(2000);
    let mut ids = Vec::new();
    let kept = entry("g");
    logs.add(kept.clone());
    for n in 0..1000 {
        let added = Entry {
            created_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + n),
            request_head: Head::of(body.as_bytes(), 2000),
            ..entry("small")
        };
        ids.push(added.id.clone());
        logs.add(added);
        if n % 100 == 0 {
            logs.flush().await;
        }
    }
    logs.prune().await.unwrap();
    assert_eq!(logs.get("small", &ids[0]).await, Err(LogError::NotFound));
    assert!(logs.get("small", ids.last().unwrap()).await.is_ok());
    assert!(
        logs.get("g", &kept.id).await.is_ok(),
        "another gateway's is left alone"
    );
    logs.close().await;
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes < 200_000, "{bytes}");
    let rows: i64 = Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT count(*) FROM logs WHERE gateway = 'small'",
            (),
            |row| row.get(0),
        )
        .unwrap();
    assert!((25..=45).contains(&rows), "{rows}");
}

#[tokio::test]
async fn gateways_that_are_not_named_share_an_allowance() {
    let keepings = Keepings {
        named: HashMap::new(),
        others: Keeping {
            retention: Duration::from_secs(1 << 40),
            max_bytes: 50_000,
        },
    };
    let (_folder, path) = folder();
    let logs = Logs::open(Some(&path), keepings).unwrap();
    for n in 0..400 {
        logs.add(entry(&format!("gateway-{n}")));
        logs.flush().await;
    }
    logs.prune().await.unwrap();
    assert_eq!(logs.dropped(), 0);
    let other = Connection::open(&path).unwrap();
    let (rows, bytes): (i64, i64) = other
        .query_row("SELECT count(*), sum(bytes) FROM logs", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert!(
        bytes <= 50_000 && bytes > 30_000,
        "{rows} entries, {bytes} bytes"
    );
}

#[tokio::test]
async fn what_was_added_is_written_when_the_last_handle_is_dropped() {
    let (_folder, path) = folder();
    let logs = open(&path);
    for _ in 0..300 {
        logs.clone().add(entry("g"));
    }
    assert_eq!(logs.dropped(), 0);
    drop(logs);
    let again = Connection::open(&path).unwrap();
    let rows = || -> i64 {
        again
            .query_row("SELECT count(*) FROM logs", (), |row| row.get(0))
            .unwrap()
    };
    let began = std::time::Instant::now();
    while rows() < 300 && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rows(), 300);
}

#[tokio::test]
async fn a_disk_that_is_full_costs_entries_and_nothing_else() {
    let (_folder, path) = folder();
    let store = Store::open(Some(&path), keepings()).unwrap();
    let pages: i64 = store
        .connection
        .query_row("PRAGMA page_count", (), |row| row.get(0))
        .unwrap();
    let limit = format!("PRAGMA max_page_count = {}", pages + 8);
    store.connection.query_row(&limit, (), |_| Ok(())).unwrap();
    let logs = Logs::start(store).unwrap();
    let first = entry("g");
    logs.add(first.clone());
    logs.flush().await;
    for _ in 0..200 {
        logs.add(entry("g"));
        logs.flush().await;
    }
    let dropped = logs.dropped();
    assert!((20..200).contains(&dropped), "{dropped}");
    assert!(logs.get("g", &first.id).await.is_ok());
    logs.close().await;
}

#[tokio::test]
async fn a_log_that_was_moved_away_or_removed_begins_anew() {
    let (folder, path) = folder();
    let logs = open(&path);
    let rows = |path: &Path| -> i64 {
        Connection::open(path)
            .unwrap()
            .query_row("SELECT count(*) FROM logs", (), |row| row.get(0))
            .unwrap()
    };
    logs.add(entry("g"));
    logs.flush().await;
    let moved = folder.path().join("moved.db");
    let copied = Connection::open(&path).unwrap();
    copied
        .execute("VACUUM INTO ?1", [moved.display().to_string()])
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        let added = entry("g");
        logs.add(added.clone());
        assert_eq!(logs.get("g", &added.id).await.unwrap().entry, added);
    }
    drop(copied);
    assert_eq!(logs.dropped(), 0);
    assert_eq!((rows(&moved), rows(&path)), (1, 2));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    logs.add(entry("g"));
    logs.flush().await;
    assert_eq!(logs.dropped(), 1, "a folder is in its place");
    std::fs::remove_dir(&path).unwrap();
    logs.add(entry("g"));
    logs.close().await;
    assert_eq!((logs.dropped(), rows(&path)), (1, 1));
}

#[tokio::test]
async fn who_asks_does_not_learn_where_the_log_is() {
    let error = GatewayError::from(LogError::Storage("/var/lib/private/log.db".into()));
    assert_eq!((error.status.as_u16(), error.code), (500, 7000));
    assert_eq!(error.message, "the gateway's log cannot be used");
}

#[tokio::test]
async fn who_adds_never_waits_and_what_is_lost_is_counted() {
    let (_folder, path) = folder();
    let logs = open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = std::time::Instant::now();
    for _ in 0..5000 {
        logs.add(entry("g"));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert!(
        logs.dropped() >= 5000 - (QUEUE as u64) - 128,
        "{}",
        logs.dropped()
    );
    assert_eq!(logs.get("g", "x").await, Err(LogError::Busy));
    other.execute_batch("COMMIT").unwrap();
    logs.flush().await;
    let last = entry("g");
    logs.add(last.clone());
    assert!(logs.get("g", &last.id).await.is_ok());
    let written: u64 = other
        .query_row("SELECT count(*) FROM logs", (), |row| row.get::<_, i64>(0))
        .unwrap() as u64;
    assert_eq!(written + logs.dropped(), 5001, "each is written or counted");
}

/// `cargo test -p binding-span-bindings --release --lib ai::logs::tests::figures -- --ignored --nocapture`
#[tokio::test]
#[ignore = "prints figures"]
async fn figures() {
    let (_folder, path) = folder();
    let logs = open(&path);
    let entries: Vec<_> = (0..50_000).map(|_| entry("g")).collect();
    let began = std::time::Instant::now();
    let mut adding = Duration::ZERO;
    for batch in entries.chunks(400) {
        let batch = batch.to_vec();
        let began = std::time::Instant::now();
        for entry in batch {
            logs.add(entry);
        }
        adding += began.elapsed();
        logs.flush().await;
    }
    let all = began.elapsed();
    assert_eq!(logs.dropped(), 0);
    logs.close().await;
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "{:?} for who adds an entry; {:.0} entries a second written; {} bytes each",
        adding / 50_000,
        50_000.0 / all.as_secs_f64(),
        bytes / 50_000,
    );
}
