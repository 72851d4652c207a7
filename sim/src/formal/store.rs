//! The store of the model: what each operation does, after the store protocol of the architecture.
//! Which of several tickets is served first is left open ([`Order`]), so that no order of tags is
//! missed; health, patience, user gates and lines that are full are left out.

use super::config::{Config, LEASES, Without};
use super::state::{
    ACCOUNTS, Answer, Call, Entry, Fault, Mark, Mask, Op, Pass, Phase, Place, Reply, State, mask,
};

/// Which account is tried first, and which of two tickets has the lesser tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) accounts_down: bool,
    pub(super) leases_down: bool,
}

impl Order {
    fn accounts(self) -> impl Iterator<Item = u8> {
        let last = ACCOUNTS as u8 - 1;
        (0..=last).map(move |at| if self.accounts_down { last - at } else { at })
    }

    fn leases(self) -> impl Iterator<Item = usize> {
        (0..LEASES).map(move |at| if self.leases_down { LEASES - 1 - at } else { at })
    }
}

impl State {
    /// Applies an operation.
    pub(super) fn apply(&mut self, config: &Config, call: &Call, order: Order) -> Reply {
        let instance = usize::from(call.instance);
        if let Op::Join { replaces, resume } = call.op {
            return self.join(config, instance, replaces, resume, order);
        }
        if !self.alive(instance, call.node) {
            return Reply::Lost;
        }
        match call.op {
            Op::Enter { lease, want } => {
                let reply = self.enter(config, lease.into(), call.ask, want, order);
                self.settle(config, order);
                reply
            }
            Op::Leave { lease, fence } => {
                self.leave(config, lease.into(), fence);
                self.settle(config, order);
                Reply::Done
            }
            Op::Resync { as_of, listed, busy, last } => {
                self.list(config, call, listed);
                self.see(config, instance, as_of, &listed, busy);
                if last {
                    self.orphan(config, instance, as_of);
                }
                self.settle(config, order);
                Reply::Done
            }
            Op::Join { .. } => Reply::Lost,
        }
    }

    /// One entry of an ended session, tickets first.
    pub(super) fn reapable(&self, config: &Config, lease: usize) -> bool {
        let ended = |lease: usize| {
            self.store.entries[lease].place != Place::Nothing
                && !self.store.live[config.owner(lease)]
        };
        let ticket = |lease: usize| matches!(self.store.entries[lease].place, Place::Waiting(_));
        let tickets_left = (0..LEASES).any(|lease| ended(lease) && ticket(lease));
        ended(lease) && (ticket(lease) || !tickets_left || !config.has(Without::TicketsFirst))
    }

    pub(super) fn reap(&mut self, config: &Config, lease: usize, order: Order) {
        let member = &self.instances[config.owner(lease)];
        let entry = self.store.entries[lease];
        let attempt = Phase::Forwarded(match entry.place {
            Place::Held(account) => account,
            Place::Nothing | Place::Waiting(_) | Place::Granted(_) => u8::MAX,
        });
        if self.requests[lease].phase == attempt {
            if member.up && member.believes {
                self.blame(Fault::LiveClaimReaped);
            }
            self.unbacked |= 1 << lease;
        }
        self.store.entries[lease] = Entry::default();
        self.settle(config, order);
    }

    /// The claim window of a grant has gone by.
    pub(super) fn pass_on(&mut self, config: &Config, lease: usize, order: Order) {
        self.store.entries[lease] = Entry::default();
        self.passed |= 1 << lease;
        self.mark = Mark::PassedOn;
        self.settle(config, order);
    }

    fn join(
        &mut self,
        config: &Config,
        instance: usize,
        replaces: u8,
        resume: bool,
        order: Order,
    ) -> Reply {
        let current = self.store.current[instance];
        if current != 0 && current != replaces && config.has(Without::Replaces) {
            if replaces != 0 {
                self.mark = Mark::LateJoin;
            }
            return Reply::Taken(current);
        }
        let node = self.fresh_node(instance);
        for lease in config.leases_of(instance) {
            let entry = &mut self.store.entries[lease];
            if resume {
                if entry.place != Place::Nothing {
                    self.mark = Mark::Resumed;
                }
            } else {
                *entry = Entry::default();
            }
            // Tombstones are of the former node's names, which are answered `Lost` from now on.
            self.store.tombs &= !(1 << lease);
        }
        self.store.current[instance] = node;
        self.store.live[instance] = true;
        self.settle(config, order);
        Reply::Joined(node)
    }

