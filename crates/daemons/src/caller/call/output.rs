//! What a call prints: the result for programs and people, the spans for people.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};

use futures::StreamExt;
use js_rpc::{ByteStream, Reply, Value};
use js_value::{json_text, json_text_pretty};
use tail::{Tree, TreeStyle};

use super::json;
use crate::exit::Failure;

/// The standard output stream, ours alone: what a library prints there meanwhile goes to the standard
/// error stream, so that the result is the only thing that a script reads. (capnp-rpc prints a line when
/// a peer breaks its protocol.)
pub(super) struct Output(File);

impl Output {
    /// Takes the stream.
    pub(super) fn take() -> Result<Self, Failure> {
        let taken = rustix::io::dup(io::stdout())
            .and_then(|own| rustix::stdio::dup2_stdout(io::stderr()).map(|()| own));
        match taken {
            Ok(own) => Ok(Self(own.into())),
            Err(error) => Err(cannot_write(&error.into())),
        }
    }

    /// Writes the result: a stream's bytes as they come, anything else as JSON. A reader that went away had enough.
    pub(super) async fn result(&mut self, reply: &Reply) -> Result<(), Failure> {
        if let Value::ReadableStream(n) = reply.value()
            && let Some(stream) = reply.readable(*n)
        {
            return self.stream(stream.clone()).await;
        }
        let json = json(reply)?;
        let text = match self.0.is_terminal() {
            true => json_text_pretty(&json),
            false => json_text(&json),
        };
        self.write(format!("{}\n", plain(&text)).as_bytes())
            .map(drop)
    }

    async fn stream(&mut self, mut stream: ByteStream) -> Result<(), Failure> {
        while let Some(bytes) = stream.next().await {
            let bytes =
                bytes.map_err(|error| Failure::Unavailable(format!("the result: {error}")))?;
            if !self.write(&bytes)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether somebody reads it.
    fn write(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        match self.0.write_all(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(cannot_write(&error)),
        }
    }
}

fn cannot_write(error: &io::Error) -> Failure {
    Failure::Output(format!("cannot write the result: {error}"))
}

/// Writes the spans to the standard error stream, in colour if that is a terminal.
pub(super) fn tree(tree: &Tree, verbose: bool) {
    let text = tree.render(TreeStyle::coloured().verbose(verbose));
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// The same JSON with escapes for the controls that JSON allows in strings and a terminal would act on.
fn plain(json: &str) -> std::borrow::Cow<'_, str> {
    let acts = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !json.contains(acts) {
        return json.into();
    }
    json.chars()
        .fold(String::new(), |mut out, c| {
            if acts(c) {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            } else {
                out.push(c);
            }
            out
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_that_json_allows_are_escaped_and_stay_the_same_value() {
        let json = serde_json::json!({"a": "\u{9b}31m ä \u{7f}"});
        let text = json.to_string();
        let plain = super::plain(&text);
        assert_eq!(plain, r#"{"a":"\u009b31m ä \u007f"}"#);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&plain).unwrap(),
            json
        );
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_a_connection_that_was_lost() {
        let parts = [Ok("a".into()), Err("its writer is gone")];
        let stream = ByteStream::new(futures::stream::iter(parts));
        let mut output = Output(tempfile::tempfile().unwrap());
        let failure = output.stream(stream).await.unwrap_err();
        let Failure::Unavailable(text) = failure else {
            panic!("{failure:?}");
        };
        assert!(text.contains("its writer is gone"), "{text}");
    }
}
