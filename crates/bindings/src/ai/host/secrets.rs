//! Keys and headers of providers: where they are, and that they can be used. No message repeats what was written
//! where one is expected, since it may be the secret itself.

use std::path::{Path, PathBuf};

use host::config::{Problem, Section};
use host::secret::{self, Source as At};
use host::values::Sensitive;
use http::header::{HeaderName, HeaderValue};

use super::args::ProviderArgs;
use crate::ai::{ProviderOptions, Secret};

/// Keys under which people write a key itself.
const KEYS: [&str; 5] = ["key", "api-key", "api_key", "apikey", "token"];

/// Refuses a key that is written into the file.
pub(super) fn refuse_key(section: &Section) -> Result<(), Problem> {
    secret::refuse(
        section,
        &KEYS,
        "keys do not belong into this file; write key-env = \"VARIABLE\", key-file = \"FILE\" or credential = \"NAME\" (of systemd's \
         LoadCredential=) instead",
    )
}

/// Reads the name of a header.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text
        .parse()
        .map_err(|_| "this is not the name of a header; write one such as x-api-key")?;
    match OURS.contains(&name.as_str()) {
        true => Err("each request has this header already; leave it out".into()),
        false => Ok(name),
    }
}

/// Headers that are about a request's body or its connection.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads a header, without telling which.
pub(super) fn is_header(text: &str) -> Result<Sensitive, String> {
    header(text).map(|_| Sensitive(text.to_owned()))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("this is not a header; write \"NAME: VALUE\"")?;
    Ok((header_name(name.trim())?, sensitive(value.trim())?))
}

fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "a header cannot have this value: there are control characters in it")?;
    value.set_sensitive(true);
    Ok(value)
}

/// A file that a setting names, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The setting: `ai.AI.key-file`.
    pub(super) setting: String,
    /// The provider's place among all.
    pub(super) provider: usize,
    pub(super) what: What,
    pub(super) path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Key,
    /// One of the service manager, which gave none.
    Credential,
    Headers,
    Authorities,
}

/// Where a key is, and the setting and the file that say so, if it is in a file.
type Key = (Secret, Option<(&'static str, What, PathBuf)>);

/// Where the key is, if there is one. A variable is read here, files are not.
pub(super) fn key(args: &ProviderArgs, section: &Section) -> Result<Option<Key>, Problem> {
    let found = secret::find(
        section,
        ("key-env", args.key_env.as_ref()),
        ("key-file", args.key_file.as_ref()),
        ("credential", args.credential.as_ref()),
    )?;
    let Some((setting, at)) = found else {
        return Ok(None);
    };
    let (what, path) = match at {
        At::Value(text) => {
            let value = sensitive(&text).map_err(|_| {
                let text =
                    "the variable that it names holds no key: there are control characters in it";
                section.wrong(setting, text)
            })?;
            return Ok(Some((Secret::Value(value), None)));
        }
        At::File(path) => (What::Key, path),
        At::Credential(path) => (What::Credential, path),
    };
    Ok(Some((
        Secret::File(path.clone()),
        Some((setting, what, path)),
    )))
}

/// Puts the headers of the file itself on a provider.
pub(super) fn headers(
    args: &ProviderArgs,
    section: &Section,
    options: &mut ProviderOptions,
) -> Result<(), Problem> {
    for text in &args.headers {
        let header = header(&text.0).and_then(|header| put(options, header));
        header.map_err(|text| section.wrong("headers", &text))?;
    }
    Ok(())
}

fn put(
    options: &mut ProviderOptions,
    (name, value): (HeaderName, HeaderValue),
) -> Result<(), String> {
    if options.key.is_some() && name == options.key_header {
        return Err("the key is in the header of that name; leave one of them out".into());
    }
    options.headers.append(name, value);
    Ok(())
}

impl Source {
    /// Whether the file can be read, and has what it should have; headers are put on the provider.
    pub(super) fn read(&self, options: &mut ProviderOptions) -> Result<(), String> {
        match self.what {
            What::Key => {
                let text = secret::read_text(&self.path)?;
                match sensitive(text.trim()) {
                    Ok(key) if !key.is_empty() => Ok(()),
                    Ok(_) => Err("the file is empty; write the key into it".into()),
                    Err(_) => Err(
                        "the file holds no key: it has several lines, or control characters".into(),
                    ),
                }
            }
            What::Credential => Err(secret::no_credentials("key-file")),
            What::Headers => {
                for (nth, line) in secret::read_text(&self.path)?.lines().enumerate() {
                    if line.trim().is_empty() || line.starts_with('#') {
                        continue;
                    }
                    let header = header(line).and_then(|header| put(options, header));
                    header.map_err(|text| format!("line {} of the file: {text}", nth + 1))?;
                }
                Ok(())
            }
            What::Authorities => authorities(&self.path),
        }
    }
}

fn authorities(path: &Path) -> Result<(), String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    const NONE: &str = "the file that it names has no certificate in it; it must be a PEM file with BEGIN CERTIFICATE";
    let text = js_rpc::read_file(path, 16 * 1024 * 1024)
        .map_err(|error| format!("the file that it names cannot be read: {error}"))?;
    let mut found = CertificateDer::pem_slice_iter(&text);
    match found.next() {
        Some(Ok(_)) if found.all(|found| found.is_ok()) => Ok(()),
        _ => Err(NONE.into()),
    }
}