    fn enter(&mut self, config: &Config, lease: usize, ask: u8, want: Mask, order: Order) -> Reply {
        if self.store.tombs & (1 << lease) != 0 {
            self.mark = Mark::TombstoneHit;
            return Reply::Left;
        }
        let known = self.store.entries[lease];
        if known.place != Place::Nothing && ask <= known.ask && config.has(Without::AskOrder) {
            self.mark = Mark::StaleAsk;
            return report(config, known.place);
        }
        self.passed &= !(1 << lease);
        self.store.entries[lease].ask = ask;
        if let Place::Granted(account) | Place::Held(account) = known.place {
            if want & (1 << account) != 0 {
                if known.place == Place::Granted(account) {
                    self.mark = Mark::Claimed;
                }
                self.store.entries[lease].place = Place::Held(account);
                return Reply::Held(account);
            }
            self.mark = Mark::GaveUp;
            self.store.entries[lease] = Entry { ask, ..Entry::default() };
        }
        let room = |account: &u8| {
            want & (1 << account) != 0
                && self.taken(*account) < config.limits[usize::from(*account)]
        };
        if let Some(account) = order.accounts().find(room) {
            self.store.entries[lease].place = Place::Held(account);
            self.granted(lease);
            return Reply::Held(account);
        }
        self.store.entries[lease].place = Place::Waiting(want);
        Reply::Waiting
    }

    fn leave(&mut self, config: &Config, lease: usize, fence: bool) {
        let bit = 1 << lease;
        self.store.entries[lease] = Entry::default();
        if fence && config.has(Without::Tombstones) {
            self.store.tombs |= bit;
        }
        if fence || !self.entering(lease) {
            self.ended |= bit;
        }
    }

    /// Enters what a resync lists.
    fn list(&mut self, config: &Config, call: &Call, listed: [Place; LEASES]) {
        for lease in config.leases_of(call.instance.into()) {
            let known = self.store.entries[lease];
            let fresh = known.place == Place::Nothing
                || known.ask < call.ask
                || !config.has(Without::AskOrderInResync);
            if self.store.tombs & (1 << lease) != 0 || !fresh {
                continue;
            }
            match listed[lease] {
                Place::Held(account) | Place::Granted(account) => {
                    self.enter_held(config, lease, account, call.ask);
                }
                Place::Waiting(want) => {
                    let entry = &mut self.store.entries[lease];
                    entry.ask = call.ask;
                    if let Place::Nothing | Place::Waiting(_) = entry.place {
                        entry.place = Place::Waiting(want);
                    }
                    self.passed &= !(1 << lease);
                }
                Place::Nothing => {}
            }
        }
    }

    /// Notes what a pass has seen; a newer pass takes the place of an older one.
    fn see(
        &mut self,
        config: &Config,
        instance: usize,
        as_of: u8,
        listed: &[Place; LEASES],
        busy: Mask,
    ) {
        let pass = &mut self.store.passes[instance];
        if as_of > pass.as_of || (as_of != pass.as_of && !config.has(Without::NewestPass)) {
            *pass = Pass { as_of, leases: 0 };
        }
        if as_of == pass.as_of {
            pass.leases |= busy | mask(listed);
        }
    }

    /// Leaves what the pass has not seen, at its end.
    fn orphan(&mut self, config: &Config, instance: usize, as_of: u8) {
        let pass = self.store.passes[instance];
        if as_of != pass.as_of {
            return;
        }
        for lease in config.leases_of(instance) {
            let entry = &mut self.store.entries[lease];
            let before = entry.ask <= as_of || !config.has(Without::AsOf);
            let seen = pass.leases & (1 << lease) != 0;
            if entry.place != Place::Nothing && before && !seen {
                *entry = Entry::default();
                self.mark = Mark::Orphan;
            }
        }
    }

    fn enter_held(&mut self, config: &Config, lease: usize, account: u8, ask: u8) {
        let known = self.store.entries[lease];
        let there = matches!(known.place, Place::Held(at) | Place::Granted(at) if at == account);
        self.store.entries[lease] = Entry::default();
        let full = self.taken(account) >= config.limits[usize::from(account)];
        let over = if there { known.over } else { full };
        self.store.entries[lease] = Entry { place: Place::Held(account), ask, over };
        if over {
            self.mark = Mark::Over;
        }
        if self.ended & (1 << lease) != 0 {
            self.blame(Fault::GrantAfterLeave);
        }
        self.unbacked &= !(1 << lease);
    }

    fn settle(&mut self, config: &Config, order: Order) {
        for account in order.accounts() {
            while self.taken(account) < config.limits[usize::from(account)] {
                let waits = |lease: &usize| match self.store.entries[*lease].place {
                    Place::Waiting(want) => want & (1 << account) != 0,
                    Place::Nothing | Place::Granted(_) | Place::Held(_) => false,
                };
                let Some(lease) = order.leases().find(waits) else { break };
                self.store.entries[lease].place = Place::Granted(account);
                self.granted(lease);
                if !config.has(Without::Claim) {
                    let reply = Reply::Hint { lease: lease as u8, account };
                    let instance = config.owner(lease) as u8;
                    self.answers.push(Answer { instance, ask: 0, reply });
                }
            }
        }
    }

    fn granted(&mut self, lease: usize) {
        if self.ended & (1 << lease) != 0 {
            self.blame(Fault::GrantAfterLeave);
        }
    }
}

/// What an ask that changes nothing is told.
fn report(config: &Config, place: Place) -> Reply {
    match place {
        Place::Held(account) => Reply::Held(account),
        Place::Granted(account) if !config.has(Without::StaleAskSeesNoGrant) => {
            Reply::Held(account)
        }
        Place::Nothing | Place::Waiting(_) | Place::Granted(_) => Reply::Waiting,
    }
}
