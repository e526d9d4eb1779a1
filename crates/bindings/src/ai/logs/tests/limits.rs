//! Retention, size, full disks and full queues.

use super::*;

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
