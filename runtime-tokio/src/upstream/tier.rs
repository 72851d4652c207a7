//! Which tier an account of Code Assist has, as its upstream says. Kept to be shown; nothing is decided
//! by it.
//!
//! The upstream is asked after it has served a request, aside, with the credential that was good for
//! that: nobody waits for it, no token is renewed for it, and what comes of it says nothing of the
//! account's health.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};
use sluice_engine::{Span, Time};
use sluice_storage::Watch;

use super::access::Access;
use super::fetch::fetch;
use super::outgoing::Outgoing;
use super::target::Operation;
use crate::clock::Clock;
use crate::config::{self, PlatformName};
use crate::gateway::Worker;
use crate::net::Net;

/// The longest name of a tier, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Between two questions to one account, whatever came of the first.
const PAUSE: Span = Span::from_secs(3_600);
/// How long one may take, connecting and all.
const TIME_MAX: Duration = Duration::from_secs(20);
/// The most bytes of an answer's body.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What is asked.
const QUESTION: &[u8] = br#"{"metadata":{"pluginType":"GEMINI"}}"#;
/// What an account has that is offered no tier by name.
const LEGACY: &str = "LEGACY";
/// How upstreams name a tier of which they know nothing.
const UNKNOWN: &str = "unknown";

/// What an upstream calls a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier(String);

/// It cannot be the name of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTier;

impl fmt::Display for NoTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be at most {NAME_BYTES_MAX} letters, digits and any of _/- in quotes")
    }
}

impl std::error::Error for NoTier {}

impl Tier {
    /// Reads a name. An empty one is that of none, and so is `unknown`.
    ///
    /// # Errors
    /// It can be no tier's.
    pub fn parse(name: &str) -> Result<Option<Self>, NoTier> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_/-".contains(&b);
        if name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(NoTier);
        }
        Ok((!name.is_empty() && name != UNKNOWN).then(|| Self(name.to_owned())))
    }

    /// What people call it; of one that nobody knows, the name itself.
    #[must_use]
    pub fn display_name(&self) -> &str {
        match &*self.0 {
            "free" | "free-tier" => "Free",
            "payg" | "pay-as-you-go" => "Pay-as-you-go",
            "enterprise" => "Enterprise",
            LEGACY => "Legacy",
            "PRO" | "g1-pro-tier" => "Pro",
            "ULTRA" | "g1-ultra-tier" => "Ultra",
            other => other,
        }
    }

    /// For operators.
    #[must_use]
    pub fn shown(&self) -> Value {
        json!({"id": self.0, "name": self.display_name()})
    }
}

/// What is known of an account's tier.
#[derive(Debug)]
pub struct Standing {
    place: Place,
    /// What the operator says: then the upstream is not asked.
    configured: Option<Tier>,
    learned: Mutex<Learned>,
}

/// Where an answer names the tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Among those that the account may have: the default one.
    Allowed,
    /// What is paid for, or else what there is without.
    Paid,
}

#[derive(Debug, Default)]
struct Learned {
    tier: Option<Tier>,
    asked_at: Option<Time>,
    /// What was told last cannot be a tier's name.
    is_odd: bool,
}

impl Standing {
    /// That of an account, if it is one of Code Assist.
    #[must_use]
    pub fn of(account: &config::Account) -> Option<Self> {
        account.project.as_ref()?;
        let place = match account.platform {
            PlatformName::Antigravity => Place::Paid,
            PlatformName::Gemini | PlatformName::Anthropic | PlatformName::OpenAi => Place::Allowed,
        };
        let configured = account.tier.as_deref().and_then(|name| Tier::parse(name).ok().flatten());
        Some(Self { place, configured, learned: Mutex::default() })
    }

