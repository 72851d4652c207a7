//! Which account a session is bound to. A bounded table: what expires first gives way.

use alloc::collections::{BTreeMap, BTreeSet};
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, SessionKey};
use crate::store::{SESSIONS_MAX, SWEEP_MAX, SessionChange};
use crate::time::Time;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sessions {
    #[serde(with = "super::as_list")]
    homes: BTreeMap<SessionKey, (AccountId, Time)>,
    by_end: BTreeSet<(Time, SessionKey)>,
}

impl Sessions {
    /// The session's home at that time.
    pub(super) fn home(&self, raw: Time, key: SessionKey) -> Option<AccountId> {
        self.homes.get(&key).filter(|(_, ends)| raw < *ends).map(|(home, _)| *home)
    }

    /// Changes the binding if the home is still what the caller believes. Answers the home
    /// afterwards.
    pub(super) fn apply(
        &mut self,
        raw: Time,
        key: SessionKey,
        change: SessionChange,
        if_home: Option<AccountId>,
    ) -> Option<AccountId> {
        self.sweep(raw);
        let home = self.home(raw, key);
        if home == if_home {
            match (change, home) {
                (SessionChange::Bind(account, ttl), _) => self.set(key, account, raw + ttl),
                (SessionChange::Touch(ttl), Some(account)) => self.set(key, account, raw + ttl),
                (SessionChange::Touch(_), None) => {}
                (SessionChange::Drop, _) => self.forget(key),
            }
        }
        self.home(raw, key)
    }

    fn set(&mut self, key: SessionKey, account: AccountId, ends: Time) {
        self.forget(key);
        if self.homes.len() >= SESSIONS_MAX
            && let Some((_, first)) = self.by_end.first().copied()
        {
            self.forget(first);
        }
        self.homes.insert(key, (account, ends));
        self.by_end.insert((ends, key));
    }

    fn forget(&mut self, key: SessionKey) {
        if let Some((_, ends)) = self.homes.remove(&key) {
            self.by_end.remove(&(ends, key));
        }
    }

    fn sweep(&mut self, raw: Time) {
        for _ in 0..SWEEP_MAX {
            let Some((_, key)) = self.by_end.first().filter(|(ends, _)| *ends <= raw) else {
                return;
            };
            let key = *key;
            self.forget(key);
        }
    }

    pub(super) fn is_consistent(&self) -> bool {
        let listed = |(key, (_, ends)): (&SessionKey, &(AccountId, Time))| {
            self.by_end.contains(&(*ends, *key))
        };
        self.homes.len() == self.by_end.len() && self.homes.iter().all(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn key(n: u32) -> SessionKey {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&n.to_be_bytes());
        SessionKey(key)
    }

    const A: AccountId = AccountId(1);
    const B: AccountId = AccountId(2);
    const HOUR: Span = Span::from_secs(3600);

    #[test]
    fn a_binding_changes_only_for_who_knows_the_home() {
        let mut sessions = Sessions::default();
        let now = Time(10);
        let mut apply = |change, if_home| sessions.apply(now, key(1), change, if_home);
        assert_eq!(apply(SessionChange::Bind(A, HOUR), None), Some(A));
        assert_eq!(apply(SessionChange::Bind(B, HOUR), None), Some(A));
        assert_eq!(apply(SessionChange::Drop, Some(B)), Some(A));
        assert_eq!(apply(SessionChange::Bind(B, HOUR), Some(A)), Some(B));
        assert_eq!(apply(SessionChange::Drop, Some(B)), None);
        assert_eq!(apply(SessionChange::Touch(HOUR), None), None);
    }

    #[test]
    fn a_binding_ends_at_its_end_and_touching_moves_that() {
        let mut sessions = Sessions::default();
        let span = Span(100);
        sessions.apply(Time(0), key(1), SessionChange::Bind(A, span), None);
        assert_eq!(sessions.home(Time(99), key(1)), Some(A));
        assert_eq!(sessions.home(Time(100), key(1)), None);
        sessions.apply(Time(50), key(1), SessionChange::Touch(span), Some(A));
        assert_eq!(sessions.home(Time(149), key(1)), Some(A));
        sessions.apply(Time(200), key(2), SessionChange::Drop, None);
        assert!(sessions.homes.is_empty(), "what has ended is forgotten");
    }

    #[test]
    fn the_table_is_bounded_and_what_ends_first_gives_way() {
        let mut sessions = Sessions::default();
        for n in 0..SESSIONS_MAX as u32 + 1 {
            let span = Span(1_000_000 - u64::from(n));
            sessions.apply(Time(0), key(n), SessionChange::Bind(A, span), None);
        }
        assert_eq!(sessions.homes.len(), SESSIONS_MAX);
        let last = SESSIONS_MAX as u32;
        assert_eq!(sessions.home(Time(0), key(last - 1)), None, "it would have ended first");
        assert_eq!(sessions.home(Time(0), key(last)), Some(A));
        assert!(sessions.is_consistent());
    }

    #[test]
    fn a_table_that_does_not_fit_its_ends_is_noticed() {
        let (now, span) = (Time(0), Span(100));
        let mut sessions = Sessions::default();
        sessions.apply(now, key(1), SessionChange::Bind(A, span), None);
        assert!(sessions.is_consistent());
        let mut more = sessions.clone();
        more.by_end.insert((now + span, key(2)));
        assert!(!more.is_consistent());
        let mut other = sessions;
        other.by_end = [(now, key(1))].into();
        assert!(!other.is_consistent());
    }
}
