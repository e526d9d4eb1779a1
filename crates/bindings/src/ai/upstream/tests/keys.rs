//! Keys, from where they are.

use std::path::Path;

use super::server::{Server, ok};
use super::*;

async fn sent(provider: &Provider, server: &Server) -> String {
    answer(provider, chat()).await;
    let heard = server.heard().pop().unwrap();
    let line = heard.lines().find(|it| it.starts_with("authorization"));
    line.unwrap_or_default().to_owned()
}

fn of_file(server: &Server, path: &Path) -> ProviderOptions {
    let mut options = options(server);
    options.key = Some(Secret::File(path.to_owned()));
    options
}

#[tokio::test]
async fn a_key_file_is_read_again_when_it_changed() {
    let server = Server::answering(|_| ok("")).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "sk-1\n").unwrap();
    let provider = open(of_file(&server, &path));
    assert_eq!(sent(&provider, &server).await, "authorization: Bearer sk-1");
    // In place and as long; then another file, as old as it can be.
    std::fs::write(&path, "sk-2\n").unwrap();
    assert_eq!(sent(&provider, &server).await, "authorization: Bearer sk-2");
    let next = folder.path().join("next");
    std::fs::write(&next, "sk-3\r\n").unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let file = std::fs::File::options().write(true).open(&next).unwrap();
    file.set_modified(old).unwrap();
    std::fs::rename(&next, &path).unwrap();
    for _ in 0..2 {
        assert_eq!(sent(&provider, &server).await, "authorization: Bearer sk-3");
    }

    std::fs::remove_file(&path).unwrap();
    let error = error(&provider, chat()).await;
    assert_eq!(error.error_type(), "upstream_key");
    assert!(!error.is_passing());
    assert!(!format!("{error} {error:?}").contains("sk-"), "{error:?}");
    assert_eq!(server.heard().len(), 4, "it was not asked without a key");
    std::fs::write(&path, "sk-4").unwrap();
    assert_eq!(sent(&provider, &server).await, "authorization: Bearer sk-4");
    assert_eq!(provider.status().in_flight, 0);
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_refused_at_once_and_not_repeated() {
    let server = Server::answering(|_| ok("")).await;
    let folder = tempfile::tempdir().unwrap();
    let long = "planted".repeat(10_000);
    let cases = [
        ("", "empty"),
        ("\n", "empty"),
        ("planted\nplanted\n", "one line"),
        ("planted\0", "one line"),
        (&long, "too long"),
    ];
    for (content, why) in cases {
        let path = folder.path().join("key");
        std::fs::write(&path, content).unwrap();
        let error = Provider::open(of_file(&server, &path)).err().unwrap();
        let text = error.to_string();
        assert!(text.contains(why) && text.contains("local"), "{text}");
        assert!(!text.contains("planted"), "{text}");
    }
    for (path, why) in [("nowhere", "No such file"), (".", "not a file")] {
        let error = Provider::open(of_file(&server, &folder.path().join(path)));
        let text = error.err().unwrap().to_string();
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn options_do_not_show_secrets() {
    let endpoint = Endpoint::Http("http://127.0.0.1/v1".parse().unwrap());
    let mut options = ProviderOptions::new("local", endpoint);
    options.key = key("planted");
    assert!(!format!("{options:?}").contains("planted"));
}
