//! What the command line of a daemon says of local development, and what of it can be used.

use std::path::PathBuf;

use clap::Args;

use super::directories::{self, Environment};
use super::entry;
use crate::cli::{self, SwitchOrPath};
use crate::config::Places;
use crate::exit::{Failure, Findings};

/// Local development.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Local development")]
pub struct DevArgs {
    /// Enter the bindings in wrangler's development registry, or in the one in DIR
    ///
    /// Then Workers under `wrangler dev`, Vite or miniflare reach each by `"services": [{"binding": "X",
    /// "service": "NAME"}]`. It needs a --listen on 127.0.0.1 without `,binding=`, or takes a port there of its
    /// own; every user of this machine can call every binding by it. More in docs/wrangler.md.
    #[arg(
        long,
        value_name = "DIR",
        env = "BINDING_SPAN_DEV_REGISTRY",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) dev_registry: Option<SwitchOrPath>,

    /// Enter a binding under another name; may be repeated, in the variable with `;` between
    #[arg(
        long,
        value_name = "BINDING=NAME",
        env = "BINDING_SPAN_DEV_NAME",
        value_delimiter = ';',
        requires = "dev_registry",
        value_parser = named
    )]
    pub(crate) dev_name: Vec<DevName>,
}

/// A binding and the name that it is entered under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevName {
    binding: String,
    name: String,
}

fn named(text: &str) -> Result<DevName, String> {
    let (binding, name) = cli::named(text, "BINDING=NAME, for instance DB=shop")?;
    entry::check_name(name)?;
    Ok(DevName {
        binding: binding.to_owned(),
        name: name.to_owned(),
    })
}

/// What is to be entered, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevPlan {
    /// The registries' directories; each entry stands in all of them.
    pub(super) directories: Vec<PathBuf>,
    /// Each name, with the binding that it means.
    pub(super) names: Vec<(String, String)>,
}

impl DevArgs {
    /// Whether there is something to enter.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.dev_registry, None | Some(SwitchOrPath::Off))
    }

    /// What is to be entered of the bindings that are `served`, if something is.
    ///
    /// # Errors
    /// [`Failure::Config`] when a name cannot be a file's or is given twice, when a binding that is named is not
    /// served, or when there is no directory.
    pub(crate) fn plan(&self, served: &[&str], at: &Places) -> Result<Option<DevPlan>, Failure> {
        let Some(directory) = self.dev_registry.as_ref().filter(|_| self.is_on()) else {
            return Ok(None);
        };
        let mut found = Findings::default();
        let directories = directories::find(directory, &Environment::of_process());
        let directories = found.take(
            directories
                .map_err(|failure| at.blame(&["dev-registry"], Some("dev-registry"), failure)),
        );
        for (nth, said) in self.dev_name.iter().enumerate() {
            let checked = self.check(nth, said, served);
            found.take(checked.map_err(|text| {
                let failure = Failure::Config(text).of("dev-name", nth);
                at.blame(&["dev-name"], None, failure)
            }));
        }
        let mut names: Vec<(String, String)> = Vec::with_capacity(served.len());
        for service in services(served) {
            let renamed = self.dev_name.iter().find(|said| said.binding == service);
            let name = renamed.map_or(service, |said| said.name.as_str());
            if let Err(text) = entry::check_name(name) {
                found.add(Failure::Config(format!(
                    "the binding {service} cannot be in the development registry under its own name: {text}; \
                     give it another one: --dev-name '{service}=NAME'"
                )));
            }
            match names.iter().find(|(other, _)| other == name) {
                Some((_, other)) => found.add(Failure::Config(format!(
                    "--dev-name: {other} and {service} would both be {name} in the development registry; give \
                     each its own name"
                ))),
                None => names.push((name.to_owned(), service.to_owned())),
            }
        }
        match directories {
            Some(directories) if found.is_empty() => Ok(Some(DevPlan { directories, names })),
            _ => Err(found.failure()),
        }
    }

    fn check(&self, nth: usize, said: &DevName, served: &[&str]) -> Result<(), String> {
        let DevName { binding, .. } = said;
        let services = services(served);
        if !services.contains(&binding.as_str()) {
            return Err(format!(
                "--dev-name names the binding {binding:?}, which is not served; there is: {}",
                services.join(", ")
            ));
        }
        let before = &self.dev_name[..nth];
        match before.iter().any(|other| other.binding == *binding) {
            true => Err(format!(
                "--dev-name names the binding {binding:?} twice, and it has one name there; leave one out"
            )),
            false => Ok(()),
        }
    }
}

/// What has an entry, none twice: a binding that is called as an entrypoint, `service#Entrypoint`, is reached by its
/// service's.
fn services<'a>(served: &[&'a str]) -> Vec<&'a str> {
    let mut services = Vec::with_capacity(served.len());
    for binding in served {
        let (service, _) = binding.split_once('#').unwrap_or((binding, ""));
        if !services.contains(&service) {
            services.push(service);
        }
    }
    services
}
