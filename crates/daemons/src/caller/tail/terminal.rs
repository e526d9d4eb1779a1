//! What the standard output stream can show.

use anstream::ColorChoice;

/// Columns of the terminal, or those that `COLUMNS` says.
pub(super) fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok());
    let seen = || rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    said.or_else(|| seen().map(|size| usize::from(size.ws_col)))
        .filter(|width| *width > 0)
}

/// Whether colours are shown.
pub(super) fn colour() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != ColorChoice::Never
}
