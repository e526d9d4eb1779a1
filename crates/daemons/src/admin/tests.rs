//! What cannot be seen from outside: a thread that hangs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use js_rpc::NetworkStats;

use super::*;
use crate::door::{AdmitArgs, IdentityArgs};

fn get(path: &std::path::Path, page: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let request = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn config(path: PathBuf) -> AdminConfig {
    let args = AdminArgs {
        admin: vec![AdminAt {
            address: Address::Unix(path),
            metrics_only: false,
        }],
        admin_host: Vec::new(),
    };
    let mut admission = AdmitArgs::default()
        .admission(&IdentityArgs::default())
        .unwrap();
    args.config(&mut admission).unwrap().unwrap()
}

#[test]
fn a_thread_that_hangs_is_not_alive_and_is_again_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let config = config(path.clone());
    let serving = async {
        let mut admin = Admin::new("test", Some(&config), &NetworkStats::default());
        admin.start(Vec::new()).unwrap();
        let asks = path.clone();
        let ((hang, hangs), (go, goes)) = (mpsc::channel::<()>(), mpsc::channel());
        let (answered, mut is_answered) = tokio::sync::mpsc::unbounded_channel();
        thread::spawn(move || {
            for page in ["/livez", "/readyz"] {
                answered.send(get(&asks, page)).unwrap();
            }
            goes.recv().unwrap();
            answered.send(get(&asks, "/livez")).unwrap();
            drop(hang);
            answered.send(get(&asks, "/livez")).unwrap();
        });
        let starting = is_answered.recv().await.unwrap();
        assert!(
            starting.starts_with("HTTP/1.1 200") && starting.ends_with("starting\n"),
            "{starting}"
        );
        let ready = is_answered.recv().await.unwrap();
        assert!(
            ready.starts_with("HTTP/1.1 503") && ready.ends_with("starting\n"),
            "{ready}"
        );
        admin.ready();
        go.send(()).unwrap();
        // Until the third answer is there; nothing else runs on this thread meanwhile.
        let _ = hangs.recv();
        let hung = is_answered.recv().await.unwrap();
        assert!(
            hung.starts_with("HTTP/1.1 503") && hung.contains("has not answered for 1s"),
            "{hung}"
        );
        let live = is_answered.recv().await.unwrap();
        assert!(
            live.starts_with("HTTP/1.1 200") && live.contains("ok: answered"),
            "{live}"
        );
        Ok(())
    };
    runtime::block_on(serving).unwrap();
    assert!(!path.exists(), "the socket is removed");
}

#[test]
fn without_an_admin_port_nothing_is_counted() {
    let admin = Admin::new("test", None, &NetworkStats::default());
    assert!(admin.sink().is_none() && admin.metrics().is_none());
}
