//! What one call may say, and how what exceeds it is counted.
//!
//! Over-limit enrichment is dropped whole: never truncated, never an error for the call. Both sides
//! enforce the same limits, so that neither can hurt the other.

use std::fmt;

/// The caps on one call's enrichment. Lengths are bytes of UTF-8.
///
/// The first three are the ones of the proposal to workerd; the others are ours, and bound what a
/// caller copies for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attributes, 256.
    pub attributes: usize,
    /// Bytes of one key, 256.
    pub key_bytes: usize,
    /// Bytes of one string value, or of one in a list, 128 KiB.
    pub string_bytes: usize,
    /// Bytes of the name, 256.
    pub name_bytes: usize,
    /// Bytes in all, 256 KiB: name, keys, strings, and 8 for each scalar; of a list those of its elements.
    pub total_bytes: usize,
    /// Elements of one list, 64.
    pub list_elements: usize,
}

impl Limits {
    /// The limits of the protocol.
    pub const DEFAULT: Self = Self {
        attributes: 256,
        key_bytes: 256,
        string_bytes: 128 * 1024,
        name_bytes: 256,
        total_bytes: 256 * 1024,
        list_elements: 64,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Why a name or an attribute was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// Every reason, in the order in which counts are printed.
            pub const ALL: [Self; [$($label),*].len()] = [$(Self::$variant),*];

            /// The reason as a label of a metric: lower-case words joined by `_`.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// The name is longer than [`Limits::name_bytes`].
    NameTooLong = "name_too_long",
    /// The key is empty.
    KeyEmpty = "key_empty",
    /// The key is longer than [`Limits::key_bytes`].
    KeyTooLong = "key_too_long",
    /// The string value is longer than [`Limits::string_bytes`].
    StringTooLong = "string_too_long",
    /// The list has more than [`Limits::list_elements`].
    ListTooLong = "list_too_long",
    /// There are [`Limits::attributes`] other keys already.
    TooManyAttributes = "too_many_attributes",
    /// [`Limits::total_bytes`] would be exceeded.
    TotalBytes = "total_bytes",
    /// A name, key or string from the wire is not UTF-8.
    InvalidUtf8 = "invalid_utf8",
    /// A value from the wire is of a type that this version does not know.
    UnknownValue = "unknown_value",
    /// A part of a message from the wire cannot be read, or a list from there is of several types.
    Malformed = "malformed",
    /// The binding's policy does not allow callees to rename.
    RenameOff = "rename_off",
    /// The name matches none of the policy's patterns.
    RenamePattern = "rename_pattern",
    /// The binding has had as many distinct names as its policy allows.
    RenameDistinct = "rename_distinct",
    /// The binding's policy does not allow callees to set attributes.
    AttributesOff = "attributes_off",
    /// The key begins with a prefix that the policy denies, or is `binding_span.dropped`, which
    /// nobody but the library writes.
    DeniedKey = "denied_key",
    /// The callee says that it dropped this itself.
    Callee = "callee",
    /// An update came before the one before it was answered.
    UpdateRate = "update_rate",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// How much was dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped([u32; DropReason::ALL.len()]);

impl Dropped {
    pub(crate) const fn from_counts(counts: [u32; DropReason::ALL.len()]) -> Self {
        Self(counts)
    }

    /// Counts `n` more for `reason`; a count saturates at `u32::MAX`.
    pub fn add(&mut self, reason: DropReason, n: u32) {
        let count = &mut self.0[reason as usize];
        *count = count.saturating_add(n);
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// The count for one reason.
    pub fn count(&self, reason: DropReason) -> u32 {
        self.0[reason as usize]
    }

    /// All counts added up.
    pub fn total(&self) -> u64 {
        self.0.iter().copied().map(u64::from).sum()
    }

    /// Whether nothing was dropped.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&count| count == 0)
    }

    /// The reasons that have a count, with it.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u32)> + '_ {
        DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.count(reason)))
            .filter(|&(_, count)| count > 0)
    }
}

/// The reasons that have a count, with it: `denied_key=1 callee=3`.
impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (reason, count)) in self.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{reason}={count}")?;
        }
        Ok(())
    }
}
