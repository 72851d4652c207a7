//! What is known of an account's tokens, and what is to be done for a request that needs one. Pure.

use std::sync::Arc;

use sluice_engine::{Span, Time};

use super::file::Stored;
use super::grant::Granted;
use crate::config::{OAuth, Secret};
use crate::upstream::access::Credential;
use crate::upstream::target::UpstreamKind;

/// How long before its end an access token is renewed, unless it is good for a short time only: then
/// when a quarter of that is left.
const AHEAD_MAX: Span = Span::from_secs(300);
const AHEAD_SHARE: u64 = 4;
/// By a share of that time, at most, it is renewed earlier still, so that accounts and gateways that
/// began together do not call together.
const JITTER_SHARE: u64 = 4;
/// Between two calls of one account, at least. So a token URL that fails, or whose tokens are refused,
/// is not called by every request.
const PAUSE: Span = Span::from_secs(10);
const SECOND: Span = Span::from_secs(1);

/// What is known of an account's tokens.
#[derive(Default)]
pub(super) struct State {
    /// What is gone by.
    stored: Option<Stored>,
    /// What stood in the file when it was last read or written. If something else stands there,
    /// somebody else wrote it, and has newer tokens.
    on_disk: Option<Stored>,
    /// The access token, unless it has been refused.
    credential: Option<Arc<Credential>>,
    /// The one that has been refused last.
    refused: Option<Secret>,
    /// From when on it is to be renewed.
    renew_at: Option<Time>,
    /// The refresh token is good no more.
    revoked: bool,
    called_at: Option<Time>,
    /// Somebody is at it.
    renewing: bool,
}

/// What is to be done for a request.
pub(super) enum Look {
    /// Go with this.
    Good(Arc<Credential>),
    /// Go with this, and renew it beside.
    Due(Arc<Credential>),
    /// Renew it and wait for that.
    Renew,
    /// Wait for whoever renews it.
    Wait,
}

/// What whoever renews is to do next.
pub(super) enum Step {
    /// Nothing: there is a token that is good for long.
    Done,
    /// To call with this.
    Call(Secret),
    /// To give up, for this reason.
    GiveUp(&'static str),
}

impl State {
    /// What is to be done for a request. Whoever is told to renew is at it from now on.
    pub(super) fn look(&mut self, now: Time) -> Look {
        let fresh = self.fresh(now);
        let renewing = self.renewing;
        self.renewing |= !fresh;
        match (self.usable(now), fresh || renewing) {
            (Some(credential), true) => Look::Good(credential),
            (Some(credential), false) => Look::Due(credential),
            (None, false) => Look::Renew,
            (None, true) => Look::Wait,
        }
    }

    /// Whether somebody is at it.
    pub(super) fn is_renewing(&self) -> bool {
        self.renewing
    }

    /// What a request can go with.
    pub(super) fn usable(&self, now: Time) -> Option<Arc<Credential>> {
        let ended = self.expires_at().is_some_and(|at| at <= now);
        self.credential.clone().filter(|_| !ended)
    }

    /// Whether it can, and that is not about to end.
    fn fresh(&self, now: Time) -> bool {
        self.usable(now).is_some() && self.renew_at.is_none_or(|at| now < at)
    }

    fn expires_at(&self) -> Option<Time> {
        let secs = self.stored.as_ref()?.expires_at?;
        Some(Time(Span::from_secs(secs).0))
    }

    /// The upstream has refused this, so that nobody goes with it any more.
    pub(super) fn refuse(&mut self, credential: &Arc<Credential>) {
        if self.credential.as_ref().is_some_and(|current| Arc::ptr_eq(current, credential)) {
            self.credential = None;
            self.refused = self.stored.as_ref().and_then(|stored| stored.access.clone());
        }
    }

    /// What stands in the file. Says whether somebody else wrote it; then it is gone by.
    pub(super) fn found(&mut self, owner: Owner<'_>, disk: Stored, jitter: u64) -> bool {
        if self.on_disk.as_ref() == Some(&disk) {
            return false;
        }
        self.on_disk = Some(disk.clone());
        self.take(owner, disk, AHEAD_MAX, jitter);
        true
    }

    /// What to do next, if the file has been read; `changed` if it had changed.
    pub(super) fn step(&mut self, now: Time, changed: bool) -> Step {
        let paused = self.called_at.is_some_and(|at| now < at + PAUSE);
        match &self.stored {
            _ if self.fresh(now) => Step::Done,
            None => Step::GiveUp("there is no refresh token"),
            Some(_) if self.revoked => Step::GiveUp(
                "its refresh token has been revoked: the account stays closed until another one is put \
                 into credential_file, or the configuration is reloaded",
            ),
            Some(_) if paused && !changed => Step::GiveUp("it was called for a moment ago"),
            Some(stored) => {
                self.called_at = Some(now);
                Step::Call(stored.refresh.clone())
            }
        }
    }

