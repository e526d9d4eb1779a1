//! OTLP by gRPC.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::{Refusal, Taken, explain, tls};
use crate::otel::OtlpProtocol;
use crate::otel::settings::Target;

/// How often a quiet connection is asked whether it is alive while an answer is awaited, so that one that
/// died without a word is found.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

pub(in crate::otel) struct Grpc {
    client: TraceServiceClient<Channel>,
    headers: MetadataMap,
}

impl Grpc {
    pub(super) fn new(target: &Target, config: rustls::ClientConfig) -> Self {
        let endpoint = Endpoint::from(target.endpoint.clone())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .connect_timeout(target.timeout);
        let connector = tls::connector(config, OtlpProtocol::Grpc);
        let client = TraceServiceClient::new(endpoint.connect_with_connector_lazy(connector));
        let headers = target.headers.iter().cloned();
        Self {
            client: match target.gzip {
                true => client.send_compressed(CompressionEncoding::Gzip),
                false => client,
            },
            headers: MetadataMap::from_headers(headers.collect::<HeaderMap>()),
        }
    }

    pub(super) async fn send(&self, message: ExportTraceServiceRequest) -> Result<Taken, Refusal> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        match self.client.clone().export(request).await {
            Ok(answer) => Ok(Taken::from(answer.into_inner())),
            Err(status) => Err(refusal(&status)),
        }
    }
}

/// What a status means, by OTLP's table.
fn refusal(status: &Status) -> Refusal {
    let mut reason = format!(
        "gRPC {:?}: {}",
        status.code(),
        explain::shown(status.message())
    );
    // What is below a status of our own making is why there is no connection.
    if let Some(cause) = std::error::Error::source(status) {
        reason = format!("{reason}: {}", explain::chain(cause));
    }
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Refusal::for_now(reason, Duration::ZERO),
        _ => Refusal::final_(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again_is_what_otlp_says() {
        for (code, again) in [
            (Code::Unavailable, true),
            (Code::Aborted, true),
            (Code::ResourceExhausted, false),
            (Code::InvalidArgument, false),
            (Code::Unauthenticated, false),
            (Code::Unimplemented, false),
        ] {
            let refusal = refusal(&Status::new(code, "no\x1b[31m"));
            assert_eq!(refusal.again.is_some(), again, "{code:?}");
            assert!(!refusal.reason.contains('\x1b'), "{:?}", refusal.reason);
        }
    }
}
