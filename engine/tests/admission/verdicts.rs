//! How a request may end, given what an outsider saw of it.

use std::sync::Arc;

use sluice_engine::policy::OnSessionLost;
use sluice_engine::store::Limit;
use sluice_engine::{AccountId, Outcome, Roster, Verdict};

use super::capacity::since;
use super::life::{Billing, Key, Life};
use super::reference::{Reference, may_switch};

impl Reference {
    /// A request is about to finish with this verdict.
    pub(crate) fn check_verdict(&mut self, key: Key, verdict: Verdict) {
        let Some(life) = self.lives.get(&key).cloned() else {
            return self.complain(format!("Finish {key:?}: unknown"));
        };
        let mut reasons = Vec::new();
        if life.finished.is_some() {
            reasons.push("it had finished");
        }
        if life.open.is_some_and(|attempt| !life.cancelled.contains(&attempt)) {
            reasons.push("an attempt is open and was not cancelled");
        }
        // An engine that is woken late by that event ends what was over before.
        let failed = matches!(verdict, Verdict::Upstream { .. }) && self.account_wait_over(&life);
        let over_before =
            life.abandoned_at == Some(self.now) && (failed || is_end_of_wait(verdict));
        let aborted_before = life.aborted && verdict == Verdict::SessionLost;
        let before = over_before || aborted_before;
        if life.abandoned() && verdict != Verdict::Abandoned && !before {
            reasons.push("its client has gone");
        }
        if life.open.is_some() && !matches!(verdict, Verdict::Abandoned | Verdict::SessionLost) {
            reasons.push("an attempt is open");
        }
        if let Err(reason) = self.consistent(key, &life, verdict) {
            reasons.push(reason);
        }
        for reason in reasons {
            self.complain(format!("Finish {key:?} {verdict:?}: {reason}; {life:?}"));
        }
    }

