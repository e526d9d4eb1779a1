//! Entries and patches: their members, bounds and forms.

use super::*;

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
