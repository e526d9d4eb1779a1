//! Servers of models at the usual addresses of this machine, for a binding that nobody said more about.

use http::Uri;

/// A server that answered.
pub(super) struct Found {
    /// What it calls itself, or is known as there.
    pub(super) what: String,
    pub(super) url: Uri,
    pub(super) models: Vec<String>,
}

/// Those that answer now.
pub(super) async fn discover() -> Vec<Found> {
    Vec::new()
}

/// What a server is called among providers: a part of model names, and of paths.
pub(super) fn provider_name(what: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || "._".contains(c) => c,
        _ => '-',
    };
    what.chars().map(plain).take(64).collect()
}

impl Found {
    /// A line that says what was found.
    pub(super) fn line(&self) -> String {
        const SHOWN: usize = 5;
        let shown = self.models.iter().take(SHOWN);
        let shown: Vec<String> = shown.map(|model| tail::escape(model).to_string()).collect();
        let models = match self.models.len() {
            0 => "no models".to_owned(),
            1 => format!("the model {}", shown[0]),
            n if n > SHOWN => format!("{n} models: {} and others", shown.join(", ")),
            n => format!("{n} models: {}", shown.join(", ")),
        };
        format!(
            "found {} at {}, with {models}",
            tail::escape(&self.what),
            self.url
        )
    }
}
