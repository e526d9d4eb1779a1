//! The identity of spans: trace ids, span ids, flags, and the W3C `traceparent` form.

use std::fmt;
use std::str::FromStr;

/// The 128 bits of a W3C trace id; zero means "no trace".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct TraceId(pub u128);

/// The 64 bits of a W3C span id; zero means "no span".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct SpanId(pub u64);

/// One run of work that a tail reports as a unit, from its onset to its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct InvocationId(pub u128);

macro_rules! id {
    ($name:ident, $width:literal, $random:expr) => {
        impl $name {
            /// A random id that is not zero.
            pub fn random() -> Self {
                Self($random(1..))
            }

            /// Whether this is an id and not zero.
            pub const fn is_valid(self) -> bool {
                self.0 != 0
            }
        }

        /// Lower-case hex, all digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $width, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id!(TraceId, "32", fastrand::u128);
id!(SpanId, "16", fastrand::u64);
id!(InvocationId, "32", fastrand::u128);

/// A span as it is named to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span in it; zero if only the trace is known.
    pub span_id: SpanId,
    /// The W3C trace flags, bit 0 "sampled". `None`: no decision was made, the receiver's own sampler
    /// decides.
    pub flags: Option<u8>,
}

impl SpanContext {
    /// The W3C flag that says "this trace is recorded".
    pub const SAMPLED: u8 = 1;

    /// A new span in this span's trace, with this span's flags.
    pub fn child(&self) -> Self {
        Self {
            span_id: SpanId::random(),
            ..*self
        }
    }

    /// The first span of a new trace; no sampling decision.
    pub fn root() -> Self {
        Self {
            trace_id: TraceId::random(),
            span_id: SpanId::random(),
            flags: None,
        }
    }

    /// Whether both ids are there.
    pub const fn is_valid(&self) -> bool {
        self.trace_id.is_valid() && self.span_id.is_valid()
    }

    /// Whether somebody decided that this trace is not recorded.
    pub const fn is_unsampled(&self) -> bool {
        matches!(self.flags, Some(flags) if flags & Self::SAMPLED == 0)
    }

    /// The W3C `traceparent` form. Flags that are not set are written as 00, since the form has no
    /// other way.
    ///
    /// ```
    /// use binding_span::SpanContext;
    /// let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// let context: SpanContext = text.parse().unwrap();
    /// assert_eq!(context.to_traceparent(), text);
    /// ```
    pub fn to_traceparent(&self) -> String {
        let flags = self.flags.unwrap_or(0);
        format!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id)
    }
}

/// A text that is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a W3C traceparent: expected VERSION-TRACEID-SPANID-FLAGS in lower-case hex, such as \
     00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01, with ids that are not all zero"
)]
pub struct InvalidTraceparent;

impl FromStr for SpanContext {
    type Err = InvalidTraceparent;

    /// Reads a `traceparent` as <https://www.w3.org/TR/trace-context/> asks: version ff is invalid,
    /// a later version than 00 may have more fields behind the four.
    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let mut fields = text.split('-');
        let mut hex = |digits: usize| -> Result<u128, InvalidTraceparent> {
            let field = fields.next().ok_or(InvalidTraceparent)?;
            let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            if field.len() != digits || !field.bytes().all(lower_hex) {
                return Err(InvalidTraceparent);
            }
            u128::from_str_radix(field, 16).map_err(|_| InvalidTraceparent)
        };
        let version = hex(2)?;
        let context = Self {
            trace_id: TraceId(hex(32)?),
            span_id: SpanId(hex(16)? as u64),
            flags: Some(hex(2)? as u8),
        };
        let more = fields.next().is_some();
        if version == 0xff || (version == 0 && more) || !context.is_valid() {
            return Err(InvalidTraceparent);
        }
        Ok(context)
    }
}
