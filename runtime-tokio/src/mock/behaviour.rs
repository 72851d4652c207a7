//! How requests with one key are answered, and what can go wrong with them.

use std::rc::Rc;
use std::time::Duration;

use sluice_engine::rng::{Purpose, Seed};
use tokio::sync::Semaphore;

use crate::directory::digest;

/// How requests with one key are answered.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// What it says first.
    pub greeting: String,
    /// From the request to the answer's head.
    pub latency: Duration,
    /// Words of the answer.
    pub words: usize,
    /// Between two words of a stream.
    pub pace: Duration,
    /// Whether it calls the first tool that a request offers, also unforced.
    pub tool: bool,
    /// Requests at once that it tolerates; each beyond them is counted as a violation.
    pub limit: Option<u32>,
    /// Whether requests beyond the limit are answered with a 429.
    pub refuses_over_limit: bool,
    /// What goes wrong how often, in thousandths; the first that is drawn.
    pub faults: Vec<(u32, Fault)>,
    /// What Code Assist calls the account's tier; empty: it refuses to say.
    pub tier: String,
    /// If set, each request waits for a permit from here before its answer begins.
    pub hold: Option<Rc<Semaphore>>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            greeting: "Hello".to_owned(),
            latency: Duration::ZERO,
            words: 5,
            pace: Duration::ZERO,
            tool: false,
            limit: None,
            refuses_over_limit: false,
            faults: Vec::new(),
            tier: "free-tier".to_owned(),
            hold: None,
        }
    }
}

impl Behaviour {
    /// What goes wrong with the `n`-th request of a key.
    pub(super) fn fate(&self, seed: Seed, key: &str, n: u64) -> Option<&Fault> {
        let mut draw = seed.stream(Purpose::Upstream, digest(&["mock", key]), n);
        let mut rest = draw.below(MILLE.into());
        for (mille, fault) in &self.faults {
            let mille = u64::from(*mille);
            if rest < mille {
                return Some(fault);
            }
            rest -= mille;
        }
        None
    }
}

/// What can go wrong. Events are counted from the stream's first; a number beyond the last means
/// just before the last. Of a plain answer, which has no events, the first half is sent instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, with an error of this class, and `retry-after` in seconds if there is one.
    Status(u16, &'static str, Option<u64>),
    /// This status, with these headers and this body of JSON.
    Refusal(u16, Vec<(&'static str, &'static str)>, &'static str),
    /// A redirect: the status, and where it leads.
    Redirect(u16, String),
    /// A page for people instead of a message, with status 200.
    Html,
    /// The connection ends before any byte.
    Reset,
    /// Nothing comes, and the connection stays open.
    Stall,
    /// A stream begins and says this class of error before any content; a plain answer is a 500.
    ErrorEvent(&'static str),
    /// The same after so many events.
    ErrorAfter(&'static str, usize),
    /// The answer breaks off in the middle, and its connection with it.
    Truncate,
    /// The same after so many events.
    TearAfter(usize),
    /// After so many events nothing more comes, and the connection stays open.
    StallAfter(usize),
    /// After so many events the answer ends properly, as far as HTTP can tell, but is not whole.
    EndAfter(usize),
    /// A stream says all of its events, and the connection stays open.
    Linger,
}

impl Fault {
    /// Its name, as scripts and statistics have it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Status(..) | Self::Refusal(..) => "status",
            Self::Redirect(..) => "redirect",
            Self::Html => "html",
            Self::Reset => "reset",
            Self::Stall | Self::StallAfter(_) => "stall",
            Self::ErrorEvent(_) | Self::ErrorAfter(..) => "error_event",
            Self::Truncate | Self::TearAfter(_) => "torn",
            Self::EndAfter(_) => "truncated",
            Self::Linger => "linger",
        }
    }
}

/// Thousandths.
pub(super) const MILLE: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64, key: &str) -> Vec<Option<Fault>> {
        let faults = vec![(200, Fault::Reset), (300, Fault::Html)];
        let behaviour = Behaviour { faults, ..Behaviour::default() };
        (1..=2000).map(|n| behaviour.fate(Seed(seed), key, n).cloned()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        assert_eq!(fates(1, "a"), fates(1, "a"));
        assert_ne!(fates(1, "a"), fates(2, "a"));
        assert_ne!(fates(1, "a"), fates(1, "b"));
    }

    #[test]
    fn faults_are_as_frequent_as_they_say() {
        let fates = fates(1, "a");
        let count = |wanted: Option<Fault>| fates.iter().filter(|fate| **fate == wanted).count();
        let close = |wanted, about: usize| count(wanted).abs_diff(about) < 60;
        assert!(close(Some(Fault::Reset), 400), "{}", count(Some(Fault::Reset)));
        assert!(close(Some(Fault::Html), 600), "{}", count(Some(Fault::Html)));
    }
}
