//! Servers of models at the usual addresses of this machine, for a binding that nobody said more about.

use host::escape;

use crate::ai::{Endpoint, Found, ProviderOptions, discover, usual_servers};

/// Those that answer now, as providers; `say` says each.
pub(super) async fn look(binding: &str, say: &dyn Fn(&str)) -> Vec<ProviderOptions> {
    let mut providers: Vec<ProviderOptions> = Vec::new();
    for server in discover(&usual_servers()).await {
        // It is a constant.
        let Ok(url) = server.url.parse() else {
            continue;
        };
        let line = format!("{}: {}", escape(binding), line(&server));
        say(&line);
        let name = provider_name(server.what);
        providers.push(ProviderOptions::new(name, Endpoint::Http(url)));
    }
    providers
}

/// What is looked for, in a few words.
pub(super) fn usual() -> String {
    let usual = usual_servers().into_iter();
    usual
        .map(|server| server.what)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a server is called among providers: a part of model names, and of paths.
fn provider_name(what: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || "._".contains(c) => c,
        _ => '-',
    };
    what.chars().map(plain).take(64).collect()
}

/// What was found, in a line.
fn line(found: &Found) -> String {
    const SHOWN: usize = 5;
    let shown = found.models.iter().take(SHOWN);
    let shown: Vec<String> = shown.map(|model| escape(model).to_string()).collect();
    let shown = shown.join(", ");
    let models = match found.models.len() {
        0 => "no models".to_owned(),
        1 => format!("the model {shown}"),
        n if n > SHOWN => format!("{n} models: {shown} and others"),
        n => format!("{n} models: {shown}"),
    };
    format!("found {} at {}, with {models}", found.what, found.url)
}
