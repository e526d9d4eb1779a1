//! The circuit breaker of a provider that fails.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{FutureExt, StreamExt};

use super::server::{Peer, Server, status};
use super::*;

/// A server that answers with a status that the test changes; 0 means not at all.
async fn with_status(code: &'static AtomicUsize) -> Server {
    Server::new(move |mut peer: Peer| async move {
        while peer.request().await.is_some() {
            match code.load(Ordering::SeqCst) {
                0 => return peer.until_closed().await,
                code => peer.say(&status(&format!("{code} Some"), "x")).await,
            };
        }
    })
    .await
}

fn breaking(server: &Server, after: u32, for_: Duration) -> Arc<Provider> {
    let mut options = options(server);
    (options.break_after, options.break_for) = (after, for_);
    open(options)
}

async fn ask(provider: &Provider) -> Result<String, UpstreamError> {
    text(provider.send(chat()).await?.body).await
}

#[tokio::test]
async fn it_is_left_alone_after_failures_in_a_row() {
    static CODE: AtomicUsize = AtomicUsize::new(500);
    let server = with_status(&CODE).await;
    let provider = breaking(&server, 3, Duration::from_secs(60));
    for code in [500, 503, 200, 500, 504] {
        CODE.store(code, Ordering::SeqCst);
        ask(&provider).await.unwrap();
    }
    assert!(!provider.status().circuit_open, "a success is between them");
    CODE.store(529, Ordering::SeqCst);
    ask(&provider).await.unwrap();
    assert!(provider.status().circuit_open);
    let error = ask(&provider).await.unwrap_err();
    let UpstreamError::Open {
        ref name,
        retry_after,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(name, "local");
    let left = Duration::from_secs(59)..=Duration::from_secs(60);
    assert!(left.contains(&retry_after), "{retry_after:?}");
    assert_eq!(error.error_type(), "upstream_circuit_open");
    assert_eq!(error.status(), http::StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.heard().len(), 6, "it was not asked");
    assert_eq!(provider.status().in_flight, 0);
}

#[tokio::test]
async fn answers_about_the_request_are_no_failures() {
    static CODE: AtomicUsize = AtomicUsize::new(400);
    let server = with_status(&CODE).await;
    let provider = breaking(&server, 1, Duration::from_secs(60));
    for code in [400, 401, 404, 408, 429, 501] {
        CODE.store(code, Ordering::SeqCst);
        ask(&provider).await.unwrap();
        assert!(!provider.status().circuit_open, "{code}");
    }
}

#[tokio::test]
async fn refused_connections_silence_and_broken_answers_are_failures() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut refused = ProviderOptions::new("local", Endpoint::Http(url.parse().unwrap()));
    refused.break_after = 1;

    let serve = |mut peer: Peer| async move {
        let request = peer.request().await.unwrap_or_default();
        if request.contains("cut") {
            peer.begin_stream().await;
            peer.chunk("data: 1\n\n").await;
        } else if request.contains("hold") {
            peer.begin_stream().await;
            peer.chunk("data: 1\n\n").await;
            peer.until_closed().await;
        } else {
            peer.until_closed().await;
        }
    };
    let server = Server::new(serve).await;
    let mut patient = options(&server);
    patient.break_after = 1;
    patient.timeout = Duration::from_millis(100);
    patient.idle_timeout = Duration::from_millis(100);
    let cases = [
        (refused, "x"),
        (patient.clone(), "silence"),
        (patient.clone(), "cut"),
        (patient, "hold"),
    ];
    for (options, path) in cases {
        let provider = open(options);
        let mut request = chat();
        request.path = path.to_owned();
        let ended = match provider.send(request).await {
            Ok(answer) => text(answer.body).await,
            Err(error) => Err(error),
        };
        assert!(ended.is_err(), "{path}");
        assert!(provider.status().circuit_open, "{path}");
    }
}

#[tokio::test]
async fn callers_that_are_in_a_hurry_or_go_away_do_not_close_it_to_others() {
    static CODE: AtomicUsize = AtomicUsize::new(0);
    let server = with_status(&CODE).await;
    let provider = breaking(&server, 1, Duration::from_secs(60));
    let mut hasty = chat();
    hasty.timeout = Some(Duration::from_millis(20));
    let error = error(&provider, hasty).await;
    assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
    assert!(!provider.status().circuit_open);
    assert!(provider.send(chat()).now_or_never().is_none());
    assert!(!provider.status().circuit_open);
}

