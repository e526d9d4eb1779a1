//! The `Headers` of a request or response.

use std::fmt;
use std::sync::Arc;

/// How many headers there may be; workerd takes no more.
const MOST: usize = 1024;

/// JavaScript's `Headers`: names and values in order. Names are compared without regard to case.
///
/// Copies share their list until one of them is changed.
///
/// ```
/// use js_value::Headers;
/// let mut headers = Headers::new();
/// headers.append("Set-Cookie", "a=1")?;
/// headers.append("set-cookie", "b=2")?;
/// assert_eq!(headers.get("SET-COOKIE"), Some("a=1"));
/// assert_eq!(headers.get_all("set-cookie").count(), 2);
/// assert!(headers.append("x", "a\r\nhost: b").is_err());
/// # Ok::<(), js_value::HeaderError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    guard: HeadersGuard,
    list: Arc<Vec<(Box<str>, Box<str>)>>,
}

/// Who may change a `Headers` in JavaScript: an object's own rule, which travels with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadersGuard {
    /// Nobody, as with the headers of a received request.
    Immutable,
    /// A request's.
    Request,
    /// A response's.
    Response,
    /// Everybody.
    #[default]
    None,
}

impl HeadersGuard {
    /// By workerd's numbers.
    pub(crate) const ALL: [(Self, &str); 4] = [
        (Self::Immutable, "immutable"),
        (Self::Request, "request"),
        (Self::Response, "response"),
        (Self::None, "none"),
    ];

    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(guard, _)| *guard == self);
        found.map_or("none", |(_, name)| name)
    }
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// A name with other characters than a token has, or none at all.
    #[error("the name of a header is no token (letters, digits and !#$%&'*+-.^_`|~)")]
    Name,
    /// A value with a line break or NUL.
    #[error("the value of a header has a line break or NUL in it")]
    Value,
    /// More headers than may be.
    #[error("more than {MOST} headers")]
    TooMany,
}

impl Headers {
    /// No headers, which everybody may change.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same headers under this guard.
    #[must_use]
    pub fn with_guard(mut self, guard: HeadersGuard) -> Self {
        self.guard = guard;
        self
    }

    /// Who may change them in JavaScript. In Rust, their owner may.
    pub fn guard(&self) -> HeadersGuard {
        self.guard
    }

    /// Adds a header; those of the same name stay. White space around the value is removed.
    ///
    /// # Errors
    /// As the constructor of `Headers` refuses it: see [`HeaderError`].
    pub fn append(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        if !is_token(name) {
            return Err(HeaderError::Name);
        }
        let value = value.trim_matches([' ', '\t', '\r', '\n']);
        if value.contains(['\r', '\n', '\0']) {
            return Err(HeaderError::Value);
        }
        if self.list.len() >= MOST {
            return Err(HeaderError::TooMany);
        }
        Arc::make_mut(&mut self.list).push((name.into(), value.into()));
        Ok(())
    }

    /// Replaces all headers of the name by this one.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let mut other = self.clone();
        other.remove(name);
        other.append(name, value)?;
        *self = other;
        Ok(())
    }

    /// Takes all headers of the name away; tells whether there were any.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.len();
        Arc::make_mut(&mut self.list).retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.len() < before
    }

    /// The first value of the name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.iter();
        all.find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All values of the name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |(other, _): &(&str, &str)| other.eq_ignore_ascii_case(name);
        self.iter().filter(named).map(|(_, value)| value)
    }

    /// Names and values, in order. A name that workerd has a number for is in lower case, any other as it was
    /// written.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.list.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes of names and values.
    pub(crate) fn bytes(&self) -> usize {
        self.iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}

/// As `{ 'a': 'b' }`, for people; cut where it is long.
impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::Value::from(self.clone()).fmt(f)
    }
}

/// A token of HTTP, such as a method or the name of a header.
pub(crate) fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}
