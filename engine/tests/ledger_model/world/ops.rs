//! Makes operations of steps: finds out which lease, account, version or moment is meant.

use sluice_engine::ids::{
    AccountId, Ask, Attempt, GateId, LeaseId, ModelId, NodeId, PoolId, RequestId, SessionKey, Tag,
    UserId,
};
use sluice_engine::store::{
    Enter, HealthChange, HeldLease, Limit, PROTOCOL, Resync, SessionChange, StoreOp, Version,
    WaitingLease, Want,
};
use sluice_engine::time::Span;

use super::{World, name, roster};
use crate::naive::Place;
use crate::steps::{
    Act, Among, AskStep, Believed, Beside, ChangeStep, Edit, EnterStep, HealthStep, Lie, LieOf,
    Pass, PatienceStep, Replaces, ResyncStep, TagStep, UserLimit, VersionStep, WantStep, Who,
};

impl World {
    /// The operation that an act is, and whether it is held back.
    pub(super) fn op(&mut self, act: &Act) -> Option<(StoreOp, bool)> {
        let op = match act {
            Act::Enter(step) | Act::Crowd(_, step) => {
                return Some((self.enter(step), step.held_back));
            }
            Act::Leave { who, mark, fence, held_back } => {
                let lease = self.who(*who);
                return Some((StoreOp::Leave { lease, mark: *mark, fence: *fence }, *held_back));
            }
            Act::Sweep { .. } | Act::Storm { .. } | Act::Relapse { .. } => {
                unreachable!("it is several acts")
            }
            Act::Resync(step) => return Some((self.resync(step), step.held_back)),
            Act::Join { instance, replaces, resume } => self.join(*instance, *replaces, *resume),
            Act::Beat { instance, former } => {
                let node = self.node(*instance, *former);
                StoreOp::Beat { node, settled: 0, in_flight: 0 }
            }
            Act::Define { version, edits } => self.define(*version, edits),
            Act::Survey { pool, model, session, excluded, best } => StoreOp::Survey {
                pool: self.pool(*pool),
                model: self.model(*model),
                session: session.map(session_key),
                excluded: self.some_accounts(*excluded),
                best: *best,
            },
            Act::Session { key, change, believed } => self.session(*key, *change, *believed),
            Act::Health { account, model, change } => StoreOp::Health {
                account: self.health_account(*account, *change),
                model: model.map(|model| self.model(model)),
                change: match change {
                    HealthStep::Proved(who) => HealthChange::Proved(self.who(*who)),
                    HealthStep::Drain => HealthChange::Drain,
                    HealthStep::Disable => HealthChange::Disable,
                    HealthStep::Recover => HealthChange::Recover,
                },
            },
            Act::Reap { max } => StoreOp::Reap { max: *max },
            Act::Repeat(back) => nth(&self.sent, usize::MAX - usize::from(*back))?.clone(),
            Act::Deliver(nth) => {
                if self.held_back.is_empty() {
                    return None;
                }
                self.held_back.remove(usize::from(*nth) % self.held_back.len())
            }
        };
        Some((op, false))
    }

    fn enter(&mut self, step: &EnterStep) -> StoreOp {
        let lease = self.who(step.who);
        let known = self.naive.lease(lease).map(|lease| lease.ask);
        let newer = self.next_ask();
        let ask = match (step.ask, known) {
            (AskStep::Newer, _) | (_, None) => newer,
            (AskStep::Same, Some(known)) => known,
            (AskStep::Older, Some(known)) => Ask(known.0.saturating_sub(1)),
        };
        let patience = match step.patience {
            PatienceStep::None => None,
            PatienceStep::Us(us) => Some(Span(us)),
            PatienceStep::Moment(nth, beside) => Some(self.moment(nth, beside)),
        };
        StoreOp::Enter(Enter {
            lease,
            ask,
            want: self.want(&step.want, lease),
            tag: self.tag(step.tag, lease),
            patience,
            ttl: step.ttl.map(Span),
        })
    }

    fn want(&mut self, step: &WantStep, lease: LeaseId) -> Want {
        let usual = self.model((lease.request.0 % 256) as u8);
        match step {
            WantStep::Same => match self.naive.lease(lease).map(|lease| &lease.place) {
                Some(Place::Waiting(ticket)) => ticket.want.clone(),
                Some(Place::Held(held)) => match held.gate {
                    GateId::User(user) => self.user_want(user, UserLimit::AsKnown, 20),
                    GateId::Account(account) => {
                        Want::Gate { account, model: held.model, line_max: 20 }
                    }
                },
                None => Want::Pool {
                    pool: self.pool(0),
                    model: usual,
                    best: arrayvec::ArrayVec::new(),
                    excluded: Vec::new(),
                    line_max: Some(20),
                },
            },
            WantStep::User { user, limit, line_max } => {
                self.user_want(UserId(u64::from(*user % self.setup.users) + 1), *limit, *line_max)
            }
            WantStep::Gate { account, model, line_max } => Want::Gate {
                account: self.account(*account),
                model: model.map_or(usual, |model| self.model(model)),
                line_max: *line_max,
            },
            WantStep::Pool { pool, model, best, excluded, line_max } => Want::Pool {
                pool: self.pool(*pool),
                model: model.map_or(usual, |model| self.model(model)),
                best: best.iter().map(|account| self.account(*account)).collect(),
                excluded: self.some_accounts(*excluded),
                line_max: *line_max,
            },
        }
    }