#[tokio::test]
async fn one_request_alone_tries_it_again() {
    static CODE: AtomicUsize = AtomicUsize::new(500);
    let server = with_status(&CODE).await;
    let provider = breaking(&server, 1, Duration::from_millis(300));
    ask(&provider).await.unwrap();
    assert!(provider.status().circuit_open);
    until(|| !provider.status().circuit_open).await;

    // One hangs; others are refused meanwhile, and do not ask.
    CODE.store(0, Ordering::SeqCst);
    let mut trying = Box::pin(provider.send(chat()));
    let heard = async { until(|| server.heard().len() == 2).await };
    tokio::select! {
        _ = &mut trying => panic!("nobody answers"),
        () = heard => {}
    }
    for _ in 0..3 {
        let error = ask(&provider).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Open { .. }), "{error:?}");
    }
    assert_eq!(server.heard().len(), 2);

    // Who gives up trying leaves it to the next, who fails.
    drop(trying);
    CODE.store(500, Ordering::SeqCst);
    ask(&provider).await.unwrap();
    assert!(provider.status().circuit_open, "one failure is enough");
    assert!(ask(&provider).await.is_err());
    assert_eq!(server.heard().len(), 3);

    until(|| !provider.status().circuit_open).await;
    CODE.store(200, Ordering::SeqCst);
    for _ in 0..3 {
        ask(&provider).await.unwrap();
    }
    assert_eq!(server.heard().len(), 6);
}

#[tokio::test]
async fn a_long_stream_that_tries_it_lets_others_follow_when_it_has_begun() {
    static CODE: AtomicUsize = AtomicUsize::new(500);
    let server = Server::new(|mut peer: Peer| async move {
        peer.request().await;
        if CODE.load(Ordering::SeqCst) == 500 {
            peer.say(&status("500 Some", "")).await;
            return;
        }
        peer.begin_stream().await;
        peer.chunk("data: 1\n\n").await;
        peer.until_closed().await;
    })
    .await;
    let provider = breaking(&server, 1, Duration::from_millis(50));
    ask(&provider).await.unwrap();
    until(|| !provider.status().circuit_open).await;
    CODE.store(200, Ordering::SeqCst);
    let mut first = answer(&provider, chat()).await;
    let mut second = answer(&provider, chat()).await;
    assert!(first.body.next().await.unwrap().is_ok());
    assert!(second.body.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn requests_from_before_do_not_count_when_it_is_tried_again() {
    static CODE: AtomicUsize = AtomicUsize::new(0);
    let server = with_status(&CODE).await;
    let mut options = options(&server);
    (options.break_after, options.break_for) = (1, Duration::from_millis(200));
    options.timeout = Duration::from_millis(500);
    let provider = open(options);
    // Hangs until its time is over, which is while another tries.
    let old = provider.send(chat());
    let others = async {
        until(|| server.heard().len() == 1).await;
        CODE.store(500, Ordering::SeqCst);
        ask(&provider).await.unwrap();
        until(|| !provider.status().circuit_open).await;
        CODE.store(0, Ordering::SeqCst);
        let mut long = chat();
        long.timeout = Some(Duration::from_secs(5));
        let mut trying = Box::pin(provider.send(long));
        let time = tokio::time::sleep(Duration::from_millis(350));
        tokio::select! {
            _ = &mut trying => panic!("nobody answers"),
            () = time => {}
        }
        drop(trying);
        let open = provider.status().circuit_open;
        assert!(!open, "nobody who tried it failed");
    };
    let (old, ()) = tokio::join!(old, others);
    assert!(matches!(old, Err(UpstreamError::Timeout { .. })));
}

#[tokio::test]
async fn without_a_limit_it_is_asked_for_ever() {
    static CODE: AtomicUsize = AtomicUsize::new(500);
    let server = with_status(&CODE).await;
    let provider = breaking(&server, 0, Duration::from_secs(60));
    for _ in 0..20 {
        ask(&provider).await.unwrap();
    }
    assert!(!provider.status().circuit_open);
}
