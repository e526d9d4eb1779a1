//! Where the admin port is, and what may be asked there by which names.

use std::str::FromStr;

use clap::Args;
use js_rpc::{Address, ListenOptions};

use crate::door::{self, Admission};
use crate::exit::{Failure, Findings};
use crate::listen;

/// The admin port.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Admin port")]
pub struct AdminArgs {
    /// Answer GET /metrics, /livez, /readyz by HTTP, on this machine or at unix:/path; may be repeated
    ///
    /// Metrics are for Prometheus. /livez says whether calls are still handled, /readyz whether they are
    /// taken; /healthz is the same. A unix socket is this user's alone, whatever --socket-group says.
    /// Other machines reach it with tls: and client certificates, or with --insecure. Behind an address
    /// may stand `,metrics`: then there is no live tail, which shows what is called; for Prometheus, on a
    /// machine with other users. Off by default: then nothing is counted. In the variable, several are
    /// separated by `;`.
    #[arg(
        long,
        value_name = "ADDR[,metrics]",
        env = "BINDING_SPAN_ADMIN",
        value_delimiter = ';'
    )]
    pub(crate) admin: Vec<AdminAt>,

    /// A Host that requests to the admin port may name, besides localhost; may be repeated
    ///
    /// A name that scrapers and probes use for this machine. Where other machines reach the port, its
    /// addresses are known without.
    #[arg(long, value_name = "HOST", env = "BINDING_SPAN_ADMIN_HOST", value_delimiter = ',', value_parser = crate::cli::host, hide_short_help = true)]
    pub(crate) admin_host: Vec<String>,
}

/// An address, and whether nothing is asked for there but metrics and health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdminAt {
    pub(crate) address: Address,
    pub(crate) metrics_only: bool,
}

impl FromStr for AdminAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.strip_suffix(",metrics");
        let address = plain.unwrap_or(text).parse();
        Ok(Self {
            address: address.map_err(|error: js_rpc::InvalidAddress| error.to_string())?,
            metrics_only: plain.is_some(),
        })
    }
}

/// An admin port that somebody asked for.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    pub(super) at: Vec<AdminAt>,
    pub(super) hosts: Vec<String>,
    pub(super) admission: Admission,
}

impl AdminArgs {
    /// The port that is asked for, if one is, for those who may connect with certificates.
    ///
    /// # Errors
    /// [`Failure::Config`] when other machines could reach it, and nobody said that they may.
    pub fn config(self, admission: &mut Admission) -> Result<Option<AdminConfig>, Failure> {
        if self.admin.is_empty() {
            return Ok(None);
        }
        let mut found = Findings::default();
        for (nth, AdminAt { address, .. }) in self.admin.iter().enumerate() {
            let may = listen::refuse_exposed(address, admission.judges(), admission.insecure);
            found.take(may.map_err(|failure| failure.of("admin", nth)));
            admission.tls_elsewhere |= door::is_tls(address);
        }
        found.end()?;
        let mut admission = admission.clone();
        admission.options = ListenOptions {
            tls: admission.options.tls,
            ..ListenOptions::default()
        };
        Ok(Some(AdminConfig {
            at: self.admin,
            hosts: self.admin_host,
            admission,
        }))
    }
}
