//! Reading SQL text without understanding it: enough to name an operation and to mask literals.
//!
//! The text of a statement with parameters carries no data of its own, so it may go on a span as it is. A
//! statement without parameters has its data inside, and only [`masked`] text may leave. This is a
//! tokenizer, not a parser; where SQLite itself needs the schema to decide, it hides rather than shows.

/// Which thing a stretch of SQL text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Comment,
    /// A keyword, or a name without quotes.
    Word,
    /// A string, a blob or a number.
    Literal,
    /// `"x"`: a name, or a string when no such name exists. Only SQLite, with the schema, knows.
    DoubleQuoted,
    /// `` `x` `` or `[x]`: always a name.
    Name,
    /// `?`, `?1`, `:a`, `@a`, `$a`.
    Parameter,
    Other,
}

struct Tokens<'a>(&'a str);

fn tokens(sql: &str) -> Tokens<'_> {
    Tokens(sql)
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (Kind, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.0.chars().next()?;
        let (kind, length) = token(self.0, first);
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        Some((kind, text))
    }
}

/// The kind and the length in bytes, at least one character, of the token that starts `text`.
fn token(text: &str, first: char) -> (Kind, usize) {
    let after = &text[first.len_utf8()..];
    match first {
        c if c.is_ascii_whitespace() || c == '\u{b}' => (
            Kind::Space,
            run(text, |c| c.is_ascii_whitespace() || c == '\u{b}'),
        ),
        '-' if after.starts_with('-') => (Kind::Comment, until(text, 2, "\n")),
        '/' if after.starts_with('*') => (Kind::Comment, until(text, 2, "*/")),
        '\'' => (Kind::Literal, quoted(text, '\'')),
        '"' => (Kind::DoubleQuoted, quoted(text, '"')),
        '`' => (Kind::Name, quoted(text, '`')),
        '[' => (Kind::Name, until(text, 1, "]")),
        'x' | 'X' if after.starts_with('\'') => (Kind::Literal, 1 + quoted(after, '\'')),
        '?' => (Kind::Parameter, 1 + run(after, |c| c.is_ascii_digit())),
        ':' | '@' | '$' | '#' => (Kind::Parameter, 1 + run(after, |c| is_word(c) || c == ':')),
        c if c.is_ascii_digit() => (Kind::Literal, number(text)),
        '.' if after.starts_with(|c: char| c.is_ascii_digit()) => (Kind::Literal, number(text)),
        c if is_word(c) => (Kind::Word, run(text, is_word)),
        _ => (Kind::Other, first.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// The length of the longest prefix whose characters all fit.
fn run(text: &str, fits: impl Fn(char) -> bool) -> usize {
    text.find(|c| !fits(c)).unwrap_or(text.len())
}

/// Up to and with `end`, searched after the first `skip` bytes; to the end of the text when it is missing.
fn until(text: &str, skip: usize, end: &str) -> usize {
    text[skip..]
        .find(end)
        .map_or(text.len(), |at| skip + at + end.len())
}

/// Up to and with the closing quote, two of which stand for one; to the end of the text when it is missing.
fn quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(found) = text[at..].find(quote) {
        at += found + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// The length of a number: `12`, `1.5e-3`, `0xFF`, `1_000`. What hangs on to it, as in `12abc`, is part.
fn number(text: &str) -> usize {
    let mut before = ' ';
    text.find(|c: char| {
        let exponent = matches!(c, '+' | '-') && matches!(before, 'e' | 'E') && !is_hex(text);
        let part = is_word(c) || c == '.' || exponent;
        before = c;
        !part
    })
    .unwrap_or(text.len())
}

fn is_hex(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0', b'x' | b'X', ..])
}

/// The statement with a `?` in place of every literal and without its comments.
///
/// A name in double quotes becomes `?` too, since SQLite reads it as a string when there is no such column.
pub(super) fn masked(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    for (kind, token) in tokens(sql) {
        match kind {
            Kind::Literal | Kind::DoubleQuoted => text.push('?'),
            Kind::Comment => text.push(' '),
            _ => text.push_str(token),
        }
    }
    text.trim().to_owned()
}

/// Whether the text is one statement whose data is bound: it has parameters and nothing follows it.
///
/// Such a text is the program's own and may leave unmasked, as OpenTelemetry's conventions have it.
pub(super) fn is_parameterized(sql: &str) -> bool {
    let mut parameters = false;
    let mut ended = false;
    for (kind, token) in tokens(sql) {
        match kind {
            Kind::Space | Kind::Comment => {}
            _ if token == ";" => ended = true,
            _ if ended => return false,
            _ => parameters |= kind == Kind::Parameter,
        }
    }
    parameters
}

/// Nothing to run: white space, comments, semicolons.
pub(super) fn is_blank(sql: &str) -> bool {
    tokens(sql).all(|(kind, token)| matches!(kind, Kind::Space | Kind::Comment) || token == ";")
}

/// The words that start a statement of SQLite's.
const OPERATIONS: [&str; 23] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "REPLACE",
    "VALUES",
    "WITH",
    "CREATE",
    "DROP",
    "ALTER",
    "PRAGMA",
    "EXPLAIN",
    "ANALYZE",
    "REINDEX",
    "VACUUM",
    "BEGIN",
    "COMMIT",
    "END",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "ATTACH",
    "DETACH",
];

/// What `WITH a AS (...)` leads to.
const AFTER_WITH: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "VALUES"];

/// The statement's first keyword in capitals, and what follows its common table expressions if it is `WITH`.
/// `None` when it is none of SQL's: a span's attribute must not take any word that a peer invents.
pub(super) fn operation(sql: &str) -> Option<&'static str> {
    let mut depth = 0_usize;
    let mut with = false;
    for (kind, token) in tokens(sql) {
        match (kind, token) {
            (Kind::Other, "(") if with => depth += 1,
            (Kind::Other, ")") if with => depth = depth.saturating_sub(1),
            (Kind::Word, word) if with && depth == 0 => {
                if let Some(found) = lookup(&AFTER_WITH, word) {
                    return Some(found);
                }
            }
            (Kind::Word, word) if !with => match lookup(&OPERATIONS, word) {
                Some("WITH") => with = true,
                found => return found,
            },
            (Kind::Space | Kind::Comment, _) | (Kind::Other, ";") => {}
            _ if with => {}
            _ => return None,
        }
    }
    with.then_some("WITH")
}

fn lookup(words: &[&'static str], word: &str) -> Option<&'static str> {
    words
        .iter()
        .find(|known| known.eq_ignore_ascii_case(word))
        .copied()
}

/// Whether the statement is one of those that read or change rows, and nothing else.
pub(super) fn reads_or_writes_rows(sql: &str) -> bool {
    matches!(
        operation(sql),
        Some("SELECT" | "VALUES" | "WITH" | "INSERT" | "UPDATE" | "DELETE" | "REPLACE")
    )
}

/// Whether the statement is worth trying on a connection that cannot write. A wrong yes costs a second try.
pub(super) fn looks_readonly(sql: &str) -> bool {
    matches!(
        operation(sql),
        Some("SELECT" | "VALUES" | "EXPLAIN" | "WITH")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_masked_and_everything_else_stays() {
        let cases = [
            ("select 1", "select ?"),
            (
                "select * from t1 where a2 = 'it''s' and b=?1",
                "select * from t1 where a2 = ? and b=?1",
            ),
            (
                "insert into t values (-5, 1.5e-3, .5, 0xFF, 1_000)",
                "insert into t values (-?, ?, ?, ?, ?)",
            ),
            ("select x'00ff', X'AB', xx", "select ?, ?, xx"),
            ("select \"secret\" from `t`", "select ? from `t`"),
            (
                "select [a 1] from t -- password 'x'\n where b",
                "select [a 1] from t   where b",
            ),
            ("/* key=7 */ select :a, @b, $c, ?", "select :a, @b, $c, ?"),
            ("select 'unterminated", "select ?"),
            ("select /* unterminated", "select"),
            ("select 1e5+2", "select ?+?"),
            ("select 0x1e+2", "select ?+?"),
            ("select 'é' as naïve", "select ? as naïve"),
            ("select '\u{1f600}', t.a", "select ?, t.a"),
            ("", ""),
        ];
        for (sql, expected) in cases {
            assert_eq!(masked(sql), expected, "{sql}");
        }
    }

    #[test]
    fn the_operation_is_the_verb_of_the_statement() {
        let cases = [
            ("  Select 1", Some("SELECT")),
            ("-- hello\n/* x */;insert into t values (1)", Some("INSERT")),
            (
                "with a as (select 1), b(c) as (values (2)) delete from t",
                Some("DELETE"),
            ),
            (
                "with recursive n(i) as (select 1 union select i from n) select i from n",
                Some("SELECT"),
            ),
            ("with a as (select 1)", Some("WITH")),
            ("explain query plan select 1", Some("EXPLAIN")),
            ("frobnicate 1", None),
            ("(select 1)", None),
            ("", None),
        ];
        for (sql, expected) in cases {
            assert_eq!(operation(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_text_is_parameterized_when_it_is_one_statement_with_parameters() {
        for yes in [
            "select ?",
            "select * from t where a = :a and b = 1;",
            "select ?1 -- x; y\n;;",
        ] {
            assert!(is_parameterized(yes), "{yes}");
        }
        for no in [
            "select 1",
            "select '?'",
            "insert into t values ('secret'); select ?1",
            "-- ?\nselect 1",
            "",
        ] {
            assert!(!is_parameterized(no), "{no}");
        }
    }

    #[test]
    fn only_space_comments_and_semicolons_are_blank() {
        for blank in ["", " ;; ", "-- x", "/* x */ ; -- y\n"] {
            assert!(is_blank(blank), "{blank}");
        }
        assert!(!is_blank("; select 1"));
    }

    #[test]
    fn any_text_at_all_can_be_read() {
        let pieces = [
            "'", "\"", "--", "/*", "*/", "x'", "é", "?", "[", "`", "0x", "1e", "\0", "\n", ";", "(",
        ];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    let sql = format!("{a}{b}{c}");
                    let read: String = tokens(&sql).map(|(_, token)| token).collect();
                    assert_eq!(read, sql);
                    let _ = (masked(&sql), operation(&sql));
                }
            }
        }
    }
}
