//! Parameters: what a caller binds, and as what SQLite gets it.

use super::options::Numbers;

/// A value for a `?`.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// `null`.
    Null,
    /// Stored as the integer 1 or 0.
    Bool(bool),
    /// INTEGER or REAL, see [`Numbers`]. NaN becomes NULL (SQLite has none); infinities stay.
    Number(f64),
    /// INTEGER, whatever [`Numbers`] says: a BigInt of JavaScript.
    Integer(i64),
    /// TEXT.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

impl From<bool> for Param {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Param {
    fn from(value: i32) -> Self {
        Self::Number(f64::from(value))
    }
}

impl From<f64> for Param {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Param {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Param {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Param {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Param {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A parameter in one of SQLite's storage classes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// `Number.MAX_SAFE_INTEGER`: up to here every integer is a number of its own.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

impl Param {
    pub(super) fn bound(&self, numbers: Numbers) -> Bound<'_> {
        match self {
            Self::Null => Bound::Null,
            Self::Bool(value) => Bound::Integer(i64::from(*value)),
            Self::Number(value) if numbers == Numbers::Integral && is_safe_integer(*value) => {
                Bound::Integer(*value as i64)
            }
            Self::Number(value) => Bound::Real(*value),
            Self::Integer(value) => Bound::Integer(*value),
            Self::Text(text) => Bound::Text(text),
            Self::Blob(bytes) => Bound::Blob(bytes),
        }
    }
}

/// Integral, exact, and not -0, whose sign an integer would lose.
fn is_safe_integer(value: f64) -> bool {
    value.fract() == 0.0
        && value.abs() <= MAX_SAFE_INTEGER
        && !(value == 0.0 && value.is_sign_negative())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_integers_exactly_when_that_loses_nothing() {
        let integers = [
            (7.0, 7),
            (0.0, 0),
            (-1.0, -1),
            (9_007_199_254_740_991.0, 9_007_199_254_740_991),
        ];
        for (number, integer) in integers {
            assert_eq!(
                Param::Number(number).bound(Numbers::Integral),
                Bound::Integer(integer)
            );
            assert_eq!(
                Param::Number(number).bound(Numbers::Double),
                Bound::Real(number)
            );
        }
        for real in [
            1.5,
            -0.0,
            9_007_199_254_740_992.0,
            1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            assert_eq!(
                Param::Number(real).bound(Numbers::Integral),
                Bound::Real(real)
            );
        }
        assert!(
            matches!(Param::Number(f64::NAN).bound(Numbers::Integral), Bound::Real(n) if n.is_nan())
        );
    }

    #[test]
    fn booleans_are_one_and_zero_whatever_numbers_are() {
        for numbers in [Numbers::Integral, Numbers::Double] {
            assert_eq!(Param::Bool(true).bound(numbers), Bound::Integer(1));
            assert_eq!(Param::Bool(false).bound(numbers), Bound::Integer(0));
        }
    }
}
