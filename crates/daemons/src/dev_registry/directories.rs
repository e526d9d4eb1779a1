//! Where the development registries of this user are: as wrangler, miniflare and the Vite plugin look for them.
//!
//! Each of them has a variable and a default of its own, and these have changed from version to version. Who sets a
//! variable wants that one and no other; without any, an entry stands where each of them looks.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::SwitchOrPath;
use crate::exit::Failure;

/// Overrides all others, in versions that know it.
const EVERYBODY: &str = "CLOUDFLARE_DEV_REGISTRY_PATH";

/// Of wrangler, and of miniflare for itself and the Vite plugin.
const EACH: [&str; 2] = ["WRANGLER_REGISTRY_PATH", "MINIFLARE_REGISTRY_PATH"];

/// Ours, for commands that have no option of that name.
const OURS: &str = "BINDING_SPAN_DEV_REGISTRY";

/// What the places depend on.
pub(super) struct Environment<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
    pub(super) home: Option<PathBuf>,
}

impl Environment<'static> {
    pub(super) fn of_process() -> Self {
        Self {
            variable: &|name| std::env::var_os(name),
            home: std::env::home_dir(),
        }
    }
}

impl Environment<'_> {
    /// A variable that is not empty.
    fn get(&self, name: &str) -> Option<PathBuf> {
        let value = (self.variable)(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    }
}

/// The directories that are meant, absolute, none twice; they need not be there.
///
/// # Errors
/// [`Failure::Config`] when nothing says where, not even a home directory.
pub(super) fn find(
    said: &SwitchOrPath,
    environment: &Environment<'_>,
) -> Result<Vec<PathBuf>, Failure> {
    let said = match said {
        SwitchOrPath::At(path) => vec![path.clone()],
        SwitchOrPath::On | SwitchOrPath::Off => default(environment)?,
    };
    let mut directories = Vec::with_capacity(said.len());
    for path in said {
        let absolute = std::path::absolute(&path).map_err(|error| {
            let path = path.display();
            Failure::Config(format!("the development registry {path:?}: {error}"))
        })?;
        if !directories.contains(&absolute) {
            directories.push(absolute);
        }
    }
    Ok(directories)
}

fn default(environment: &Environment<'_>) -> Result<Vec<PathBuf>, Failure> {
    if let Some(SwitchOrPath::At(path)) = environment
        .get(OURS)
        .and_then(|value| value.to_str()?.parse().ok())
    {
        return Ok(vec![path]);
    }
    if let Some(path) = environment.get(EVERYBODY) {
        return Ok(vec![path]);
    }
    let named: Vec<PathBuf> = EACH
        .iter()
        .filter_map(|name| environment.get(name))
        .collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let config = configuration(environment).ok_or_else(|| {
        Failure::Config(
            "where the development registry is cannot be told without a home directory; name it: \
             --dev-registry=DIR"
                .into(),
        )
    })?;
    Ok(vec![
        wrangler(environment.home.as_deref(), &config).join("registry"),
        config.join("cloudflare/dev-registry/v5"),
    ])
}

/// Where wrangler has what is this user's: in the home directory if it has been there before.
fn wrangler(home: Option<&Path>, config: &Path) -> PathBuf {
    let before = home.map(|home| home.join(".wrangler"));
    let before = before.filter(|before| before.is_dir());
    before.unwrap_or_else(|| config.join(".wrangler"))
}

/// Where programs have what is this user's.
fn configuration(environment: &Environment<'_>) -> Option<PathBuf> {
    let own = match cfg!(target_os = "macos") {
        true => "Library/Preferences",
        false => ".config",
    };
    let home = || environment.home.as_ref().map(|home| home.join(own));
    environment.get("XDG_CONFIG_HOME").or_else(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(variables: &[(&str, &str)], home: Option<&Path>) -> Result<Vec<String>, Failure> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let environment = Environment {
            variable: &variable,
            home: home.map(Path::to_owned),
        };
        let found = find(&SwitchOrPath::On, &environment)?;
        Ok(found
            .into_iter()
            .map(|path| path.to_str().unwrap().to_owned())
            .collect())
    }

    #[test]
    fn variables_of_other_tools_and_of_the_desktop_count_as_for_them() {
        let home = tempfile::tempdir().unwrap();
        let path = |rest: &str| format!("{}/{rest}", home.path().display());
        let both = |config: &str| {
            vec![
                format!("{config}/.wrangler/registry"),
                format!("{config}/cloudflare/dev-registry/v5"),
            ]
        };
        let config = match cfg!(target_os = "macos") {
            true => path("Library/Preferences"),
            false => path(".config"),
        };
        let all = [
            ("MINIFLARE_REGISTRY_PATH", "/m"),
            ("WRANGLER_REGISTRY_PATH", "/w"),
            ("CLOUDFLARE_DEV_REGISTRY_PATH", "/all"),
            ("BINDING_SPAN_DEV_REGISTRY", "/ours"),
            ("XDG_CONFIG_HOME", "/xdg"),
        ];
        let only = |names: &[usize]| {
            let said: Vec<_> = names.iter().map(|i| all[*i]).collect();
            at(&said, Some(home.path())).unwrap()
        };
        assert_eq!(only(&[]), both(&config));
        assert_eq!(only(&[4]), both("/xdg"));
        assert_eq!(only(&[0, 4]), ["/m"]);
        assert_eq!(only(&[0, 1]), ["/w", "/m"]);
        assert_eq!(only(&[0, 1, 2]), ["/all"]);
        assert_eq!(only(&[0, 1, 2, 3]), ["/ours"]);
        let switch = [
            ("BINDING_SPAN_DEV_REGISTRY", "true"),
            ("WRANGLER_REGISTRY_PATH", "/w"),
        ];
        assert_eq!(at(&switch, None).unwrap(), ["/w"]);
        let same = [
            ("WRANGLER_REGISTRY_PATH", "/w"),
            ("MINIFLARE_REGISTRY_PATH", "/w"),
        ];
        assert_eq!(at(&same, None).unwrap(), ["/w"]);
        // Where wrangler has been before it looks first.
        std::fs::create_dir(home.path().join(".wrangler")).unwrap();
        assert_eq!(only(&[])[0], path(".wrangler/registry"));
        assert_eq!(only(&[4])[0], path(".wrangler/registry"));
        let error = at(&[], None).unwrap_err();
        assert!(error.to_string().contains("--dev-registry=DIR"), "{error}");
    }
}
