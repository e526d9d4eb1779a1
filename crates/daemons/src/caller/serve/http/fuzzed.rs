//! What comes by HTTP, up to the call: for fuzzing what a stranger may send.

use std::rc::Rc;
use std::time::Duration;

use ::http::Request;
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::answer::{self, Refusal};
use super::body::Bodies;
use super::call::{arguments, parent};
use super::gate::{self, Wanted};
use crate::http::gate::Hosts;
use crate::http::{Answer, Handler, HttpLimits, talk};

/// Reads a request as a call, and answers with what would be called.
struct UpToTheCall(Bodies);

impl UpToTheCall {
    async fn read(&self, request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
        let (head, body) = request.into_parts();
        let Wanted { binding, method } = gate::pass(&head, &Hosts::default())?;
        let args = arguments(&self.0.receive(body).await?)?;
        let parent = parent(&head.headers).map(|parent| format!("{parent:?}"));
        let read = json!({
            "binding": binding, "method": method, "arguments": args.values.len(), "parent": parent,
        });
        Ok(read.to_string().into_bytes())
    }
}

impl Handler for UpToTheCall {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match self.read(request).await {
            Ok(read) => answer::result(read, None),
            Err(refusal) => refusal.answer(),
        }
    }
}

/// What is answered to bytes, after which nothing more is sent.
pub(crate) async fn answers(bytes: &[u8]) -> Vec<u8> {
    let limits = HttpLimits {
        head: Duration::from_secs(5),
        head_bytes: super::HEAD_BYTES,
        stall: Duration::from_secs(5),
        grace: Duration::ZERO,
    };
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (_running, stopped) = watch::channel(false);
    let handler = Rc::new(UpToTheCall(Bodies::default()));
    let (mut answers, mut write) = tokio::io::split(near);
    let mut said = Vec::new();
    let answer = async { drop(talk(far, handler, limits, stopped).await) };
    let send = async {
        // It may stop reading.
        let _ = write.write_all(bytes).await;
        let _ = write.shutdown().await;
    };
    let hear = async { drop(answers.read_to_end(&mut said).await) };
    tokio::join!(answer, send, hear);
    said
}
