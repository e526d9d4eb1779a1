//! OTLP by gRPC.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

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
    let asked = status.get_details_retry_info();
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => {}
        // Whoever says when to come again expects to have room again.
        Code::ResourceExhausted if asked.is_some() => {}
        _ => return Refusal::final_(reason),
    }
    let pause = asked.and_then(|asked| asked.retry_delay);
    Refusal::for_now(reason, pause.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::LONGEST_PAUSE;
    use super::*;
    use tonic_types::ErrorDetails;

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
            assert_eq!(refusal.again, again.then_some(Duration::ZERO), "{code:?}");
            assert!(!refusal.reason.contains('\x1b'), "{:?}", refusal.reason);
        }
    }

    #[test]
    fn who_says_when_to_come_again_is_asked_again_then() {
        let second = Duration::from_secs(1);
        let said = |code, details: ErrorDetails| {
            refusal(&Status::with_error_details(code, "busy", details)).again
        };
        for (code, asked, again) in [
            (Code::ResourceExhausted, Some(second), Some(second)),
            (Code::ResourceExhausted, None, Some(Duration::ZERO)),
            (Code::Unavailable, Some(second * 2), Some(second * 2)),
            (Code::Unavailable, Some(Duration::MAX), Some(LONGEST_PAUSE)),
            (Code::InvalidArgument, Some(second), None),
        ] {
            let details = ErrorDetails::with_retry_info(asked);
            assert_eq!(said(code, details), again, "{code:?} {asked:?}");
        }
        let other = ErrorDetails::with_debug_info(Vec::<String>::new(), "full");
        assert_eq!(said(Code::ResourceExhausted, other), None);
        let broken = Status::with_details(Code::ResourceExhausted, "", vec![0xff; 9].into());
        assert_eq!(refusal(&broken).again, None, "details that are none");
    }
}
