//! What an error of the client says about the operation: certainly not applied, or perhaps.
//!
//! The client's kinds do not decide it, since an unknown script and a failed one are of one kind. Its
//! words do; a test provokes each of those that matter.

use fred::error::{Error, ErrorKind};
use sluice_engine::StoreFault;

/// Why a script gave no answer.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Error);

impl Failed {
    /// There is no connection: the operation was not sent.
    pub(super) fn unsent() -> Self {
        Self(Error::new(ErrorKind::Canceled, UNSENT))
    }

    /// The server does not know the script, and has not run it.
    pub(super) fn is_unknown_script(&self) -> bool {
        self.0.details().starts_with("NOSCRIPT")
    }

    /// Whether it is what the server said, and not that it said nothing.
    pub(super) fn is_an_answer(&self) -> bool {
        let silent = [ErrorKind::Timeout, ErrorKind::IO, ErrorKind::Canceled];
        !silent.contains(self.0.kind())
    }

    pub(super) fn fault(&self) -> StoreFault {
        let details = self.0.details();
        let unsent = *self.0.kind() == ErrorKind::Canceled && details == UNSENT;
        let first = details.split(' ').next().unwrap_or_default();
        // An error within a script names it; by then it may have written something.
        let refused = REFUSALS.contains(&first) && !details.contains("script:");
        if unsent || refused { StoreFault::Refused } else { StoreFault::Unknown }
    }
}

const UNSENT: &str = "Not connected.";

/// What Redis says to a command that it does not begin with.
const REFUSALS: [&str; 12] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOSCRIPT",
    "READONLY",
    "TRYAGAIN",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: ErrorKind, details: &'static str) -> StoreFault {
        Failed(Error::new(kind, details)).fault()
    }

    #[test]
    fn only_what_certainly_did_not_run_is_refused() {
        let server = |details| fault(ErrorKind::Unknown, details);
        assert_eq!(server("NOSCRIPT No matching script."), StoreFault::Refused);
        assert_eq!(server("LOADING Redis is loading"), StoreFault::Refused);
        assert_eq!(server("READONLY You can't write. script: 1f, on @user"), StoreFault::Unknown);
        assert_eq!(server("ERR user_script:1: oh script: 1f, on @user"), StoreFault::Unknown);
        assert_eq!(fault(ErrorKind::Canceled, UNSENT), StoreFault::Refused);
        assert_eq!(fault(ErrorKind::Canceled, "something else"), StoreFault::Unknown);
        assert_eq!(fault(ErrorKind::Timeout, "Request timed out."), StoreFault::Unknown);
        assert_eq!(fault(ErrorKind::IO, "Connection reset by peer"), StoreFault::Unknown);
    }

    #[test]
    fn silence_is_no_answer_and_whatever_the_server_says_is_one() {
        let answered = |kind| Failed(Error::new(kind, "oh")).is_an_answer();
        for silent in [ErrorKind::Timeout, ErrorKind::IO, ErrorKind::Canceled] {
            assert!(!answered(silent));
        }
        assert!(answered(ErrorKind::Unknown) && answered(ErrorKind::Cluster));
        assert!(!Failed::unsent().is_an_answer());
    }
}
