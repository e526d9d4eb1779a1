//! The log on real files.

mod entries;
mod files;
mod limits;

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
