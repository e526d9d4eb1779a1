//! Sockets that a service manager opened and handed over: `LISTEN_FDS` and its companions.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::exit::Failure;

/// The sockets that were handed over and nobody has taken yet.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(String, OwnedFd)>);

impl Sockets {
    /// Takes over what was meant for this process (`LISTEN_PID`), and removes the variables that say so:
    /// nobody who comes later is to believe them. For the first line of `main`, while there is one
    /// thread; once.
    ///
    /// # Errors
    /// [`Failure::Config`] when the variables cannot be read, or name what is not open.
    #[allow(
        unsafe_code,
        reason = "the standard library has no safe way to change variables or to own a descriptor by its number"
    )]
    pub(crate) fn inherit() -> Result<Self, Failure> {
        let ours = std::env::var("LISTEN_PID");
        let ours = ours.is_ok_and(|pid| pid == std::process::id().to_string());
        // SAFETY: no other thread has been started, so none reads the environment.
        let sockets = unsafe { sd_notify::listen_fds_with_names_and_unset_env() };
        if !ours {
            return Ok(Self::default());
        }
        let sockets = sockets.map_err(|error| {
            Failure::Config(format!(
                "cannot take the sockets of LISTEN_FDS over: {error}; let the service manager set it"
            ))
        })?;
        // SAFETY: they are open (it was checked), meant for us, and ours alone, since the variables that
        // name them are gone.
        let own = |(fd, name)| (name, unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self(sockets.map(own).collect()))
    }

    /// Those of this name, or all that are left; none is given twice.
    pub(crate) fn take(&mut self, name: Option<&str>) -> Vec<OwnedFd> {
        let wanted = |(has, _): &mut (String, OwnedFd)| name.is_none_or(|name| has == name);
        let taken = self.0.extract_if(.., wanted);
        taken.map(|(_, socket)| socket).collect()
    }

    /// The names of those that nobody has taken.
    pub(crate) fn left(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}
