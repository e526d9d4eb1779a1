//! OTLP by HTTP, in Protocol Buffers.

use std::io::Write;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;

use super::{Refusal, Taken, explain, tls};
use crate::otel::OtlpProtocol;
use crate::otel::settings::Target;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("binding-span/", env!("CARGO_PKG_VERSION")));

/// Bytes of an answer that are read; all but errors are empty or nearly so.
const ANSWER_BYTES: usize = 64 * 1024;

pub(in crate::otel) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    headers: HeaderMap,
    gzip: bool,
}

impl Http {
    pub(super) fn new(target: &Target, config: rustls::ClientConfig) -> Self {
        let connector = tls::connector(config, OtlpProtocol::HttpProtobuf);
        let mut headers: HeaderMap = [(USER_AGENT, AGENT)].into_iter().collect();
        headers.extend(target.headers.iter().cloned());
        // Whatever the variables say, this is what is sent.
        headers.insert(CONTENT_TYPE, PROTOBUF);
        if target.gzip {
            headers.insert(CONTENT_ENCODING, GZIP);
        }
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            endpoint: target.endpoint.clone(),
            headers,
            gzip: target.gzip,
        }
    }

    pub(super) fn pack(&self, request: &ExportTraceServiceRequest) -> Result<Bytes, String> {
        let bytes = request.encode_to_vec();
        if !self.gzip {
            return Ok(bytes.into());
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
        match packed {
            Ok(packed) => Ok(packed.into()),
            Err(error) => Err(format!("cannot compress: {error}")),
        }
    }

    pub(super) async fn send(&self, body: Bytes) -> Result<Taken, Refusal> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| lost(&error))?;
        let (head, body) = answer.into_parts();
        // It is read in any case, so that the connection can be used again.
        let body = read(body).await;
        if !head.status.is_success() {
            return Err(refusal(head.status, &head.headers));
        }
        // One that does not speak of parts took all.
        let said = body.and_then(|body| ExportTraceServiceResponse::decode(body).ok());
        Ok(Taken::from(said.unwrap_or_default()))
    }
}

async fn read(body: Incoming) -> Option<Bytes> {
    let body = Limited::new(body, ANSWER_BYTES).collect().await.ok()?;
    Some(body.to_bytes())
}

/// There was no answer, or none in HTTP.
fn lost(error: &hyper_util::client::legacy::Error) -> Refusal {
    let reason = explain::chain(error);
    let cause = std::error::Error::source(error).and_then(|e| e.downcast_ref::<hyper::Error>());
    match cause.is_some_and(hyper::Error::is_parse) {
        true => Refusal::final_(format!("{reason}; is it a port for gRPC, or for https?")),
        false => Refusal::for_now(reason, Duration::ZERO),
    }
}

/// What a status means, by OTLP's table.
fn refusal(status: StatusCode, headers: &HeaderMap) -> Refusal {
    let reason = format!("HTTP {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Refusal::for_now(reason, pause(headers)),
        StatusCode::NOT_FOUND => {
            Refusal::final_(format!("{reason}; is it the address of an OTLP receiver?"))
        }
        _ => Refusal::final_(reason),
    }
}

/// How long the receiver asks to be left alone: seconds, or a date.
fn pause(headers: &HeaderMap) -> Duration {
    let asked = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok());
    let Some(asked) = asked.map(str::trim) else {
        return Duration::ZERO;
    };
    if let Ok(seconds) = asked.parse() {
        return Duration::from_secs(seconds);
    }
    let date = httpdate::parse_http_date(asked).ok();
    let left = date.and_then(|date| date.duration_since(SystemTime::now()).ok());
    left.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::LONGEST_PAUSE;
    use super::*;

    #[test]
    fn what_is_tried_again_is_what_otlp_says() {
        let asked: HeaderMap = [(RETRY_AFTER, HeaderValue::from_static("3"))]
            .into_iter()
            .collect();
        for (status, again) in [
            (429, true),
            (502, true),
            (503, true),
            (504, true),
            (500, false),
            (400, false),
            (404, false),
            (301, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let expected = again.then_some(Duration::from_secs(3));
            assert_eq!(refusal(status, &asked).again, expected, "{status}");
        }
    }

    #[test]
    fn a_pause_is_seconds_or_a_date_and_has_an_end() {
        let asked = |text: &str| {
            let header = (RETRY_AFTER, HeaderValue::try_from(text).unwrap());
            let headers: HeaderMap = [header].into_iter().collect();
            refusal(StatusCode::TOO_MANY_REQUESTS, &headers)
                .again
                .unwrap()
        };
        assert_eq!(asked(" 7 "), Duration::from_secs(7));
        assert_eq!(asked("999999999"), LONGEST_PAUSE);
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        let pause = asked(&soon).as_secs();
        assert!((30..=60).contains(&pause), "{soon}: {pause}");
        for nothing in ["Thu, 01 Jan 1970 00:00:00 GMT", "-1", "soon", ""] {
            assert_eq!(asked(nothing), Duration::ZERO, "{nothing}");
        }
    }
}
