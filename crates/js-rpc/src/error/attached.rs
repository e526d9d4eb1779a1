//! The serialized error beside an exception's text, on its way through capnp-rpc.
//!
//! On the wire the two are apart: workerd puts what was thrown into the exception's list of details. capnp-rpc
//! knows nothing of that list, and a [`capnp::Error`] has only a text. So the network, through which every
//! message goes, puts what it finds in the list in front of the text, and takes it off again where an exception
//! goes out; in between, this is how an error that was thrown keeps everything.
//!
//! It begins with a mark that is random and never leaves the process: no peer can write a text that passes for
//! one of these. Nothing with the mark may be shown: [`detach`] comes before.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The most bytes of a serialized error; a larger one is left behind, and the text stands alone.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// `None` where the system has no randomness to give: then nothing is attached.
static MARK: LazyLock<Option<String>> = LazyLock::new(|| {
    let mut random = [0; 16];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    (filled == Ok(random.len())).then(|| format!("\u{1}{:032x}:", u128::from_ne_bytes(random)))
});

/// What capnp-rpc puts before the text of an exception that came in.
pub(super) const HOP: &str = "remote exception: ";

/// The text with a serialized error before it.
pub(crate) fn attach(error: &[u8], text: &str) -> String {
    match &*MARK {
        Some(mark) => format!("{mark}{}\n{text}", STANDARD.encode(error)),
        None => text.to_owned(),
    }
}

/// The serialized error before a text, if there is one, and the text itself.
pub(crate) fn detach(text: &str) -> (Option<Vec<u8>>, &str) {
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix(HOP) {
        rest = inner;
    }
    let marked = MARK.as_ref().and_then(|mark| rest.strip_prefix(&**mark));
    match marked.and_then(|rest| rest.split_once('\n')) {
        Some((error, text)) => (STANDARD.decode(error).ok(), text),
        None => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attached_comes_off_whatever_it_is() {
        for (error, text) in [
            (&b""[..], ""),
            (b"\xff\x0f\0\n", "jsg.Error: a\nb\0c"),
            (&[7; 1000], "\n"),
        ] {
            let both = attach(error, text);
            for hops in 0..3 {
                let both = format!("{}{both}", HOP.repeat(hops));
                assert_eq!(detach(&both), (Some(error.to_vec()), text));
            }
        }
        for text in ["", "jsg.Error: x", "remote exception: jsg.Error: x"] {
            assert_eq!(detach(text), (None, text));
        }
    }

    #[test]
    fn what_looks_like_it_is_only_text() {
        let real = attach(b"\xff\x0f0", "x");
        let forged = format!("\u{1}{:032x}:{}", 0, &real[34..]);
        for text in [
            &forged,
            &real[1..],
            &real[..real.len() - 2],
            &format!(" {real}"),
        ] {
            assert_eq!(detach(text), (None, text));
        }
    }
}
