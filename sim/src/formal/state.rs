//! What the model knows at one moment: the store, two instances with their requests, and the
//! messages between them. Everything is small and `Copy`-like, because millions of these are kept;
//! [`State::canonical`] gives states that behave alike one form, which is what makes them finite.

use std::fmt;
use std::hash::{Hash, Hasher};

use arrayvec::ArrayVec;

use super::config::{Config, LEASES};

/// Processes that run an engine; each is one node after another.
pub(super) const INSTANCES: usize = 2;
/// Accounts.
pub(super) const ACCOUNTS: usize = 2;
/// Room for calls and for answers in flight; the configured bounds stay below.
pub(super) const FLIGHT: usize = 10;

/// A set of accounts or of leases, one bit each.
pub(super) type Mask = u8;

/// Where a lease is, in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// Nowhere.
    #[default]
    Nothing,
    /// A ticket that may use these accounts.
    Waiting(Mask),
    /// A slot handed to the ticket, not claimed yet.
    Granted(u8),
    /// A claimed slot.
    Held(u8),
}

/// What the store has of one lease. Its node is the current one of the request's instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// The highest ask applied.
    pub(super) ask: u8,
    /// Entered by a resync beyond the limit: the declared excess.
    pub(super) over: bool,
}

/// The store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Store {
    /// Each instance's current node, 0 for none.
    pub(super) current: [u8; INSTANCES],
    /// Whether that node's session lasts.
    pub(super) live: [bool; INSTANCES],
    pub(super) entries: [Entry; LEASES],
    pub(super) tombs: Mask,
    /// Each instance's newest resync pass.
    pub(super) passes: [Pass; INSTANCES],
}

/// One run of resync calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pass {
    /// The call number it began with, 0 for none.
    pub(super) as_of: u8,
    /// At the store the leases it has seen, at the node those it has yet to list.
    pub(super) leases: Mask,
}

/// How far a request is, for its engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Not arrived.
    #[default]
    Idle,
    /// Wants a slot.
    Waiting,
    /// Has a slot, but its node does not believe its session now.
    Held(u8),
    /// An attempt runs on this account.
    Forwarded(u8),
    /// Over for the client; its `Leave` is owed.
    Leaving { fence: bool },
    /// Nothing is left of it.
    Over,
}

/// A request as its engine knows it: one lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) phase: Phase,
    /// The newest ask, 0 for none under the present node.
    pub(super) newest: u8,
    /// `Enter`s that have no answer, 0 where free.
    pub(super) open: [u8; 2],
    /// The `Leave` that has no answer, 0 for none.
    pub(super) leave: u8,
    /// An `Enter`, or a `Resync` listing it, was answered `Unknown`.
    pub(super) unknown: bool,
    /// Which of its wants the roster gives it now.
    pub(super) want: u8,
}

/// A process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    pub(super) up: bool,
    /// The node it is, 0 while it joins.
    pub(super) node: u8,
    pub(super) believes: bool,
    pub(super) joining: Option<Joining>,
    /// The `Join` that has no answer, 0 for none.
    pub(super) join: u8,
    /// The pass under way.
    pub(super) pass: Pass,
    /// Its call that has no answer, 0 for none, and the leases that call lists.
    pub(super) resync: u8,
    pub(super) listed: Mask,
    /// A resync has to be sent.
    pub(super) due: bool,
}

/// What a joining process asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Joining {
    pub(super) replaces: u8,
    pub(super) resume: bool,
}

/// A store operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Op {
    Enter { lease: u8, want: Mask },
    Leave { lease: u8, fence: bool },
    Resync { as_of: u8, listed: [Place; LEASES], busy: Mask, last: bool },
    Join { replaces: u8, resume: bool },
}

/// An operation on its way to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Call {
    pub(super) instance: u8,
    /// In whose name: 0 for a `Join`.
    pub(super) node: u8,
    /// The call number.
    pub(super) ask: u8,
    pub(super) op: Op,
}

