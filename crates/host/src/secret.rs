//! Keys and passwords: in a variable, a file or a credential of systemd, and never in the configuration file. No message
//! repeats what was written where one is expected, since it may be the secret itself.

use std::env;
use std::path::{Path, PathBuf};

use crate::config::{Problem, Section};
use crate::values::Sensitive;

/// Bytes of a file with a secret.
const LONGEST: u64 = 64 * 1024;

/// Refuses a secret that is written into the file, under one of `keys`. `instead`: what to write in its place.
///
/// # Errors
/// The key and what to write.
pub fn refuse(section: &Section, keys: &[&str], instead: &str) -> Result<(), Problem> {
    match keys.iter().find(|key| section.has(key)) {
        Some(key) => Err(section.wrong(key, instead)),
        None => Ok(()),
    }
}

/// Reads the name of a variable.
///
/// # Errors
/// It is none.
pub fn variable(text: &str) -> Result<Sensitive, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = !text.starts_with(|c: char| c.is_ascii_digit());
    match begins && text.chars().all(plain) {
        true => Ok(Sensitive(text.to_owned())),
        false => Err(
            "this is not the name of a variable; write the name, such as OPENAI_API_KEY, not the key".into(),
        ),
    }
}

/// Reads the name of a credential.
///
/// # Errors
/// It is none.
pub fn credential(text: &str) -> Result<Sensitive, String> {
    match text.contains('/') || text.starts_with('.') {
        true => Err(
            "this is not the name of a credential; write what stands before : in LoadCredential="
                .into(),
        ),
        false => Ok(Sensitive(text.to_owned())),
    }
}

/// A setting of a table that says where a secret is: its key, and its value if it is there.
pub type Setting<'a> = (&'static str, Option<&'a Sensitive>);

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// This is the secret: it was in a variable.
    Value(String),
    /// In a file.
    File(PathBuf),
    /// It is a credential of this name, and the service manager gave none: `CREDENTIALS_DIRECTORY` is not set.
    Credential(PathBuf),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(..)"),
            Self::File(_) => f.write_str("File(..)"),
            Self::Credential(_) => f.write_str("Credential(..)"),
        }
    }
}

/// Why a credential that is not there cannot be read. `by_file`: the key that names a file instead.
pub fn no_credentials(by_file: &str) -> String {
    format!(
        "there are no credentials: CREDENTIALS_DIRECTORY is not set; write LoadCredential=NAME:/PATH in the unit, or \
         {by_file} here"
    )
}

/// Where the secret of a table is, and the setting that names it, if there is one. A variable is read here, files are not.
///
/// # Errors
/// Several say so, or the variable is not set or empty.
pub fn find(
    section: &Section,
    by_variable: Setting<'_>,
    by_file: Setting<'_>,
    by_credential: Setting<'_>,
) -> Result<Option<(&'static str, Source)>, Problem> {
    let said = [by_variable, by_file, by_credential];
    let mut said = said
        .into_iter()
        .filter_map(|(key, text)| Some((key, text?)));
    let Some((key, text)) = said.next() else {
        return Ok(None);
    };
    if let Some((other, _)) = said.next() {
        let text = format!("there is a key by {key} already; leave one of them out");
        return Err(section.wrong(other, &text));
    }
    let text = text.0.as_str();
    let source = if key == by_variable.0 {
        Source::Value(from_variable(text).map_err(|text| section.wrong(key, &text))?)
    } else if key == by_file.0 {
        Source::File(PathBuf::from(text))
    } else {
        match env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()) {
            Some(folder) => Source::File(Path::new(&folder).join(text)),
            None => Source::Credential(PathBuf::from(text)),
        }
    };
    Ok(Some((key, source)))
}

fn from_variable(name: &str) -> Result<String, String> {
    match env::var(name) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => Err("the variable that it names is empty; set it to the key".into()),
        Err(env::VarError::NotPresent) => {
            Err("the variable that it names is not set; set it to the key".into())
        }
        Err(env::VarError::NotUnicode(_)) => Err("the variable that it names holds no text".into()),
    }
}

/// Reads a file with secrets, at most 64 KiB of text.
///
/// # Errors
/// It cannot be read, or is not text.
pub fn read_text(path: &Path) -> Result<String, String> {
    let bytes = js_rpc::read_file(path, LONGEST)
        .map_err(|error| format!("the file that it names cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "the file that it names is not text".into())
}
