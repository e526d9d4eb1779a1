//! `caller health`: asks a daemon's admin port whether it is ready, for health checks of containers and
//! scripts, which then need no other program.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use js_rpc::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::tail::reason;
use crate::admin::AdminAt;
use crate::cli;
use crate::exit::Failure;

/// The command line of `caller health`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_args(|arg| arg.hide_env_values(true)))]
pub struct HealthArgs {
    /// The admin address of a daemon (its --admin): unix:/path or host:port
    #[arg(long, value_name = "ADDR", env = "BINDING_SPAN_ADMIN", value_parser = first_admin)]
    connect: Address,

    /// Ask only whether it is alive; whether it is ready otherwise
    #[arg(long)]
    live: bool,

    /// How long the answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = cli::deadline)]
    deadline: Duration,
}

const EXAMPLES: &str = "\
Examples:
  bspan health --connect 127.0.0.1:9400
  bspan health --connect unix:/run/binding-span/admin.sock --live

The answer goes to stdout. The exit code is 0 if it is ready and 1 if it is not, or cannot be asked.";

/// Reads an address; of what the variable says to a daemon, the first one.
fn first_admin(text: &str) -> Result<Address, String> {
    let first = text.split(';').next().unwrap_or_default();
    first.parse().map(|AdminAt { address, .. }| address)
}

/// Bytes of an answer.
const ANSWER: usize = 64 * 1024;

pub(super) async fn from_command_line(args: HealthArgs) -> Result<(), Failure> {
    let at = args.connect.clone();
    let asked = tokio::time::timeout(args.deadline, ask(&args)).await;
    // All that health checks tell apart is 0 and 1.
    let failed = |reason: String| Failure::Callee(format!("caller: {at} is not ready: {reason}"));
    let late = |_| failed("there was no answer in time".into());
    let (ready, text) = asked.map_err(late)?.map_err(failed)?;
    if !ready {
        return Err(failed(text));
    }
    // Each line is the daemon's own; what is within one is escaped there, and need not be.
    let text: Vec<_> = text.lines().map(tail::escape).collect();
    let written = writeln!(std::io::stdout(), "{}", text.join("\n"));
    written.map_err(|error| Failure::Output(format!("cannot write the answer: {error}")))
}

/// Whether the answer is yes, and what it says.
async fn ask(args: &HealthArgs) -> Result<(bool, String), String> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let (status, body) = match &args.connect {
        Address::Unix(socket) => {
            let stream = UnixStream::connect(socket).await;
            get(stream.map_err(|error| error.to_string())?, path).await?
        }
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await;
            get(stream.map_err(|error| error.to_string())?, path).await?
        }
        Address::Tls { .. } => {
            return Err("this asks without TLS; for a port at tls: use curl --cert".into());
        }
    };
    let text = String::from_utf8_lossy(&body);
    Ok((status.is_success(), text.trim_end().to_owned()))
}

fn unanswered(error: hyper::Error) -> String {
    let why = reason(&error);
    format!("{why}; is this the daemon's --admin, and are you the user that it runs as?")
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    path: &str,
) -> Result<(http::StatusCode, Bytes), String> {
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    tokio::task::spawn_local(connection);
    let request = http::Request::get(path).header(http::header::HOST, "localhost");
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(unanswered)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER).collect().await;
    let body = body.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}