/// What the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reply {
    Held(u8),
    Waiting,
    Left,
    Done,
    Lost,
    Joined(u8),
    Taken(u8),
    /// Not an answer but the pushed hint; sent only where a rule about it is removed.
    Hint {
        lease: u8,
        account: u8,
    },
}

/// A reply on its way to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Answer {
    pub(super) instance: u8,
    pub(super) ask: u8,
    pub(super) reply: Reply,
}

/// What may still go wrong; 255 means without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Messages delivered once more than sent.
    pub duplicates: u8,
    /// Calls answered `Unknown`: operation lost, late, or its reply lost.
    pub unknowns: u8,
    /// Processes killed.
    pub crashes: u8,
    /// Sessions ended by the store.
    pub ends: u8,
    /// Resyncs sent without need.
    pub audits: u8,
    /// Grants not claimed in time.
    pub passes: u8,
}

/// A broken promise that only the step itself shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    GrantAfterLeave = 1,
    ForwardAfterEnd = 2,
    LiveClaimReaped = 4,
}

/// What the last step did, where that is worth showing as reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    #[default]
    None,
    PassedOn,
    Claimed,
    TombstoneHit,
    StaleAsk,
    Resumed,
    Orphan,
    LateJoin,
    Over,
    GaveUp,
}

/// One moment. `mark` tells how it was reached and is no part of its identity.
#[derive(Clone, Debug, Default, Eq)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) instances: [Instance; INSTANCES],
    pub(super) requests: [Request; LEASES],
    pub(super) calls: ArrayVec<Call, FLIGHT>,
    pub(super) answers: ArrayVec<Answer, FLIGHT>,
    pub(super) left: Budget,
    /// Leases whose `Leave` is applied for good.
    pub(super) ended: Mask,
    /// Waiting leases whose grant passed on since their last ask was applied.
    pub(super) passed: Mask,
    /// Attempts whose lease was reaped under them, their session having ended.
    pub(super) unbacked: Mask,
    /// [`Fault`]s so far.
    pub(super) faults: u8,
    pub(super) mark: Mark,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.identity().hash(hasher);
    }
}

type Identity<'a> = (
    &'a Store,
    &'a [Instance; INSTANCES],
    &'a [Request; LEASES],
    &'a [Call],
    &'a [Answer],
    &'a Budget,
    [Mask; 4],
);

impl State {
    /// Both instances joined, nothing arrived.
    pub(super) fn first(config: &Config) -> Self {
        let member = Instance { up: true, node: 1, believes: true, ..Instance::default() };
        let store = Store { current: [1; INSTANCES], live: [true; INSTANCES], ..Store::default() };
        Self { store, instances: [member; INSTANCES], left: config.budget, ..Self::default() }
    }

