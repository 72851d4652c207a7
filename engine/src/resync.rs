//! Telling the store what the node really has, in calls of at most [`RESYNC_MAX`] leases.
//!
//! The keys of a pass are fixed when it begins; each is described as it stands when its turn comes.
//! Leases entered later have asks above the pass' `as_of` and are left alone by the store.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::core::{Core, Kind};
use crate::ids::{Ask, Attempt, GateId, LeaseId, ModelId, NodeId, RequestId, Tag};
use crate::lease::{Claim, Key, Standing};
use crate::request::Request;
use crate::store::{HeldLease, Limit, RESYNC_MAX, Resync, StoreOp, Version, WaitingLease, Want};
use crate::time::Span;

/// One pass of calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pass {
    as_of: Ask,
    rest: VecDeque<Key>,
    /// What the unanswered call lists.
    listing: BTreeSet<Key>,
    last_sent: bool,
}

impl Pass {
    pub(crate) fn is_listing(&self, key: Key) -> bool {
        self.listing.contains(&key)
    }

    /// The call was answered: what it listed, and whether it was the last.
    pub(crate) fn answered(&mut self) -> (BTreeSet<Key>, bool) {
        (core::mem::take(&mut self.listing), self.last_sent)
    }
}

pub(crate) type Requests = BTreeMap<RequestId, Box<Request>>;

/// Begins a pass, or goes on with it: sends its next call.
#[cold]
pub(crate) fn send_next(core: &mut Core, requests: &Requests) {
    let Some(node) = core.session.node() else { return };
    let mut pass = core.session.pass.take().unwrap_or_else(|| begin(core, requests));
    let mut chunk = Chunk::default();
    while chunk.len() < RESYNC_MAX {
        let Some(key) = pass.rest.pop_front() else { break };
        describe(core, requests, node, key, &mut chunk);
    }
    pass.last_sent = pass.rest.is_empty();
    pass.listing = chunk.listing;
    let (as_of, last) = (pass.as_of, pass.last_sent);
    core.session.pass = Some(pass);
    let (busy, held, waiting) = (chunk.busy, chunk.held, chunk.waiting);
    let call = core.call(Kind::Resync, |_, ask| {
        StoreOp::Resync(Resync { node, ask, as_of, busy, held, waiting, last })
    });
    core.resync_sent(call);
}

#[derive(Default)]
struct Chunk {
    busy: Vec<LeaseId>,
    held: Vec<HeldLease>,
    waiting: Vec<WaitingLease>,
    listing: BTreeSet<Key>,
}

impl Chunk {
    fn len(&self) -> usize {
        self.busy.len() + self.held.len() + self.waiting.len()
    }
}

fn begin(core: &Core, requests: &Requests) -> Pass {
    let claims = requests.iter().flat_map(|(&req, r)| r.claims().map(move |c| (req, c.attempt)));
    let rest: BTreeSet<Key> = claims.chain(core.debts.keys()).collect();
    Pass {
        as_of: core.last_call(),
        rest: rest.into_iter().collect(),
        listing: BTreeSet::new(),
        last_sent: false,
    }
}

/// Puts one lease where it belongs, unless the store has nothing of it.
fn describe(core: &Core, requests: &Requests, node: NodeId, key: Key, chunk: &mut Chunk) {
    let lease = core.lease(node, key);
    if core.debts.get(key).is_some() {
        chunk.busy.push(lease);
        return;
    }
    let Some(request) = requests.get(&key.0) else { return };
    let Some(claim) = request.claims().find(|claim| claim.attempt == key.1) else { return };
    let settled = claim.pending.is_none() && !claim.unsettled;
    match claim.standing {
        Standing::Held { gate, since, .. } if settled && request.relies_on(claim) => {
            let ttl = core.config.policy.lease_ttl;
            if claim.has_expired(core.now, ttl) {
                // The store has taken it back; entering it again would only exceed the limit.
                return;
            }
            let ttl = ttl.map(|ttl| ttl.saturating_sub(core.now.since(since)));
            chunk.listing.insert(key);
            chunk.held.push(HeldLease {
                lease,
                gate,
                limit: user_limit(core, gate),
                model: if key.1 == Attempt(0) { ModelId(0) } else { request.spec.model },
                tag: claim.tag.expect("a held lease has been told its tag"),
                ttl,
            });
        }
        Standing::Waiting if settled => match waiting(core, request, claim) {
            Some((want, tag, patience)) => {
                chunk.listing.insert(key);
                let ttl = core.config.policy.lease_ttl;
                chunk.waiting.push(WaitingLease { lease, want, tag, patience, ttl });
            }
            None => chunk.busy.push(lease),
        },
        Standing::Nothing if !claim.may_exist() => {}
        Standing::Held { .. } | Standing::Waiting | Standing::Nothing => chunk.busy.push(lease),
    }
}

fn waiting(core: &Core, request: &Request, claim: &Claim) -> Option<(Want, Tag, Span)> {
    let want = request.want(core)?;
    let deadline = request.deadline?;
    Some((want, claim.tag?, deadline.since(core.now)))
}

fn user_limit(core: &Core, gate: GateId) -> Option<(Limit, Version)> {
    let GateId::User(user) = gate else { return None };
    let limit = core.roster.users.get(&user).map_or(Limit::Closed, |user| user.limit);
    Some((limit, core.roster.version))
}
