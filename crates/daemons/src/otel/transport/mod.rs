//! The two ways to a receiver, and what it can answer.

mod explain;
mod grpc;
mod http;
mod tls;

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};

use self::grpc::Grpc;
use self::http::Http;
use super::args::OtlpProtocol;
use super::settings::Target;

pub(super) use tls::config as tls;

/// The longest pause that a receiver may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A connection that is made when it is needed, and again when it was lost.
pub(super) enum Transport {
    Grpc(Box<Grpc>),
    Http(Box<Http>),
}

/// A batch, ready to be sent as often as it takes.
pub(super) enum Parcel {
    Grpc(ExportTraceServiceRequest),
    Http(hyper::body::Bytes),
}

/// A receiver took the batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Spans that it would not have, nevertheless.
    pub(super) rejected: u64,
    /// Why, in its words.
    pub(super) problem: Option<String>,
}

/// The batch was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Why, for people.
    pub(super) reason: String,
    /// Whether it makes sense to try again, and how long the receiver asks to be left alone; zero if it
    /// does not say.
    pub(super) again: Option<Duration>,
}

impl Transport {
    pub(super) fn new(target: &Target, tls: rustls::ClientConfig) -> Self {
        match target.protocol {
            OtlpProtocol::Grpc => Self::Grpc(Box::new(Grpc::new(target, tls))),
            OtlpProtocol::HttpProtobuf => Self::Http(Box::new(Http::new(target, tls))),
        }
    }

    /// Makes a batch ready. The error is for people.
    pub(super) fn pack(&self, request: ExportTraceServiceRequest) -> Result<Parcel, String> {
        match self {
            Self::Grpc(_) => Ok(Parcel::Grpc(request)),
            Self::Http(http) => http.pack(&request).map(Parcel::Http),
        }
    }

    pub(super) async fn send(&self, parcel: &Parcel) -> Result<Taken, Refusal> {
        match (self, parcel) {
            (Self::Grpc(grpc), Parcel::Grpc(request)) => grpc.send(request.clone()).await,
            (Self::Http(http), Parcel::Http(body)) => http.send(body.clone()).await,
            // What was packed for the other way.
            _ => Err(Refusal::final_(
                "the batch is of another protocol".to_owned(),
            )),
        }
    }
}

impl Taken {
    /// What a receiver said of a batch that it took.
    fn from(answer: ExportTraceServiceResponse) -> Self {
        let partial = answer.partial_success.unwrap_or_default();
        let said = explain::shown(&partial.error_message);
        Self {
            rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
            problem: (!said.is_empty()).then(|| format!("it says: {said}")),
        }
    }
}

impl Refusal {
    fn final_(reason: String) -> Self {
        Self {
            reason,
            again: None,
        }
    }

    fn for_now(reason: String, pause: Duration) -> Self {
        Self {
            reason,
            again: Some(pause.min(LONGEST_PAUSE)),
        }
    }
}