    /// Goes by what was granted; hands out what is to stand in the file.
    pub(super) fn granted(
        &mut self,
        owner: Owner<'_>,
        granted: Granted,
        now: Time,
        jitter: u64,
    ) -> Option<Stored> {
        let Granted { access, refresh, expires_in_secs } = granted;
        // It may be the same again: then whoever grants it knows better than who refused it.
        self.refused = None;
        let expires_at = expires_in_secs.map(|secs| now.0 / SECOND.0 + secs);
        let stored = self.stored.as_ref()?.renewed(access, refresh, expires_at);
        let lifetime = expires_in_secs.map_or(Span(u64::MAX), Span::from_secs);
        self.take(owner, stored.clone(), AHEAD_MAX.min(Span(lifetime.0 / AHEAD_SHARE)), jitter);
        Some(stored)
    }

    /// The file holds this.
    pub(super) fn written(&mut self, stored: Stored) {
        self.on_disk = Some(stored);
    }

    /// The refresh token is good no more.
    pub(super) fn revoke(&mut self) {
        self.revoked = true;
    }

    /// Whether the refresh token is good no more.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// Whoever was at it has done with it.
    pub(super) fn ended(&mut self, now: Time) {
        self.renewing = false;
        if !self.fresh(now) {
            // A token that is still good does for a while.
            self.renew_at = Some(now + PAUSE);
        }
    }

    fn take(&mut self, owner: Owner<'_>, stored: Stored, ahead: Span, jitter: u64) {
        let Owner { kind, oauth } = owner;
        let access = stored.access.clone().filter(|access| self.refused.as_ref() != Some(access));
        self.credential = access.and_then(|access| {
            let others = [Some(stored.refresh.clone()), oauth.client_secret.clone()];
            let others = others.into_iter().flatten().collect();
            Credential::token(kind, &access, others).map(Arc::new)
        });
        self.stored = Some(stored);
        self.revoked = false;
        let earlier = ahead + Span(part(ahead.0 / JITTER_SHARE, jitter));
        self.renew_at = self.expires_at().map(|at| Time(at.0.saturating_sub(earlier.0)));
    }
}

/// The part of a number that a draw of 64 bits chooses.
fn part(of: u64, draw: u64) -> u64 {
    u64::try_from((u128::from(of) * u128::from(draw)) >> 64).expect("it is less than the whole")
}

/// Whose tokens they are.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) kind: UpstreamKind,
    pub(super) oauth: &'a OAuth,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Endpoint;

    const START: Time = Time(1_000_000_000_000_000);
    const MINUTE: Span = Span::from_secs(60);

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn oauth() -> OAuth {
        OAuth {
            token_url: Endpoint::parse("http://h/t").expect("good"),
            client_id: "me".to_owned(),
            client_secret: None,
            scope: None,
            credential_file: "/c.json".into(),
        }
    }

    /// What a file holds with these tokens, the access token being good until then.
    fn disk(refresh: &str, access: &str, until: Time) -> Stored {
        let secs = until.0 / SECOND.0;
        let text = format!(
            r#"{{"refresh_token":"{refresh}","access_token":"{access}","expires_at":{secs}}}"#
        );
        Stored::parse(&text).expect("good")
    }

    fn granted(access: &str, secs: Option<u64>) -> Granted {
        Granted { access: secret(access), refresh: None, expires_in_secs: secs }
    }

    /// A state, and what is done with it.
    struct Case(State);

    impl Case {
        fn new(disk: Stored) -> Self {
            let mut case = Self(State::default());
            assert_eq!(case.look(START), "renew", "nothing is known yet");
            assert!(case.found(disk));
            case
        }

        fn found(&mut self, disk: Stored) -> bool {
            let oauth = oauth();
            self.0.found(Owner { kind: UpstreamKind::OpenAi, oauth: &oauth }, disk, u64::MAX)
        }

        fn granted(&mut self, granted: Granted, now: Time, jitter: u64) {
            let oauth = oauth();
            let owner = Owner { kind: UpstreamKind::OpenAi, oauth: &oauth };
            self.0.granted(owner, granted, now, jitter).expect("there was something before");
        }

        fn look(&mut self, now: Time) -> &'static str {
            match self.0.look(now) {
                Look::Good(_) => "good",
                Look::Due(_) => "due",
                Look::Renew => "renew",
                Look::Wait => "wait",
            }
        }