    fn identity(&self) -> Identity<'_> {
        (
            &self.store,
            &self.instances,
            &self.requests,
            &self.calls,
            &self.answers,
            &self.left,
            [self.ended, self.passed, self.unbacked, self.faults],
        )
    }

    /// Whether a node has a live session.
    pub(super) fn alive(&self, instance: usize, node: u8) -> bool {
        node != 0 && self.store.current[instance] == node && self.store.live[instance]
    }

    /// Leases that hold or are granted a slot of this account.
    pub(super) fn taken(&self, account: u8) -> usize {
        let there = |entry: &&Entry| match entry.place {
            Place::Granted(at) | Place::Held(at) => at == account,
            Place::Nothing | Place::Waiting(_) => false,
        };
        self.store.entries.iter().filter(there).count()
    }

    /// Whether anybody waits for the answer to this call.
    pub(super) fn listens(&self, config: &Config, instance: usize, ask: u8) -> bool {
        let member = &self.instances[instance];
        member.join == ask
            || member.resync == ask
            || config.leases_of(instance).any(|lease| {
                let request = &self.requests[lease];
                request.leave == ask || request.open.contains(&ask)
            })
    }

    /// The next call number of an instance: above all that is left of its earlier ones.
    pub(super) fn fresh_ask(&mut self, config: &Config, instance: usize) -> u8 {
        above(self.asks(config, instance))
    }

    /// A node that was never there: above all that is left of the instance's earlier ones.
    pub(super) fn fresh_node(&mut self, instance: usize) -> u8 {
        above(self.nodes(instance))
    }

    /// Messages of an instance in flight.
    pub(super) fn flight(&self, instance: usize) -> usize {
        self.calls.iter().filter(|call| usize::from(call.instance) == instance).count()
            + self.answers.iter().filter(|answer| usize::from(answer.instance) == instance).count()
    }

    /// An `Enter` of the lease, or a `Resync` listing it, that the store may still take.
    pub(super) fn entering(&self, lease: usize) -> bool {
        self.calls.iter().any(|call| match call.op {
            Op::Enter { lease: of, .. } => usize::from(of) == lease,
            Op::Resync { listed, .. } => listed[lease] != Place::Nothing,
            Op::Leave { .. } | Op::Join { .. } => false,
        })
    }

    pub(super) fn blame(&mut self, fault: Fault) {
        self.faults |= fault as u8;
    }

    /// The same moment in its one form: without what can have no effect any more, numbers closed up,
    /// messages sorted. Numbers are only ever compared, and new ones are above all others.
    pub(super) fn canonical(mut self, config: &Config) -> Self {
        self.drop_dead_messages(config);
        self.drop_spent_marks();
        self.drop_spent_passes();
        for instance in 0..INSTANCES {
            let asks = self.asks(config, instance);
            self.each_ask(config, instance, &mut |ask| *ask = rank(asks, *ask));
            let nodes = self.nodes(instance);
            self.each_node(instance, &mut |node| *node = rank(nodes, *node));
        }
        self.requests.iter_mut().for_each(|request| request.open.sort_unstable());
        self.calls.sort_unstable();
        self.answers.sort_unstable();
        self
    }

    fn drop_dead_messages(&mut self, config: &Config) {
        let mut answers = core::mem::take(&mut self.answers);
        answers.retain(|answer| match answer.reply {
            Reply::Hint { lease, .. } => {
                matches!(self.requests[usize::from(lease)].phase, Phase::Waiting)
            }
            Reply::Held(_)
            | Reply::Waiting
            | Reply::Left
            | Reply::Done
            | Reply::Lost
            | Reply::Joined(_)
            | Reply::Taken(_) => self.listens(config, answer.instance.into(), answer.ask),
        });
        self.answers = answers;
        let mut calls = core::mem::take(&mut self.calls);
        calls.retain(|call| match call.op {
            Op::Join { .. } => true,
            Op::Enter { .. } | Op::Leave { .. } | Op::Resync { .. } => {
                self.alive(call.instance.into(), call.node)
                    || self.listens(config, call.instance.into(), call.ask)
            }
        });
        self.calls = calls;
    }

    fn drop_spent_marks(&mut self) {
        for lease in 0..LEASES {
            let bit = 1 << lease;
            let nothing = self.store.entries[lease].place == Place::Nothing;
            if nothing {
                self.store.entries[lease] = Entry::default();
            }
            if !self.entering(lease) {
                self.store.tombs &= !bit;
                if nothing {
                    self.ended &= !bit;
                }
            }
            match self.requests[lease].phase {
                Phase::Forwarded(_) => self.passed &= !bit,
                Phase::Waiting | Phase::Held(_) => self.unbacked &= !bit,
                Phase::Idle | Phase::Leaving { .. } | Phase::Over => {
                    self.passed &= !bit;
                    self.unbacked &= !bit;
                }
            }
        }
    }

    /// A pass is remembered for its later calls; those of the next one are newer than all.
    fn drop_spent_passes(&mut self) {
        for instance in 0..INSTANCES {
            let coming = self.calls.iter().any(|call| {
                usize::from(call.instance) == instance && matches!(call.op, Op::Resync { .. })
            });
            if !coming && self.instances[instance].pass.as_of == 0 {
                self.store.passes[instance] = Pass::default();
            }
        }
    }

    fn asks(&mut self, config: &Config, instance: usize) -> u32 {
        let mut seen = 1_u32;
        self.each_ask(config, instance, &mut |ask| seen |= 1 << *ask);
        seen
    }

    fn each_ask(&mut self, config: &Config, instance: usize, visit: &mut impl FnMut(&mut u8)) {
        visit(&mut self.store.passes[instance].as_of);
        let member = &mut self.instances[instance];
        visit(&mut member.join);
        visit(&mut member.resync);
        visit(&mut member.pass.as_of);
        for lease in config.leases_of(instance) {
            let request = &mut self.requests[lease];
            visit(&mut request.newest);
            visit(&mut request.leave);
            request.open.iter_mut().for_each(&mut *visit);
            visit(&mut self.store.entries[lease].ask);
        }
        let own = |of: u8| usize::from(of) == instance;
        for call in self.calls.iter_mut().filter(|call| own(call.instance)) {
            visit(&mut call.ask);
            if let Op::Resync { as_of, .. } = &mut call.op {
                visit(as_of);
            }
        }
        for answer in self.answers.iter_mut().filter(|answer| own(answer.instance)) {
            visit(&mut answer.ask);
        }
    }

    fn nodes(&mut self, instance: usize) -> u32 {
        let mut seen = 1_u32;
        self.each_node(instance, &mut |node| seen |= 1 << *node);
        seen
    }

    fn each_node(&mut self, instance: usize, visit: &mut impl FnMut(&mut u8)) {
        visit(&mut self.store.current[instance]);
        let member = &mut self.instances[instance];
        visit(&mut member.node);
        if let Some(joining) = &mut member.joining {
            visit(&mut joining.replaces);
        }
        let own = |of: u8| usize::from(of) == instance;
        for call in self.calls.iter_mut().filter(|call| own(call.instance)) {
            visit(&mut call.node);
            if let Op::Join { replaces, .. } = &mut call.op {
                visit(replaces);
            }
        }
        for answer in self.answers.iter_mut().filter(|answer| own(answer.instance)) {
            if let Reply::Joined(node) | Reply::Taken(node) = &mut answer.reply {
                visit(node);
            }
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for instance in 0..INSTANCES {
            let (member, current) = (&self.instances[instance], self.store.current[instance]);
            let session = if self.store.live[instance] { "live" } else { "ended" };
            let belief = match (member.up, member.believes) {
                (false, _) => "down",
                (true, true) => "believes",
                (true, false) => "doubts",
            };
            write!(f, "i{instance}: n{} {belief}, store n{current} {session}; ", member.node)?;
        }
        for lease in 0..LEASES {
            let (request, entry) = (&self.requests[lease], &self.store.entries[lease]);
            if request.phase != Phase::Idle || entry.place != Place::Nothing {
                write!(
                    f,
                    "r{lease}: {:?}, store {:?} #{}; ",
                    request.phase, entry.place, entry.ask
                )?;
            }
        }
        write!(f, "in flight: {}", self.calls.len() + self.answers.len())
    }
}

/// The leases that have a place in this list.
pub(super) fn mask(listed: &[Place; LEASES]) -> Mask {
    let there = |lease: &usize| listed[*lease] != Place::Nothing;
    (0..LEASES).filter(there).fold(0, |leases, lease| leases | (1 << lease))
}

/// The number after the greatest one seen.
fn above(seen: u32) -> u8 {
    let number = u32::BITS - seen.leading_zeros();
    assert!(number < u32::BITS, "more numbers alive at once than the bounds allow");
    number as u8
}

/// How many of the numbers seen are below this one.
const fn rank(seen: u32, number: u8) -> u8 {
    (seen & ((1 << number) - 1)).count_ones() as u8
}
