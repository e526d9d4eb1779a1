//! The command line of `caller call`.

use std::str::FromStr;
use std::time::Duration;

use binding_span::SpanContext;
use clap::Args;
use clap::builder::FalseyValueParser;
use js_rpc::Address;

use crate::cli::{self, SwitchOrPath, exit_codes};
use crate::door::{IdentityArgs, TrustArgs};
use crate::otel::OtlpArgs;
use crate::telemetry::TailTo;

/// What `caller call` calls, and how.
#[derive(Debug, Clone, Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES, after_long_help = LONG)]
#[command(mut_args(|arg| arg.hide_env_values(true)))]
pub struct CallArgs {
    /// Where the callee is: unix:/path, host:port or tls:host:port
    #[arg(
        long,
        value_name = "ADDR",
        env = "BINDING_SPAN_CONNECT",
        required_unless_present = "dev"
    )]
    pub connect: Option<Address>,

    /// Call a Worker in development by its name, as wrangler's registry has it, or the one in DIR
    ///
    /// Instead of --connect. Bindings of daemons that run with --dev-registry are there too.
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        conflicts_with = "connect_name"
    )]
    pub(crate) dev: Option<SwitchOrPath>,

    /// Open with CONNECT NAME, as workerd does, instead of asking for the binding by its name
    #[arg(long, value_name = "NAME", env = "BINDING_SPAN_CONNECT_NAME")]
    pub connect_name: Option<String>,

    /// What to call: a binding's method, or a path such as DB.users.get
    ///
    /// The binding, or with --dev the Worker, is what stands before the first dot; behind a `#` it may have an
    /// entrypoint: `service#Entrypoint`.
    #[arg(value_name = "BINDING.METHOD")]
    pub target: Target,

    /// The arguments, each in JSON; @FILE reads one from a file, @- from stdin
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub arguments: Vec<String>,

    /// Read a property instead of calling a method
    #[arg(long, conflicts_with = "arguments")]
    pub get: bool,

    /// How long the call may take
    #[arg(long, value_name = "TIME", default_value = "30s", env = "BINDING_SPAN_DEADLINE", value_parser = cli::deadline)]
    pub deadline: Duration,

    /// The span that the call belongs to, in W3C form; TRACEPARENT is read as well
    ///
    /// A TRACEPARENT that is not valid is ignored, as the standard asks.
    #[arg(long, value_name = "TRACEPARENT")]
    pub traceparent: Option<SpanContext>,

    /// Append tail events, as JSON lines, to a file or to stderr
    #[arg(long, value_name = "FILE|stderr", env = "BINDING_SPAN_TAIL")]
    pub tail: Option<TailTo>,

    /// Do not show the spans
    #[arg(long)]
    pub no_tree: bool,

    /// Show all of the spans: every attribute, longer values, ids
    #[arg(short, long, conflicts_with = "no_tree")]
    pub verbose: bool,

    /// Connect to other machines without encryption
    #[arg(long, env = "BINDING_SPAN_INSECURE", value_parser = FalseyValueParser::new())]
    pub insecure: bool,

    /// Whom to connect to.
    #[command(flatten)]
    pub trust: TrustArgs,

    /// Who we are.
    #[command(flatten)]
    pub identity: IdentityArgs,

    /// Where spans go.
    #[command(flatten)]
    pub otlp: OtlpArgs,
}

impl CallArgs {
    /// The span that the call belongs to, by the option or by the variable.
    pub(super) fn parent(&self) -> Option<SpanContext> {
        if self.traceparent.is_some() {
            return self.traceparent;
        }
        let text = std::env::var("TRACEPARENT").ok()?;
        match text.parse() {
            Ok(context) => Some(context),
            Err(error) => {
                tracing::warn!("TRACEPARENT is ignored: {error}");
                None
            }
        }
    }
}

/// A binding's method, or a property of it.
///
/// ```
/// use daemons::caller::call::Target;
/// let target: Target = "shop#Admin.users.get".parse().unwrap();
/// assert_eq!((target.binding.as_str(), target.method.as_str()), ("shop#Admin", "users.get"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The binding.
    pub binding: String,
    /// The method, or the path to it with dots.
    pub method: String,
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some((binding, method))
                if !binding.is_empty()
                    && !method.is_empty()
                    && js_rpc::method_names(method)
                        .iter()
                        .all(|name| !name.is_empty()) =>
            {
                Ok(Self {
                    binding: binding.to_owned(),
                    method: method.to_owned(),
                })
            }
            _ => Err("write BINDING.METHOD, for instance DB.query"),
        }
    }
}

pub(crate) const USAGE: &str = "\
caller call [OPTIONS] --connect <ADDR> <BINDING.METHOD> [JSON]...
       caller call [OPTIONS] --dev[=<DIR>] <NAME.METHOD> [JSON]...";

const EXAMPLES: &str = "\
Examples:
  bspan call --connect unix:/run/callee.sock DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'
  bspan call --connect 127.0.0.1:7400 --get CONFIG.version

More with --help.";

const LONG: &str = concat!(
    r#"Examples:
  A statement with a parameter; a callee's D1 binding has the one method `query`:
    bspan call --connect unix:/run/callee.sock DB.query \
           '{"queries":[{"sql":"select ?1 + 1 as n","params":[41]}]}'

  Only the result, for a script; then only the spans:
    bspan call --connect unix:/run/callee.sock --no-tree DB.query @statements.json | jq .results
    bspan call --connect unix:/run/callee.sock DB.query @statements.json >/dev/null

  Several arguments, a deadline; a property:
    bspan call --connect 127.0.0.1:7400 --deadline 5s USERS.rename 7 '"Ada"' '{"notify":true}'
    bspan call --connect 127.0.0.1:7400 --get USERS.count

  A named entrypoint behind a workerd's debug port, as part of a trace:
    TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 \
    bspan call --connect 127.0.0.1:7500 'shop#Admin.report'

  A Worker that runs under `wrangler dev`, by its name; a named entrypoint of it:
    bspan call --dev shop.total '"EUR"'
    bspan call --dev 'shop#Admin.report'

  On another machine, whose certificate is known by its issuer; we show ours, if it asks:
    bspan call --connect tls:db.example:7400 --tls-ca ./ca.pem --tls-cert ./app.pem \
           --tls-key ./app.key DB.query @statements.json

The result is JSON on stdout and nothing else: indented on a terminal, one line otherwise. What JSON
lacks is an object with one word: {"$undefined":true}, {"$bigint":"1"}, {"$date":"..."},
{"$bytes":"..."}; the same words are understood in arguments. An object that could be called is
{"$stub":0}; it is let go of when the command ends. The spans go to stderr, in colour on a terminal.
An error that the callee threw is printed there as JavaScript does: TypeError: ...

"#,
    exit_codes!()
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_needs_a_binding_and_a_whole_path() {
        for wrong in ["", "DB", ".query", "DB.", "DB..x", "DB.a.", "."] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
