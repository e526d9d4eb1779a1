//! Where the admin port is, and what may be asked there by which names.

use clap::Args;
use js_rpc::{Address, ListenOptions};

use crate::door::{self, Admission};
use crate::exit::Failure;
use crate::listen;

/// The admin port.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Admin port")]
pub struct AdminArgs {
    /// Answer GET /metrics, /livez and /readyz by HTTP, at an address of this machine or unix:/path
    ///
    /// Metrics are for Prometheus. /livez says whether calls are still handled, /readyz whether they are
    /// taken; /healthz is the same. A unix socket is this user's alone, whatever --socket-group says.
    /// Other machines reach it with tls: and client certificates, or with --insecure. Off by default:
    /// then nothing is counted.
    #[arg(long, value_name = "ADDR", env = "BINDING_SPAN_ADMIN")]
    pub(crate) admin: Option<Address>,

    /// A Host that requests to the admin port may name, besides localhost; may be repeated
    ///
    /// A name that scrapers and probes use for this machine. Where other machines reach the port, its
    /// addresses are known without.
    #[arg(long, value_name = "HOST", env = "BINDING_SPAN_ADMIN_HOST", value_delimiter = ',', value_parser = crate::cli::host, hide_short_help = true)]
    pub(crate) admin_host: Vec<String>,
}

/// An admin port that somebody asked for.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    pub(super) address: Address,
    pub(super) hosts: Vec<String>,
    pub(super) admission: Admission,
}

impl AdminArgs {
    /// The port that is asked for, if one is, for those who may connect with certificates.
    ///
    /// # Errors
    /// [`Failure::Config`] when other machines could reach it, and nobody said that they may.
    pub fn config(self, admission: &mut Admission) -> Result<Option<AdminConfig>, Failure> {
        let Some(address) = self.admin else {
            return Ok(None);
        };
        listen::refuse_exposed(&address, admission.judges(), admission.insecure)?;
        admission.tls_elsewhere |= door::is_tls(&address);
        let mut admission = admission.clone();
        admission.options = ListenOptions {
            tls: admission.options.tls,
            ..ListenOptions::default()
        };
        Ok(Some(AdminConfig {
            address,
            hosts: self.admin_host,
            admission,
        }))
    }
}