    /// Whether what was learned of the other holds for this one, too.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.place == other.place && self.configured == other.configured
    }

    /// The tier, once it is known.
    #[must_use]
    pub fn tier(&self) -> Option<Tier> {
        self.configured.clone().or_else(|| self.learned().tier.clone())
    }

    /// Whether the upstream is to be asked. Whoever is told so asks it.
    fn is_due(&self, now: Time) -> bool {
        if self.configured.is_some() {
            return false;
        }
        let mut learned = self.learned();
        let due = learned.asked_at.is_none_or(|at| now >= at + PAUSE);
        if due {
            learned.asked_at = Some(now);
        }
        due
    }

    /// Takes in an answer. Says whether it names something, for the first time, that is no tier.
    fn note(&self, answer: &Value) -> bool {
        let told = Tier::parse(self.place.name_in(answer));
        let mut learned = self.learned();
        let was_odd = std::mem::replace(&mut learned.is_odd, told.is_err());
        learned.tier = told.ok().flatten();
        learned.is_odd && !was_odd
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().expect("nobody panics holding it")
    }
}

impl Place {
    fn name_in(self, answer: &Value) -> &str {
        match self {
            Self::Allowed => {
                let all = answer["allowedTiers"].as_array().map_or(&[][..], Vec::as_slice);
                let default = all.iter().filter(|tier| tier["isDefault"] == true).find_map(id);
                default.or_else(|| all.iter().find_map(id)).unwrap_or(LEGACY)
            }
            Self::Paid => {
                id(&answer["paidTier"]).or_else(|| id(&answer["currentTier"])).unwrap_or_default()
            }
        }
    }
}

/// What a tier is called, if it is called something.
fn id(tier: &Value) -> Option<&str> {
    tier["id"].as_str().map(str::trim).filter(|id| !id.is_empty())
}

/// Has the account's tier asked for, if that is due, with what its upstream has just taken.
pub(super) fn learn<N: Net, S: Watch>(worker: &Rc<Worker<N, S>>, access: &Access<'_>) {
    let Some(standing) = access.account.standing.clone() else { return };
    if !standing.is_due(worker.driver.clock.now()) {
        return;
    }
    let (worker, kept) = (worker.clone(), access.kept());
    drop(tokio::task::spawn_local(async move {
        let access = kept.access();
        let account = &*access.account.name;
        match ask(&worker, &access).await {
            Ok(answer) if standing.note(&answer) => {
                tracing::warn!(account, "what its upstream calls its tier is no tier's name");
            }
            Ok(_) => {}
            Err(why) => tracing::debug!(account, why, "its tier was not told"),
        }
    }));
}

