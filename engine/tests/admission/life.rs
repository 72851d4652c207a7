//! One request as an outsider sees it.

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::store::{Enter, StoreReply};
use sluice_engine::{
    AccountId, Ask, Attempt, Denial, LeaseId, Outcome, RequestId, RequestSpec, Span, Tag, Time,
    Verdict,
};

/// Names a request over all engines and their incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) host: usize,
    /// Which incarnation of the engine.
    pub(crate) life: u32,
    pub(crate) req: RequestId,
}

/// How far a request is with billing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Billing {
    NotAsked,
    Asked,
    Allowed,
    Denied(Denial),
}

/// The asks of one lease.
#[derive(Clone, Debug)]
pub(crate) struct Asks {
    pub(crate) lease: LeaseId,
    pub(crate) newest: Ask,
    /// When the first and the newest were sent: the reference's own count of observations.
    pub(crate) first_mark: u64,
    pub(crate) newest_mark: u64,
    pub(crate) first_at: Time,
    /// The answer to the newest, once it is there.
    pub(crate) reply: Option<StoreReply>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) spec: RequestSpec,
    pub(crate) arrived: Time,
    pub(crate) arrived_mark: u64,
    pub(crate) billing: Billing,
    /// By attempt, 0 for the user's slot.
    pub(crate) asks: BTreeMap<u16, Asks>,
    /// The place in the user's line and in those of accounts, once told.
    pub(crate) user_tag: Option<Tag>,
    pub(crate) account_tag: Option<Tag>,
    pub(crate) attempts: u16,
    pub(crate) tried: Vec<AccountId>,
    pub(crate) open: Option<Attempt>,
    pub(crate) started: bool,
    pub(crate) last_end: Option<(AccountId, Attempt, Outcome)>,
    pub(crate) server_errors: u16,
    pub(crate) cancelled: BTreeSet<Attempt>,
    /// Since when it waits; `None` while it does not.
    pub(crate) waits_since: Option<Time>,
    pub(crate) waited: Span,
    pub(crate) user_full: bool,
    pub(crate) account_full: bool,
    /// An answer about its own leases was uncertain.
    pub(crate) doubt: bool,
    /// An attempt was cancelled while its client was there.
    pub(crate) aborted: bool,
    /// When its client went away.
    pub(crate) abandoned_at: Option<Time>,
    pub(crate) finished: Option<Verdict>,
}

impl Life {
    pub(crate) fn new(spec: RequestSpec, now: Time, mark: u64) -> Self {
        Self {
            spec,
            arrived: now,
            arrived_mark: mark,
            billing: Billing::NotAsked,
            asks: BTreeMap::new(),
            user_tag: None,
            account_tag: None,
            attempts: 0,
            tried: Vec::new(),
            open: None,
            started: false,
            last_end: None,
            server_errors: 0,
            cancelled: BTreeSet::new(),
            waits_since: Some(now),
            waited: Span::ZERO,
            user_full: false,
            account_full: false,
            doubt: false,
            aborted: false,
            abandoned_at: None,
            finished: None,
        }
    }

    /// Waiting of the present wait and in all.
    pub(crate) fn waits(&self, now: Time) -> (Span, Span) {
        let present = self.waits_since.map_or(Span::ZERO, |since| now.since(since));
        (present, self.waited + present)
    }

    pub(crate) fn end_wait(&mut self, now: Time) {
        self.waited = self.waits(now).1;
        self.waits_since = None;
    }

    pub(crate) fn asked(&mut self, enter: &Enter, now: Time, mark: u64) {
        let asks = self.asks.entry(enter.lease.attempt.0).or_insert_with(|| Asks {
            lease: enter.lease,
            newest: enter.ask,
            first_mark: mark,
            newest_mark: mark,
            first_at: now,
            reply: None,
        });
        asks.lease = enter.lease;
        asks.newest = enter.ask;
        asks.newest_mark = mark;
        asks.reply = None;
    }

    /// Takes in the answer to one ask; only the newest counts.
    pub(crate) fn answered(&mut self, enter: &Enter, reply: &StoreReply) {
        let attempt = enter.lease.attempt.0;
        let Some(asks) = self.asks.get_mut(&attempt).filter(|a| a.newest == enter.ask) else {
            return;
        };
        asks.reply = Some(reply.clone());
        if let StoreReply::Held { tag, .. } | StoreReply::Waiting { tag, .. } = reply {
            *(if attempt == 0 { &mut self.user_tag } else { &mut self.account_tag }) = Some(*tag);
        }
        if *reply == StoreReply::Full {
            *(if attempt == 0 { &mut self.user_full } else { &mut self.account_full }) = true;
        }
    }

    pub(crate) const fn abandoned(&self) -> bool {
        self.abandoned_at.is_some()
    }

    /// A name for where it is, for counting.
    pub(crate) fn stage(&self) -> &'static str {
        let newest = self.asks.values().next_back().and_then(|asks| asks.reply.as_ref());
        let waiting = matches!(newest, Some(StoreReply::Waiting { .. }));
        match (self.finished, self.billing, self.open) {
            (Some(_), _, _) => "finished",
            (None, Billing::NotAsked, _) if waiting => "in the user's line",
            (None, Billing::NotAsked, _) => "before the user's slot",
            (None, Billing::Asked, _) => "at billing",
            (None, _, Some(_)) if self.started => "streaming",
            (None, _, Some(_)) => "forwarded",
            (None, _, None) if waiting => "in an account's line",
            (None, _, None) => "before an account's slot",
        }
    }
}
