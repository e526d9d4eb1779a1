//! What is fuzzed of the programs: the files, options and requests that people and other programs write.
//! None of it may panic or hang, and what is wrong is said in one line, with its place.
//!
//! As in `crates/js-rpc/fuzz`, each target is a function of bytes, and runs as a test as well.
#![allow(dead_code, reason = "each fuzz target uses one")]

use daemons::internals;

/// Takes any bytes; panics if something is wrong.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const ALL: [(&str, Target); 4] = [
    ("files", files),
    ("settings", settings),
    ("requests", requests),
    ("options", options),
];

/// A file, as it is.
pub fn files(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
}

/// A file of known keys, with values that are right, wrong, nested, huge or strange.
pub fn settings(data: &[u8]) {
    check(
        &Plan {
            bytes: data,
            keys: internals::keys(),
        }
        .file(),
    );
}

fn check(text: &str) {
    for outcome in [internals::callee_file(text), internals::caller_file(text)] {
        if let Err(said) = outcome {
            check_message(text, &said);
        }
    }
}

fn check_message(text: &str, said: &str) {
    assert!(!said.contains('\n'), "one line: {said:?}");
    let shown = internals::shown(said);
    let acts = |c: char| c.is_control() || c == '\u{202e}';
    assert!(!shown.contains(acts), "it is escaped: {shown:?}");
    // What is wrong with no place of its own is said of the file, or of what would be options.
    let Some(place) = said.strip_prefix("text.toml:") else {
        return;
    };
    let mut parts = place.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
    if let (Some(line), Some(column)) = (number(), number()) {
        let lines: Vec<&str> = text.split('\n').collect();
        assert!(
            (1..=lines.len()).contains(&line),
            "{line} of {}: {said}",
            lines.len()
        );
        let length = lines[line - 1].chars().count();
        assert!(
            (1..=length + 1).contains(&column),
            "{column} of {length}: {said}"
        );
    }
}

/// Bytes as choices; when they are used up, zeros.
struct Plan<'a> {
    bytes: &'a [u8],
    keys: Vec<String>,
}

const STRANGE: [&str; 8] = [
    "\u{1b}[31m",
    "a\nb",
    "\u{202e}x",
    "ä𝄞",
    "",
    "unix:a.sock",
    "127.0.0.1:0",
    "99999999999999999999",
];

impl Plan<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    fn one_of<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[usize::from(self.next()) % of.len()]
    }

    fn file(&mut self) -> String {
        let mut text = String::new();
        while !self.bytes.is_empty() && text.len() < 4096 {
            match self.next() % 8 {
                0 => {
                    let (kind, name) = (self.one_of(&["bind", "d1", "other"]), self.text());
                    text.push_str(&format!("[{kind}.{name}]"));
                }
                1 => text.push_str("# \u{7f}ä"),
                _ => {
                    let key = self.key();
                    let value = self.value(0);
                    text.push_str(&format!("{key} = {value}"));
                }
            }
            text.push_str(self.one_of(&["\n", "\n", "\n", "\r\n", " \n\n", ""]));
        }
        text
    }

    fn key(&mut self) -> String {
        let at = usize::from(self.next());
        match self.next() % 8 {
            0 => self.text(),
            1 => self.keys[at % self.keys.len()].replace('-', "_"),
            2 => format!("{}.{}", self.one_of(&["bind", "d1", "listen"]), self.text()),
            _ => self.keys[at % self.keys.len()].clone(),
        }
    }

    fn value(&mut self, depth: u8) -> String {
        match self.next() % 12 {
            0 => self
                .one_of(&[
                    "true",
                    "false",
                    "nan",
                    "-inf",
                    "0x_f",
                    "0b1",
                    "1e999",
                    "2026-11-22",
                ])
                .into(),
            1 => format!("-{}", self.next()),
            2 | 3 => "9".repeat(usize::from(self.next())),
            4 if depth < 60 => format!("[{}, {}]", self.value(depth + 1), self.value(depth + 1)),
            5 if depth < 60 => format!("[{}]", self.value(depth + 1)),
            6 if depth < 60 => format!("{{ {} = {} }}", self.key(), self.value(depth + 1)),
            7 => format!("\"{}ms\"", self.next()),
            8 => format!("\"unix:{}#{}\"", self.next(), self.next()),
            _ => self.text(),
        }
    }

    /// In quotes, escaped as TOML escapes.
    fn text(&mut self) -> String {
        let mut text = self.one_of(&STRANGE).to_owned();
        for _ in 0..self.next() % 4 {
            text.push(char::from(self.next()));
        }
        let escaped = text.chars().map(|c| match c {
            c if c.is_control() || c == '"' || c == '\\' => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        });
        format!("\"{}\"", escaped.collect::<String>())
    }
}

/// What comes on a connection of `caller serve --http`: what is answered is HTTP, whatever it is.
pub fn requests(data: &[u8]) {
    let answers = run(internals::http(data));
    let mut rest = answers.as_slice();
    while !rest.is_empty() {
        let end = rest
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .expect("a whole head")
            + 4;
        let head = std::str::from_utf8(&rest[..end])
            .expect("text")
            .to_lowercase();
        assert!(head.starts_with("http/1."), "{head}");
        rest = &rest[end..];
        if head.starts_with("http/1.1 100") {
            continue;
        }
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|text| text.split('\r').next());
        let length: usize = length.map_or(0, |text| text.parse().expect("a length"));
        // To a HEAD there is no body.
        let body = &rest[..length.min(rest.len())];
        if !body.is_empty() && body.len() == length && body.starts_with(b"{") {
            serde_json::from_slice::<serde_json::Value>(body).expect("JSON");
            rest = &rest[length..];
        }
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// The texts of options: addresses, times, sizes and the like. What is read can be said; what cannot be
/// read is said in one line.
pub fn options(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for (name, read) in internals::READERS {
        match read(text) {
            // An address that was written is the same address.
            Ok(said) if name == "address" => {
                assert_eq!(read(&said).as_ref(), Ok(&said), "{text:?}")
            }
            Ok(_) => {}
            Err(said) => {
                let shown = internals::shown(&said);
                assert!(!shown.contains(char::is_control), "{name}: {shown:?}");
                assert!(!said.is_empty(), "{name}");
            }
        }
    }
}