    fn user_want(&mut self, user: UserId, limit: UserLimit, line_max: u32) -> Want {
        let (limit, version) = self.user_limit(user, limit);
        Want::User { user, limit, version, line_max }
    }

    fn user_limit(&mut self, user: UserId, step: UserLimit) -> (Limit, Version) {
        self.stamps += 1;
        let newest = roster::version(self.stamps);
        let known = &mut self.users[user.0 as usize - 1];
        match step {
            UserLimit::AsKnown => *known,
            UserLimit::Newer(limit) => {
                *known = (limit, newest);
                *known
            }
            UserLimit::Older(limit) => (limit, Version { stamp: known.1.stamp - 1, digest: 9 }),
            UserLimit::Other(limit) => (limit, known.1),
        }
    }

    fn tag(&self, step: TagStep, lease: LeaseId) -> Option<Tag> {
        let told = |l: LeaseId| self.tags.iter().find(|(other, _)| *other == l).map(|t| t.1);
        match step {
            TagStep::Right => self.naive.lease(lease).map(|l| l.tag).or_else(|| told(lease)),
            TagStep::Absent => None,
            TagStep::Nth(n) => nth(&self.tags, usize::from(n)).map(|(_, tag)| *tag),
            TagStep::Lowest => Some(Tag(0)),
        }
    }

    fn join(&self, instance: u8, replaces: Replaces, resume: bool) -> StoreOp {
        let instance = name(instance % self.setup.instances);
        let current = self.naive.sessions.iter().find(|s| s.instance == instance).map(|s| s.node);
        let replaces = match replaces {
            Replaces::Right => current,
            Replaces::Nobody => None,
            Replaces::Wrong => Some(NodeId(current.map_or(3, |node| node.0.saturating_sub(1)))),
        };
        StoreOp::Join { instance, replaces, resume, protocol: PROTOCOL }
    }

    fn resync(&mut self, step: &ResyncStep) -> StoreOp {
        let instance = usize::from(step.instance % self.setup.instances);
        let node = self.node(step.instance, step.former);
        let as_of = match step.pass {
            Pass::Fresh => {
                self.passes[instance] = (Ask(self.asks), self.passes[instance].0);
                self.passes[instance].0
            }
            Pass::Running => self.passes[instance].0,
            Pass::Old => self.passes[instance].1,
        };
        let mut resync = Resync {
            node,
            ask: self.next_ask(),
            as_of,
            busy: Vec::new(),
            held: Vec::new(),
            waiting: Vec::new(),
            last: step.last,
        };
        if step.truth {
            self.list_truth(&mut resync, step);
        }
        for lie in &step.lies {
            self.list_lie(&mut resync, lie);
        }
        StoreOp::Resync(resync)
    }

    fn list_truth(&self, resync: &mut Resync, step: &ResyncStep) {
        let own = self.naive.leases.iter().filter(|lease| lease.id.node == resync.node);
        for (lease, nth) in own.zip((0..16).cycle()) {
            if step.omitted >> nth & 1 == 1 {
                continue;
            }
            if step.busy >> nth & 1 == 1 {
                resync.busy.push(lease.id);
                continue;
            }
            match &lease.place {
                Place::Held(held) => resync.held.push(HeldLease {
                    lease: lease.id,
                    gate: held.gate,
                    limit: match held.gate {
                        GateId::User(user) => Some(self.users[user.0 as usize - 1]),
                        GateId::Account(_) => None,
                    },
                    model: held.model,
                    tag: lease.tag,
                    ttl: held.ends.map(|ends| ends.since(self.naive.clock)),
                }),
                Place::Waiting(ticket) => resync.waiting.push(WaitingLease {
                    lease: lease.id,
                    want: with_line(ticket.want.clone()),
                    tag: lease.tag,
                    patience: ticket.until.since(self.naive.clock),
                    ttl: ticket.ttl,
                }),
            }
        }
    }

    fn list_lie(&mut self, resync: &mut Resync, lie: &Lie) {
        let lease = LeaseId { node: resync.node, ..self.who(lie.who) };
        let tag = self.tag(lie.tag, lease).unwrap_or(Tag(0));
        let ttl = lie.ttl.map(Span);
        match &lie.what {
            LieOf::Busy => resync.busy.push(lease),
            LieOf::HeldUser { user, limit } => {
                let user = UserId(u64::from(*user % self.setup.users) + 1);
                resync.held.push(HeldLease {
                    lease,
                    gate: GateId::User(user),
                    limit: Some(self.user_limit(user, *limit)),
                    model: ModelId(0),
                    tag,
                    ttl,
                });
            }
            LieOf::HeldAccount { account } => resync.held.push(HeldLease {
                lease,
                gate: GateId::Account(self.account(*account)),
                limit: None,
                model: self.model((lease.request.0 % 256) as u8),
                tag,
                ttl,
            }),
            LieOf::Waiting { want, patience } => {
                let want = with_line(self.want(want, lease));
                let patience = Span(*patience);
                resync.waiting.push(WaitingLease { lease, want, tag, patience, ttl });
            }
        }
    }

