//! What a callee throws is what it throws, whatever that looks like.

use serde_json::json;

use crate::scene::{ROUTES, Route, Scene, Setup};
use crate::spans::Span;

/// Names and messages, and the class that is told of each.
const ERRORS: [(&str, &str, &str); 12] = [
    ("Error", "deadline of 3s passed without an answer", "Error"),
    (
        "TypeError",
        "deadline of 3s passed without an answer",
        "TypeError",
    ),
    (
        "Error",
        "the callee is overloaded: it is shutting down",
        "Error",
    ),
    (
        "Error",
        "connection lost: the peer broke the protocol: no",
        "Error",
    ),
    ("Error", "the peer does not implement this: call", "Error"),
    ("Error", "remote exception: overloaded", "Error"),
    ("RangeError", "the call was cancelled", "RangeError"),
    (
        "Error",
        "cannot connect to unix:/run/callee.sock: refused",
        "Error",
    ),
    (
        "QuotaError",
        "deadline of 3s passed without an answer",
        "QuotaError",
    ),
    // The words of `error.type` for what no application threw.
    (
        "deadline",
        "deadline of 3s passed without an answer",
        "Error",
    ),
    ("overloaded", "it is shutting down", "Error"),
    ("canceled", "the call was cancelled", "Error"),
];

#[test]
fn what_is_thrown_is_never_taken_for_the_transports() {
    for route in ROUTES {
        let mut scene = Scene::new(route, &Setup::default());
        let worker = matches!(route, Route::Worker | Route::WorkerSidecar);
        for (name, message, _) in ERRORS {
            let ended = scene.call("says", &json!([name, message])).end();
            let code = match route {
                Route::Library => "Thrown",
                Route::Call | Route::Sidecar | Route::TwoSidecars => "1",
                _ => "500",
            };
            assert_eq!(ended.code, code, "{route:?}: {ended:?}");
            assert!(
                ended.text.starts_with(&format!("{name}: {message}")),
                "{route:?}: {ended:?}"
            );
            // The application's own properties, which workerd's errors of the way there have as well.
            let error = &ended.body["error"];
            match route {
                Route::Library => {}
                Route::Http => {
                    assert_eq!(error["name"], json!(name), "{ended:?}");
                    assert_eq!(error["properties"]["retryable"], json!(true), "{ended:?}");
                }
                _ if worker => assert_eq!(error["retryable"], json!(true), "{ended:?}"),
                _ => assert!(ended.text.contains("retryable: true"), "{ended:?}"),
            }
        }
        scene.stop();
        let served: Vec<Span> = scene.served();
        let served: Vec<&Span> = served.iter().filter(|span| span.is_served()).collect();
        assert_eq!(served.len(), ERRORS.len());
        for (span, (_, message, class)) in served.iter().zip(ERRORS) {
            assert_eq!(
                span.outcome.as_deref(),
                Some("exception"),
                "{route:?}: {span:?}"
            );
            assert_eq!(span.error_type(), Some(class), "{route:?}: {span:?}");
            let error = span.error.as_ref().unwrap();
            assert_eq!(error, &(class.to_owned(), message.to_owned()), "{route:?}");
        }
        for file in scene.callers() {
            let spans = crate::spans::read(&scene.world.path(&file));
            let spans: Vec<&Span> = spans.iter().filter(|span| span.is_called()).collect();
            assert_eq!(spans.len(), ERRORS.len(), "{route:?}, {file}");
            for (span, (_, _, class)) in spans.iter().zip(ERRORS) {
                assert_eq!(
                    span.outcome.as_deref(),
                    Some("exception"),
                    "{route:?}: {span:?}"
                );
                assert_eq!(span.error_type(), Some(class), "{route:?}: {span:?}");
                assert_eq!(span.name, crate::callee::NAME, "{route:?}: {span:?}");
            }
        }
    }
}
