//! Where spans go, and how: the address, the protocol, headers, compression, certificates.

use std::path::PathBuf;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};

use super::vars::{Exporters, Vars};
use super::{TIMEOUT, Target};
use crate::otel::args::{OtlpArgs, OtlpEndpoint, OtlpProtocol};

/// The path of traces, below the address that is for all signals.
const TRACES: &str = "/v1/traces";
/// The port on which receivers speak gRPC, and nothing else.
const GRPC_PORT: u16 = 4317;

impl Target {
    /// `None`: nobody asked for an export, or it cannot be done as asked, and a warning says why.
    pub(super) fn new(args: &OtlpArgs, vars: &mut Vars<'_>) -> Option<Self> {
        let said = protocol(args, vars);
        let (endpoint, of_traces) = address(args, said, vars)?;
        let port = endpoint.port_u16();
        let protocol = said.unwrap_or(match port {
            Some(GRPC_PORT) => OtlpProtocol::Grpc,
            _ => OtlpProtocol::HttpProtobuf,
        });
        let endpoint = match protocol {
            OtlpProtocol::HttpProtobuf => with_path(endpoint, of_traces),
            OtlpProtocol::Grpc => endpoint,
        };
        Some(Self {
            protocol,
            endpoint,
            headers: headers(vars),
            gzip: gzip(vars),
            timeout: vars.timeout(&TIMEOUTS).unwrap_or(TIMEOUT),
            issuers: vars.first(&CERTIFICATE).map(|(_, path)| path.into()),
            identity: identity(vars)?,
        })
    }
}

/// Variables: that of traces, and that of all signals.
type Names = [&'static str; 2];

const ENDPOINT: Names = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOL: Names = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const TIMEOUTS: Names = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
const HEADERS: Names = [
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
];
const COMPRESSION: Names = [
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
];
const INSECURE: Names = [
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_OTLP_INSECURE",
];
const CERTIFICATE: Names = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];
const CLIENT_CERTIFICATE: Names = [
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
];
const CLIENT_KEY: Names = [
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
];

fn protocol(args: &OtlpArgs, vars: &mut Vars<'_>) -> Option<OtlpProtocol> {
    if args.otlp_protocol.is_some() {
        return args.otlp_protocol;
    }
    let (name, text) = vars.first(&PROTOCOL)?;
    match text.to_ascii_lowercase().as_str() {
        "grpc" => Some(OtlpProtocol::Grpc),
        "http/protobuf" => Some(OtlpProtocol::HttpProtobuf),
        "http/json" => {
            vars.warn(format!(
                "{name}: http/json is not spoken here; http/protobuf is used, on the same port"
            ));
            Some(OtlpProtocol::HttpProtobuf)
        }
        _ => {
            vars.ignore(name, &text, "grpc or http/protobuf");
            None
        }
    }
}

/// The address, and whether it is that of traces and not of all signals.
fn address(
    args: &OtlpArgs,
    protocol: Option<OtlpProtocol>,
    vars: &mut Vars<'_>,
) -> Option<(Uri, bool)> {
    if let Some(endpoint) = &args.otlp {
        return Some((endpoint.0.clone(), false));
    }
    let Some((name, text)) = vars.first(&ENDPOINT) else {
        return (vars.exporters() == Exporters::Otlp).then(|| (by_default(protocol), false));
    };
    let text = match protocol {
        // gRPC's addresses may do without a scheme, and are then encrypted unless told otherwise.
        Some(OtlpProtocol::Grpc) if !text.contains("://") => {
            let insecure = vars
                .first(&INSECURE)
                .is_some_and(|(name, _)| vars.flag(name));
            format!("{}://{text}", if insecure { "http" } else { "https" })
        }
        _ => text,
    };
    match text.parse::<OtlpEndpoint>() {
        Ok(endpoint) => Some((endpoint.0, name == ENDPOINT[0])),
        Err(reason) => {
            vars.warn(format!(
                "{name} cannot be used, and no spans are exported: {reason}"
            ));
            None
        }
    }
}

fn by_default(protocol: Option<OtlpProtocol>) -> Uri {
    Uri::from_static(match protocol {
        Some(OtlpProtocol::Grpc) => "http://localhost:4317",
        _ => "http://localhost:4318",
    })
}

/// An address of all signals gets the path of traces; one of traces is taken as it is.
fn with_path(endpoint: Uri, of_traces: bool) -> Uri {
    if of_traces {
        return endpoint;
    }
    let path = format!("{}{TRACES}", endpoint.path().trim_end_matches('/'));
    let path = match endpoint.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    Uri::from_parts(parts).unwrap_or(endpoint)
}

fn headers(vars: &mut Vars<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let Some((name, _)) = vars.first(&HEADERS) else {
        return Vec::new();
    };
    let mut headers = Vec::new();
    for (key, value) in vars.pairs(name) {
        let header = HeaderName::try_from(&key)
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        match header {
            Some((header, _)) if is_ours(&header) => vars.warn(format!(
                "{name}: {key:?} is ignored: it says how a request travels, which is not for a setting to say"
            )),
            Some((header, mut value)) => {
                value.set_sensitive(true);
                headers.push((header, value));
            }
            None => vars.warn(format!("{name}: {key:?} is ignored: it is no header")),
        }
    }
    headers
}

/// Whether a header belongs to the request itself or to its connection: one of a variable would contradict what is
/// sent, and no receiver would take it.
fn is_ours(header: &HeaderName) -> bool {
    const OURS: [&str; 16] = [
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "trailers",
        "upgrade",
    ];
    OURS.contains(&header.as_str()) || header.as_str().starts_with("grpc-")
}

fn gzip(vars: &mut Vars<'_>) -> bool {
    let Some((name, text)) = vars.first(&COMPRESSION) else {
        return false;
    };
    match text.to_ascii_lowercase().as_str() {
        "gzip" => true,
        "none" => false,
        _ => {
            vars.ignore(name, &text, "gzip or none");
            false
        }
    }
}

/// The files that say who we are; `Some(None)` without. Half of it is a mistake, and a receiver that asks
/// for it would refuse us.
fn identity(vars: &mut Vars<'_>) -> Option<Option<(PathBuf, PathBuf)>> {
    let certificate = vars.first(&CLIENT_CERTIFICATE);
    let key = vars.first(&CLIENT_KEY);
    match (certificate, key) {
        (None, None) => Some(None),
        (Some((_, certificate)), Some((_, key))) => Some(Some((certificate.into(), key.into()))),
        (Some((name, _)), None) | (None, Some((name, _))) => {
            vars.warn(format!(
                "{name} is set alone, and no spans are exported: a client certificate and its key go together"
            ));
            None
        }
    }
}
