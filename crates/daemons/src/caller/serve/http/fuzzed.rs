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
use super::call::{parent, values};
use super::gate::{self, Wanted};
use crate::http::gate::Hosts;
use crate::http::{Answer, Client, Handler, HttpLimits, talk};

/// Reads a request as a call, and answers with what would be called.
struct UpToTheCall(Bodies);

impl UpToTheCall {
    async fn read(&self, request: Request<Incoming>, client: &Client) -> Result<Vec<u8>, Refusal> {
        let (head, body) = request.into_parts();
        let Wanted { binding, method } = gate::pass(&head, &Hosts::default())?;
        let args = self
            .0
            .receive(body, client.key)
            .await?
            .read(values)
            .await??;
        let parent = parent(&head.headers).map(|parent| format!("{parent:?}"));
        let read = json!({
            "binding": binding, "method": method, "arguments": args.len(), "parent": parent,
        });
        Ok(read.to_string().into_bytes())
    }
}

impl Handler for UpToTheCall {
    async fn answer(&self, request: Request<Incoming>, client: &Client) -> Answer {
        match self.read(request, client).await {
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
        most: None,
    };
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (_running, stopped) = watch::channel(false);
    let handler = Rc::new(UpToTheCall(Bodies::default()));
    let nobody = js_rpc::PeerKey::Uid(0);
    let client = Rc::new(Client::new(nobody, js_rpc::ClientId::LOCAL));
    let (mut answers, mut write) = tokio::io::split(near);
    let mut said = Vec::new();
    let answer = async { drop(talk(far, handler, limits, client, stopped).await) };
    let send = async {
        // It may stop reading.
        let _ = write.write_all(bytes).await;
        let _ = write.shutdown().await;
    };
    let hear = async { drop(answers.read_to_end(&mut said).await) };
    tokio::join!(answer, send, hear);
    said
}