        /// With which refresh token to call, or why not.
        fn step(&mut self, now: Time, changed: bool) -> String {
            match self.0.step(now, changed) {
                Step::Done => "done".to_owned(),
                Step::Call(refresh) => refresh.expose().to_owned(),
                Step::GiveUp(why) => why.to_owned(),
            }
        }
    }

    #[test]
    fn one_renews_and_the_others_wait_or_go_with_what_there_is() {
        let mut case = Case::new(disk("r", "a", START + MINUTE));
        assert_eq!(case.look(START), "good", "somebody is at it");
        assert_eq!(case.look(START + MINUTE), "wait", "and it has ended");
        assert_eq!(case.step(START + MINUTE, true), "r");
        case.granted(granted("b", Some(3600)), START + MINUTE, 0);
        case.0.ended(START + MINUTE);
        assert_eq!(case.look(START + MINUTE), "good");
        assert_eq!(case.step(START + MINUTE, false), "done");
    }

    #[test]
    fn a_token_is_due_before_its_end() {
        for (life, earliest, latest) in [(Some(3600), 3225, 3300), (Some(400), 275, 300)] {
            for (jitter, due) in [(0, latest), (u64::MAX, earliest)] {
                let mut case = Case::new(disk("r", "a", START));
                case.granted(granted("b", life), START, jitter);
                case.0.ended(START);
                let due = START + Span::from_secs(due);
                assert_eq!(case.look(due - SECOND), "good", "{life:?}");
                assert_eq!(case.look(due + SECOND), "due", "{life:?}");
            }
        }
        let mut case = Case::new(disk("r", "a", START));
        case.granted(granted("b", None), START, 0);
        case.0.ended(START);
        assert_eq!(
            case.look(START + Span::from_secs(1 << 30)),
            "good",
            "nothing is said of an end"
        );
    }

    #[test]
    fn what_could_not_be_renewed_does_until_its_end_and_is_tried_again() {
        let mut case = Case::new(disk("r", "a", START + MINUTE));
        assert_eq!(case.step(START, true), "r");
        case.0.ended(START);
        assert_eq!(case.look(START + SECOND), "good");
        assert_eq!(case.look(START + PAUSE), "due");
        assert_eq!(case.step(START + PAUSE, false), "r");
        case.0.ended(START + PAUSE);
        assert_eq!(case.look(START + MINUTE), "renew");
    }

    #[test]
    fn calls_have_a_pause_between_them_unless_the_file_has_changed() {
        let mut case = Case::new(disk("r", "a", START));
        assert_eq!(case.step(START, false), "r");
        assert!(case.step(START + SECOND, false).contains("a moment ago"));
        assert!(!case.found(disk("r", "a", START)), "the same");
        assert!(case.found(disk("s", "a", START)));
        assert_eq!(case.step(START + SECOND, true), "s");
        assert_eq!(case.step(START + SECOND + PAUSE, false), "s");
    }

    #[test]
    fn a_revoked_token_is_not_sent_again() {
        let mut case = Case::new(disk("r", "a", START));
        assert_eq!(case.step(START, true), "r");
        case.0.revoke();
        assert!(case.0.is_revoked());
        assert!(case.step(START + MINUTE, false).contains("until another one is put"));
        assert!(case.found(disk("s", "b", START + MINUTE + MINUTE)));
        assert!(!case.0.is_revoked());
    }

    #[test]
    fn a_refused_token_is_gone_with_by_nobody_also_if_the_file_still_has_it() {
        let until = START + Span::from_secs(3600);
        let mut case = Case::new(disk("r", "a", until));
        case.0.ended(START);
        let credential = case.0.usable(START).expect("good");
        case.0.refuse(&credential);
        assert_eq!(case.look(START), "renew");
        assert!(case.found(disk("s", "a", until)));
        assert!(case.0.usable(START).is_none());
        assert_eq!(case.step(START, true), "s");
        case.granted(granted("b", Some(3600)), START, 0);
        case.0.refuse(&credential);
        assert!(case.0.usable(START).is_some(), "that was another one");
    }

    #[test]
    fn what_was_written_is_no_news() {
        let mut case = Case::new(disk("r", "a", START));
        let oauth = oauth();
        let owner = Owner { kind: UpstreamKind::OpenAi, oauth: &oauth };
        let stored = case.0.granted(owner, granted("b", Some(60)), START, 0).expect("it is there");
        case.0.written(stored.clone());
        assert!(!case.found(stored));
    }
}
