//! The same job by tarpc: bincode in frames with a length, what is said of the span as fields of the answer.

use std::path::Path;
use std::time::Duration;

use binding_span::Attribute;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tarpc::serde_transport::unix;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context};

use crate::{Counted, Load, Said};

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    ok: bool,
    rows: u32,
    text: String,
    name: String,
    attributes: Vec<(String, Value)>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Value {
    Text(String),
    Number(i64),
}

#[tarpc::service]
trait Bench {
    async fn run(argument: u32) -> Answer;
}

#[derive(Clone)]
struct Callee;

impl Bench for Callee {
    async fn run(self, _: context::Context, _argument: u32) -> Answer {
        let crate::Answer { ok, rows, text } = crate::Answer::default();
        let system = Value::Text("sqlite".to_owned());
        Answer {
            ok,
            rows,
            text: text.to_owned(),
            name: "d1.query".to_owned(),
            attributes: vec![
                ("db.system.name".to_owned(), system),
                ("db.response.returned_rows".to_owned(), Value::Number(3)),
            ],
        }
    }
}

pub async fn serve(path: &Path, ready: impl FnOnce()) {
    let mut connections = unix::listen(path, Bincode::default)
        .await
        .expect("a socket");
    ready();
    while let Some(connection) = connections.next().await {
        let channel = BaseChannel::with_defaults(connection.expect("a connection"));
        let calls = channel.execute(Callee.serve());
        tokio::spawn(calls.for_each(|call| async {
            tokio::spawn(call);
        }));
    }
}

pub async fn round(path: &Path, load: Load, sink: &Counted) -> Duration {
    let transport = unix::connect(path, Bincode::default)
        .await
        .expect("the callee");
    let client = BenchClient::new(client::Config::default(), transport).spawn();
    let call = || async {
        let answer = client.run(context::current(), 3).await.expect("an answer");
        assert!(answer.ok);
        sink.take(&said(answer));
    };
    load.time(call).await
}

fn said(answer: Answer) -> Said {
    let attribute = |(key, value)| match value {
        Value::Text(text) => Attribute::new(key, text),
        Value::Number(number) => Attribute::new(key, number),
    };
    Said {
        name: answer.name,
        attributes: answer.attributes.into_iter().map(attribute).collect(),
    }
}