    fn consistent(&self, key: Key, life: &Life, verdict: Verdict) -> Result<(), &'static str> {
        let before_slot = life.billing == Billing::NotAsked;
        let selecting = life.billing == Billing::Allowed && life.open.is_none();
        match verdict {
            Verdict::Upstream { account, attempt, outcome } => {
                let last = life.last_end == Some((account, attempt, outcome));
                need(last, "that is not how its last attempt ended")?;
                need(outcome != Outcome::Cancelled, "nobody had cancelled it")
            }
            Verdict::Intercepted { account } => {
                need(selecting && !life.started, "not at the place for it")?;
                need(life.spec.warmup, "it is no warm-up request")?;
                let intercepts = |roster: &Arc<Roster>| {
                    let account = roster.accounts.get(&account);
                    account.is_some_and(|account| account.intercept_warmup)
                };
                need(self.known_since(key, life).any(intercepts), "the account does not intercept")
            }
            Verdict::UserLineFull => {
                need(before_slot && life.user_full, "the store did not say so")
            }
            Verdict::UserWaitTimeout => {
                let (present, total) = life.waits(self.now);
                let over = present >= self.policy.user_patience;
                need(before_slot, "it was past the user's slot")?;
                need(over || total >= self.policy.wait_total_max, "its patience was not over")
            }
            Verdict::UserClosed => {
                need(before_slot, "it was past the user's slot")?;
                let closed = |roster: &Arc<Roster>| {
                    let user = roster.users.get(&life.spec.user);
                    user.is_none_or(|user| user.limit == Limit::Closed)
                };
                need(self.known_since(key, life).any(closed), "the user is open")
            }
            Verdict::BillingDenied(denial) => {
                need(life.billing == Billing::Denied(denial), "billing did not say so")
            }
            Verdict::NoAccounts => {
                let none = |roster: &Arc<Roster>| members(roster, life).is_empty();
                need(self.known_since(key, life).any(none), "there are accounts")
            }
            Verdict::AllShut { .. } => {
                need(selecting, "not at the place for it")?;
                self.all_shut(key, life)
            }
            Verdict::AccountLineFull => {
                need(selecting && life.account_full, "the store did not say so")
            }
            Verdict::AccountWaitTimeout => {
                need(selecting, "not at the place for it")?;
                need(life.last_end.is_none(), "it ends with its failure")?;
                need(self.account_wait_over(life), "its patience was not over")
            }
            Verdict::StoreUnavailable => self.store_unavailable(key, life, before_slot),
            Verdict::Overloaded => {
                let others = self.live().filter(|(other, _)| other.host == key.host).count() - 1;
                let full = others >= self.policy.requests_max as usize;
                need(full, "the engine has room")?;
                need(life.asks.is_empty(), "it had been taken in")
            }
            Verdict::SessionLost => {
                let abort = self.policy.on_session_lost == OnSessionLost::Abort;
                need(abort, "the policy is to let it finish")?;
                need(self.in_trouble(key, life), "the session was well all the time")
            }
            Verdict::Abandoned => need(life.abandoned(), "its client is there"),
        }
    }

    fn account_wait_over(&self, life: &Life) -> bool {
        let (present, total) = life.waits(self.now);
        present >= self.policy.fallback_patience
            || total >= self.policy.wait_total_max
            || self.now.since(life.arrived) >= self.policy.failover_time_max
    }

    fn store_unavailable(
        &self,
        key: Key,
        life: &Life,
        before_slot: bool,
    ) -> Result<(), &'static str> {
        let doubt = life.doubt || self.in_trouble(key, life) || self.unanswered_for(key);
        need(doubt, "the store answered well all the time")?;
        let (present, total) = life.waits(self.now);
        if before_slot {
            let over = present >= self.policy.user_patience || total >= self.policy.wait_total_max;
            return need(over, "its patience for the user's slot was not over");
        }
        need(life.billing == Billing::Allowed, "not at the place for it")?;
        need(self.account_wait_over(life), "its patience for an account was not over")
    }

    /// Whether the store has been in doubt for its engine at some time since it arrived.
    fn in_trouble(&self, key: Key, life: &Life) -> bool {
        self.hosts[key.host].trouble.is_some_and(|mark| mark >= life.arrived_mark)
    }

    /// Rosters that its engine or the store has had at some time since it arrived.
    fn known_since(&self, key: Key, life: &Life) -> impl Iterator<Item = &Arc<Roster>> {
        let own = since(&self.hosts[key.host].rosters, life.arrived_mark);
        own.chain(self.capacity.defined_since(life.arrived_mark))
    }

    /// Every account that it has not tried is closed by some roster, or has given cause to be.
    fn all_shut(&self, key: Key, life: &Life) -> Result<(), &'static str> {
        let rosters: Vec<&Arc<Roster>> = self.known_since(key, life).collect();
        let shut = |account: &AccountId| {
            let closed = |roster: &&Arc<Roster>| {
                let listed = members(roster, life).contains(account);
                let limit = roster.accounts.get(account).map(|a| a.limit);
                !listed || limit.is_none_or(|limit| limit == Limit::Closed)
            };
            life.tried.contains(account)
                || self.failed.contains(account)
                || rosters.iter().any(closed)
        };
        let all = rosters.iter().flat_map(|roster| members(roster, life));
        need(all.clone().all(|account| shut(&account)), "an account is open")
    }
}

fn need(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

const fn is_end_of_wait(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::UserWaitTimeout
            | Verdict::AccountWaitTimeout
            | Verdict::StoreUnavailable
            | Verdict::SessionLost
    )
}

/// The known accounts of its pool.
pub(crate) fn members(roster: &Roster, life: &Life) -> Vec<AccountId> {
    let spec = &life.spec;
    let pool = roster.pool(spec.group, spec.platform, spec.model);
    let listed = pool.map(|pool| pool.members.clone()).unwrap_or_default();
    listed.into_iter().filter(|account| roster.accounts.contains_key(account)).collect()
}

/// Whether this end gives the store cause to close the account.
pub(crate) const fn gives_cause(outcome: Outcome) -> bool {
    let unable = matches!(outcome, Outcome::Unable { .. });
    may_switch(outcome) && !unable || matches!(outcome, Outcome::Truncated)
}
