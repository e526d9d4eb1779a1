//! Lines that no filter hides: what a program says itself, in either format.

use std::io::Write;
use std::time::SystemTime;

use serde_json::json;
use tracing::Level;

use super::LogFormat;
use super::queue::Lost;
use super::writer::Escaping;

/// Something that a program says.
pub(super) struct Words<'a, T = &'a str> {
    pub(super) program: &'a str,
    pub(super) level: Level,
    pub(super) text: T,
    /// Where it came from, in lines.
    pub(super) backtrace: Option<String>,
}

impl<'a> Words<'a, String> {
    /// That lines are not where they should be.
    pub(super) fn missing(program: &'a str, lost: Lost) -> Self {
        let slow = format!("{} that were not read in time", lost.slow);
        let failed = format!("{} that could not be written", lost.failed);
        let text = match (lost.slow, lost.failed) {
            (_, 0) => slow,
            (0, _) => failed,
            _ => format!("{slow}, and {failed}"),
        };
        Self {
            program,
            level: Level::WARN,
            text: format!("lines of this log are missing: {text}"),
            backtrace: None,
        }
    }
}

impl<T: AsRef<str>> Words<'_, T> {
    /// The line, with its end.
    pub(super) fn line(&self, format: LogFormat) -> Vec<u8> {
        let mut line = Vec::new();
        // Memory takes whatever is written.
        let _ = match format {
            LogFormat::Json => writeln!(Escaping::json(&mut line), "{}", self.object()),
            LogFormat::Text => {
                let text = tail::escape(self.text.as_ref());
                writeln!(line, "{}: {text}", self.program)
            }
        };
        let more = self.backtrace.iter().filter(|_| format == LogFormat::Text);
        for frame in more.flat_map(|text| text.lines()) {
            let _ = writeln!(line, "{}", tail::escape(frame));
        }
        line
    }

    fn object(&self) -> serde_json::Value {
        let mut line = json!({
            "timestamp": humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            "level": self.level.as_str(),
            "message": self.text.as_ref(),
            "target": self.program,
        });
        if let Some(backtrace) = &self.backtrace {
            line["backtrace"] = json!(backtrace);
        }
        line
    }
}
