//! Which users' processes may be at the other end of a unix socket. The kernel says which one is
//! (`SO_PEERCRED`); a peer cannot lie about it.

use std::fmt;

/// The users whose processes count.
///
/// ```
/// use js_rpc::Users;
/// let users = Users::These(vec![1001]);
/// assert!(users.admit(1001) && !users.admit(1002));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Users {
    /// Our own.
    Own,
    /// Our own and root, which could become us anyway.
    #[default]
    OwnOrRoot,
    /// Whoever the mode of the socket's file lets in.
    Any,
    /// These, by their uids, and our own.
    These(Vec<u32>),
}

impl Users {
    /// Whether a process of this uid counts.
    pub fn admit(&self, uid: u32) -> bool {
        uid == own()
            || match self {
                Self::Own => false,
                Self::OwnOrRoot => uid == 0,
                Self::Any => true,
                Self::These(uids) => uids.contains(&uid),
            }
    }
}

/// The uid that we act as.
fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => write!(f, "uid {} is", own()),
            Self::OwnOrRoot if own() == 0 => f.write_str("uid 0 is"),
            Self::OwnOrRoot => write!(f, "uid {} or 0 is", own()),
            Self::Any => f.write_str("any uid is"),
            Self::These(uids) => {
                write!(f, "uid {}", own())?;
                for uid in uids.iter().filter(|uid| **uid != own()) {
                    write!(f, " or {uid}")?;
                }
                f.write_str(" is")
            }
        }
    }
}
