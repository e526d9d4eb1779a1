//! What is called: a method or a property, by its path.

use std::borrow::Cow;

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Call the method.
    Call,
    /// Read the property.
    Get,
}

impl Operation {
    /// The name that attributes have for it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Get => "getProperty",
        }
    }
}

/// What is called, as [`method_path`] writes it.
#[derive(Debug, Clone)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) operation: Operation,
}

impl Method {
    pub(crate) fn of(name: &str, operation: Operation) -> Self {
        Self {
            name: name.to_owned(),
            operation,
        }
    }
}

/// The path of a method or property as one text: its names with dots between them. A dot or a backslash within a
/// name has a backslash in front; an empty name that stands alone is a backslash. No name at all, which is the
/// target itself, is "".
///
/// ```
/// use js_rpc::{method_names, method_path};
/// assert_eq!(method_path(["users", "get"]), "users.get");
/// assert_eq!(method_path(["a.b"]), r"a\.b");
/// assert_eq!(method_names(r"a\.b.c"), ["a.b", "c"]);
/// ```
pub fn method_path<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let Some(first) = names.next() else {
        return String::new();
    };
    let mut path = escaped(first).into_owned();
    let mut alone = true;
    for name in names {
        alone = false;
        path.push('.');
        path.push_str(&escaped(name));
    }
    if alone && path.is_empty() {
        path.push('\\');
    }
    path
}

fn escaped(name: &str) -> Cow<'_, str> {
    match name.contains(['.', '\\']) {
        true => name.replace('\\', r"\\").replace('.', r"\.").into(),
        false => name.into(),
    }
}

/// The names of a [`method_path`]. A backslash in front of anything else than a dot or a backslash stands for
/// itself.
pub fn method_names(path: &str) -> Vec<Cow<'_, str>> {
    match path {
        "" => return Vec::new(),
        "\\" => return vec!["".into()],
        plain if !plain.contains('\\') => return plain.split('.').map(Cow::Borrowed).collect(),
        _ => {}
    }
    let (mut names, mut name) = (Vec::new(), String::new());
    let mut rest = path.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '.' => names.push(std::mem::take(&mut name).into()),
            '\\' => name.push(rest.next_if(|c| matches!(c, '.' | '\\')).unwrap_or('\\')),
            other => name.push(other),
        }
    }
    names.push(name.into());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_a_text_of_its_own() {
        let cases: [(&[&str], &str); 12] = [
            (&[], ""),
            (&[""], r"\"),
            (&["", ""], "."),
            (&["a"], "a"),
            (&["a", "b"], "a.b"),
            (&["a.b"], r"a\.b"),
            (&["a.", "b"], r"a\..b"),
            (&["a", ".b"], r"a.\.b"),
            (&[r"a\", "b"], r"a\\.b"),
            (&[r"a\.b"], r"a\\\.b"),
            (&["a", ""], "a."),
            (&[r"\"], r"\\"),
        ];
        for (names, path) in cases {
            assert_eq!(method_path(names.iter().copied()), path, "{names:?}");
            assert_eq!(method_names(path), names, "{path}");
        }
        assert_eq!(method_names(r"a\b"), [r"a\b"]);
    }
}
