//! The options that say where spans go by OTLP. What they do not say, the standard variables do.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use http::Uri;

/// Where spans go by OTLP.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "OpenTelemetry")]
pub struct OtlpArgs {
    /// Export spans by OTLP to this receiver, for instance http://localhost:4318
    ///
    /// The standard variables count as well, OTEL_EXPORTER_OTLP_ENDPOINT and the others;
    /// docs/opentelemetry.md tells what each does.
    #[arg(long, value_name = "URL", env = "BINDING_SPAN_OTLP")]
    pub otlp: Option<OtlpEndpoint>,

    /// How to talk to it; by default grpc where the port is 4317, else http/protobuf
    #[arg(
        long,
        value_name = "PROTOCOL",
        env = "BINDING_SPAN_OTLP_PROTOCOL",
        ignore_case = true,
        hide_short_help = true
    )]
    pub otlp_protocol: Option<OtlpProtocol>,
}

/// One of OTLP's protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OtlpProtocol {
    /// gRPC, usually on port 4317.
    #[value(name = "grpc")]
    Grpc,
    /// Protocol Buffers in HTTP requests, usually on port 4318.
    #[value(name = "http/protobuf", alias = "http")]
    HttpProtobuf,
}

impl OtlpProtocol {
    /// The name that the standard variables have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }
}

/// The address of a receiver: `http` or `https`, a host, and for HTTP the path before `/v1/traces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpEndpoint(pub(super) Uri);

impl FromStr for OtlpEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "write a URL such as http://localhost:4318 or https://otlp.example";
        let uri: Uri = text.parse().map_err(|error| format!("{error}; {shape}"))?;
        if uri.host().is_none_or(str::is_empty) || uri.authority().is_some_and(has_user) {
            return Err(format!("{shape}, without a user"));
        }
        match uri.scheme_str() {
            Some("http" | "https") => Ok(Self(uri)),
            Some(other) => Err(format!("OTLP does not travel by {other}; {shape}")),
            None => Err(shape.to_owned()),
        }
    }
}

/// A password in an address would be shown in logs; headers are the place for secrets.
fn has_user(authority: &http::uri::Authority) -> bool {
    authority.as_str().contains('@')
}