    fn define(&mut self, step: VersionStep, edits: &[Edit]) -> StoreOp {
        self.stamps += 1;
        let mut new = self.roster.clone();
        for edit in edits {
            roster::edit(&mut new, &self.setup, *edit);
        }
        let known = self.roster.version;
        new.version = match step {
            VersionStep::Newer => roster::version(self.stamps),
            VersionStep::SameStampHigherDigest => Version { digest: known.digest + 1, ..known },
            VersionStep::Same => known,
            VersionStep::Older => Version { stamp: known.stamp - 1, digest: 9 },
        };
        if new.version > known {
            self.roster = new.clone();
        }
        StoreOp::Define(new)
    }

    fn session(&self, key: u8, change: ChangeStep, believed: Believed) -> StoreOp {
        let key = session_key(key);
        let change = match change {
            ChangeStep::Bind(account, us) => SessionChange::Bind(self.account(account), Span(us)),
            ChangeStep::Touch(us) => SessionChange::Touch(Span(us)),
            ChangeStep::Drop => SessionChange::Drop,
        };
        let if_home = match believed {
            Believed::Right => self.naive.home(key),
            Believed::None => None,
            Believed::Account(account) => Some(self.account(account)),
        };
        StoreOp::Session { key, change, if_home }
    }

    // Which one is meant.

    fn who(&self, who: Who) -> LeaseId {
        let any = LeaseId {
            node: self.node(who.instance, who.former),
            request: RequestId(u64::from(who.request) + 1),
            attempt: Attempt(u16::from(who.attempt)),
        };
        let naive = &self.naive;
        let mut ids: Vec<LeaseId> = naive.leases.iter().map(|lease| lease.id).collect();
        match who.among {
            Among::All => return any,
            Among::Held => ids.retain(|id| naive.held_by(*id).is_some()),
            Among::Waiting => ids.retain(|id| naive.ticket_of(*id).is_some()),
            Among::Unclaimed => {
                ids.retain(|id| naive.held_by(*id).is_some_and(|held| held.claim_by.is_some()));
            }
            Among::Probes => ids.retain(|id| naive.is_probe(*id)),
        }
        nth(&ids, usize::from(who.nth)).copied().unwrap_or(any)
    }

    /// A probe is proved at its own account, but for a mistake now and then.
    fn health_account(&self, account: u8, change: HealthStep) -> AccountId {
        if let HealthStep::Proved(who) = change
            && let Some(held) = self.naive.held_by(self.who(who))
            && let GateId::Account(own) = held.gate
            && account != 0
        {
            return own;
        }
        self.account(account)
    }

    fn node(&self, instance: u8, former: bool) -> NodeId {
        let nodes = &self.nodes[usize::from(instance % self.setup.instances)];
        let back = if former { 2 } else { 1 };
        let index = nodes.len().checked_sub(back);
        index.map_or(NodeId(0), |index| nodes[index])
    }

    /// The one beyond those that there are is nobody's.
    fn account(&self, n: u8) -> AccountId {
        AccountId(u64::from(if n == 5 { self.setup.accounts } else { n % self.setup.accounts }) + 1)
    }

    /// How far it is until the account's next key opens.
    pub(super) fn opening_of(&self, account: u8) -> Span {
        let id = self.account(account);
        let openings = self.naive.openings();
        let own = openings.iter().find(|(_, account, _)| *account == id);
        own.map_or(Span::ZERO, |(at, _, _)| at.since(self.naive.raw))
    }

    fn some_accounts(&self, bits: u8) -> Vec<AccountId> {
        (0..self.setup.accounts).filter(|n| bits >> n & 1 == 1).map(|n| self.account(n)).collect()
    }

    fn pool(&self, n: u8) -> PoolId {
        PoolId(if n == 3 { 9 } else { u64::from(n % self.setup.pools) + 1 })
    }

    fn model(&self, n: u8) -> ModelId {
        ModelId(u64::from(n % self.setup.models) + 1)
    }

    fn next_ask(&mut self) -> Ask {
        self.asks += 1;
        Ask(self.asks)
    }

    pub(super) fn moment(&self, n: u8, beside: Beside) -> Span {
        let at = nth(&self.naive.moments(), usize::from(n)).copied().unwrap_or(Span(1_000));
        match beside {
            Beside::At => at,
            Beside::Before => Span(at.0 - 1),
            Beside::After => Span(at.0.saturating_add(1)),
        }
    }
}

fn nth<T>(all: &[T], n: usize) -> Option<&T> {
    all.get(n.checked_rem(all.len())?)
}

fn session_key(key: u8) -> SessionKey {
    SessionKey([key; 16])
}

fn with_line(mut want: Want) -> Want {
    if let Want::Pool { line_max, .. } = &mut want {
        line_max.get_or_insert(1);
    }
    want
}