async fn ask<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    access: &Access<'_>,
) -> Result<Value, &'static str> {
    let account = access.account;
    let request = Outgoing {
        method: Method::POST,
        protocol: account.protocol,
        client: &HeaderMap::new(),
        path: account.target.path("", Operation::Standing).ok_or("it cannot be asked")?,
        body: Bytes::from_static(QUESTION),
    };
    let by = Clock::after(TIME_MAX);
    let (head, body) = fetch(&worker.pool, access, &request, ANSWER_BYTES_MAX, by)
        .await
        .map_err(|_| "there was no answer, or none that ended in time")?;
    if !head.status().is_success() {
        return Err("it was refused");
    }
    if matches!(access.secrets().hidden(&body), Cow::Owned(_)) {
        return Err("the answer tells the credential");
    }
    let answer = serde_json::from_slice(&body).ok().filter(Value::is_object);
    answer.ok_or("the answer is no JSON object")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(place: Place) -> Standing {
        Standing { place, configured: None, learned: Mutex::default() }
    }

    fn tier(name: &str) -> Option<Tier> {
        Tier::parse(name).expect("good")
    }

    #[test]
    fn a_tier_is_the_first_default_one_that_has_a_name_or_the_first_that_has() {
        for (answer, want) in [
            (json!({}), LEGACY),
            (json!({"allowedTiers": "x", "currentTier": {"id": "no"}}), LEGACY),
            (json!({"allowedTiers": [{"id": " "}, {"id": 7}, {"isDefault": true}, null]}), LEGACY),
            (json!({"allowedTiers": [{"id": ""}, {"id": " a "}, {"id": "b"}]}), "a"),
            (json!({"allowedTiers": [{"id": "a"}, {"id": "b\n", "isDefault": true}]}), "b"),
            (
                json!({"allowedTiers": [{"id": "a"}, {"id": " ", "isDefault": true},
                                        {"id": "b", "isDefault": true}]}),
                "b",
            ),
            (json!({"allowedTiers": [{"id": "a"}, {"id": "b", "isDefault": "true"}]}), "a"),
            (json!({"allowedTiers": [{"id": "a"}, {"id": LEGACY, "isDefault": true}]}), LEGACY),
        ] {
            assert_eq!(Place::Allowed.name_in(&answer), want, "{answer}");
        }
    }

    #[test]
    fn or_what_is_paid_for_or_else_what_there_is() {
        for (answer, want) in [
            (json!({}), ""),
            (json!({"allowedTiers": [{"id": "a"}]}), ""),
            (json!({"currentTier": {"id": " free-tier "}}), "free-tier"),
            (json!({"paidTier": {"id": " "}, "currentTier": {"id": "free-tier"}}), "free-tier"),
            (json!({"paidTier": {"id": "g1"}, "currentTier": {"id": "free-tier"}}), "g1"),
        ] {
            assert_eq!(Place::Paid.name_in(&answer), want, "{answer}");
        }
    }

    #[test]
    fn a_name_has_a_bound_and_few_characters() {
        assert_eq!((tier(""), tier("unknown")), (None, None));
        for good in ["a", "standard-tier", "g1_pro/2-X", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(tier(good), Some(Tier(good.to_owned())));
        }
        for bad in ["a b", " ", "a\n", "a.b", "ä", "<b>", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(Tier::parse(bad), Err(NoTier), "{bad}");
        }
    }

    #[test]
    fn people_are_told_what_they_call_it() {
        for (id, name) in [
            ("free", "Free"),
            ("free-tier", "Free"),
            ("payg", "Pay-as-you-go"),
            ("pay-as-you-go", "Pay-as-you-go"),
            ("enterprise", "Enterprise"),
            ("LEGACY", "Legacy"),
            ("PRO", "Pro"),
            ("g1-pro-tier", "Pro"),
            ("ULTRA", "Ultra"),
            ("g1-ultra-tier", "Ultra"),
            ("standard-tier", "standard-tier"),
        ] {
            let shown = tier(id).expect("one").shown();
            assert_eq!(shown, json!({"id": id, "name": name}));
        }
    }

    #[test]
    fn what_was_told_last_counts_and_what_can_be_no_tier_is_complained_of_once() {
        let standing = standing(Place::Paid);
        let note = |id: &str| standing.note(&json!({"paidTier": {"id": id}}));
        assert!(!note("PRO"));
        assert_eq!(standing.tier(), tier("PRO"));
        assert!(note("<b>"));
        assert_eq!(standing.tier(), None, "it is not kept, nor what it is no more");
        assert!(!note("<i>"), "once");
        assert!(!note("ULTRA"));
        assert_eq!(standing.tier(), tier("ULTRA"));
        assert!(note("<b>"), "again");
    }

    #[test]
    fn it_is_asked_for_once_an_hour_unless_it_is_configured() {
        let standing = standing(Place::Allowed);
        let start = Time(5);
        assert!(standing.is_due(start));
        assert!(!standing.is_due(start));
        assert!(!standing.is_due(Time(start.0 + PAUSE.0 - 1)));
        assert!(standing.is_due(start + PAUSE) && !standing.is_due(start + PAUSE));
        let configured = Standing { configured: tier("PRO"), ..self::standing(Place::Allowed) };
        assert!(!configured.is_due(start));
        assert!(!configured.note(&json!({"allowedTiers": [{"id": "free"}]})));
        assert_eq!(configured.tier(), tier("PRO"));
        assert!(!configured.is_like(&standing) && configured.is_like(&configured));
    }
}
