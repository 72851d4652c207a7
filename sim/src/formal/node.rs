//! The engine of the model: what a node sends, and what it makes of the answers. Only the rules that
//! bear on who holds which slot are here; the rest of a request's life is left out.

use super::config::{Config, LEASES, Without};
use super::state::{
    Answer, Call, Fault, Instance, Joining, Op, Pass, Phase, Place, Reply, Request, State, mask,
};

impl State {
    /// Whether one more message of this instance may be in flight.
    pub(super) fn may_send(&self, config: &Config, instance: usize) -> bool {
        self.flight(instance) < config.flight_max
    }

    /// Whether the node may ask for this lease now.
    pub(super) fn may_ask(&self, config: &Config, lease: usize) -> bool {
        let instance = config.owner(lease);
        let (member, request) = (&self.instances[instance], &self.requests[lease]);
        let wants = matches!(request.phase, Phase::Idle | Phase::Waiting);
        let open = request.open.iter().filter(|ask| **ask != 0).count();
        let listed = member.resync != 0 && member.listed & (1 << lease) != 0;
        let quiet = listed && config.has(Without::QuietDuringResync);
        wants
            && member.up
            && member.node != 0
            && open < config.open_max
            && !quiet
            && self.may_send(config, instance)
    }

    pub(super) fn ask(&mut self, config: &Config, lease: usize, want: u8) {
        let instance = config.owner(lease);
        let ask = self.fresh_ask(config, instance);
        let request = &mut self.requests[lease];
        request.phase = Phase::Waiting;
        request.newest = ask;
        request.want = want;
        *request.open.iter_mut().find(|open| **open == 0).expect("may_ask saw a free one") = ask;
        let want = config.wants[lease][usize::from(want)];
        self.send(instance, ask, Op::Enter { lease: lease as u8, want });
    }

    /// The attempt ended, or the client went away.
    pub(super) fn end(&mut self, config: &Config, lease: usize) {
        let instance = config.owner(lease);
        let member = self.instances[instance];
        if member.node == 0 {
            self.requests[lease] = Request { phase: Phase::Over, ..Request::default() };
            return;
        }
        let request = &self.requests[lease];
        let listed = member.resync != 0 && member.listed & (1 << lease) != 0;
        let fence = request.open != [0, 0]
            || request.unknown
            || (listed && config.has(Without::FenceForResync));
        let phase = Phase::Leaving { fence };
        // Nobody listens to its asks any more.
        let open = if config.has(Without::LateHeldDropped) { [0, 0] } else { request.open };
        self.requests[lease] = Request { phase, open, ..Request::default() };
        if self.may_send(config, instance) {
            self.send_leave(config, lease, fence);
        }
    }

    pub(super) fn send_leave(&mut self, config: &Config, lease: usize, fence: bool) {
        let instance = config.owner(lease);
        let ask = self.fresh_ask(config, instance);
        self.requests[lease].leave = ask;
        self.send(instance, ask, Op::Leave { lease: lease as u8, fence });
    }

    pub(super) fn send_join(&mut self, config: &Config, instance: usize, joining: Joining) {
        let ask = self.fresh_ask(config, instance);
        self.instances[instance].join = ask;
        let Joining { replaces, resume } = joining;
        self.send(instance, ask, Op::Join { replaces, resume });
    }

    /// The next call of the pass under way, or the first of a new one.
    pub(super) fn send_resync(&mut self, config: &Config, instance: usize) {
        let ask = self.fresh_ask(config, instance);
        let mut pass = self.instances[instance].pass;
        if pass.as_of == 0 {
            pass = Pass { as_of: ask, leases: 0 };
            for lease in config.leases_of(instance) {
                pass.leases |= 1 << lease;
            }
        }
        let (mut listed, mut busy) = ([Place::Nothing; LEASES], 0);
        for lease in config.leases_of(instance) {
            let full = config.split_passes && (busy != 0 || mask(&listed) != 0);
            if pass.leases & (1 << lease) == 0 || full {
                continue;
            }
            pass.leases &= !(1 << lease);
            if self.is_busy(config, lease) {
                busy |= u8::from(config.has(Without::Busy)) << lease;
            } else {
                listed[lease] = self.listing(config, lease);
            }
        }
        let member = &mut self.instances[instance];
        member.pass = pass;
        member.resync = ask;
        member.listed = mask(&listed);
        let last = pass.leases == 0;
        self.send(instance, ask, Op::Resync { as_of: pass.as_of, listed, busy, last });
    }

    /// Also with a `Leave` that is owed but not under way: it is left by that, not as an orphan.
    fn is_busy(&self, config: &Config, lease: usize) -> bool {
        let Request { phase, open, leave, .. } = self.requests[lease];
        let owed = matches!(phase, Phase::Leaving { .. }) && config.has(Without::OwedIsBusy);
        open != [0, 0] || leave != 0 || owed
    }

    fn listing(&self, config: &Config, lease: usize) -> Place {
        let request = &self.requests[lease];
        match request.phase {
            Phase::Idle | Phase::Over | Phase::Leaving { .. } => Place::Nothing,
            Phase::Waiting => Place::Waiting(config.wants[lease][usize::from(request.want)]),
            Phase::Held(account) | Phase::Forwarded(account) => Place::Held(account),
        }
    }

    /// A beat and its answer in one: a late answer gives belief only while the session lasts, which
    /// is what the belief window is for, and a late `Lost` is a later beat.
    pub(super) fn beat(&mut self, config: &Config, instance: usize) {
        if self.alive(instance, self.instances[instance].node) {
            self.believe(config, instance);
        } else {
            self.lose_session(config, instance);
        }
    }

    fn believe(&mut self, config: &Config, instance: usize) {
        self.instances[instance].believes = true;
        for lease in config.leases_of(instance) {
            if let Phase::Held(account) = self.requests[lease].phase {
                self.forward(lease, account);
            }
        }
    }

    fn forward(&mut self, lease: usize, account: u8) {
        let bit = 1 << lease;
        let request = &mut self.requests[lease];
        let alive = matches!(request.phase, Phase::Waiting | Phase::Held(_));
        if !alive || self.ended & bit != 0 {
            self.faults |= Fault::ForwardAfterEnd as u8;
        }
        self.unbacked &= !bit;
        request.phase = Phase::Forwarded(account);
        request.newest = 0;
    }

    /// The node hears that its session is gone: what it sent will never count again, what runs goes
    /// on, what waits will ask again.
    fn lose_session(&mut self, config: &Config, instance: usize) {
        let replaces = self.instances[instance].node;
        let joining = Some(Joining { replaces, resume: true });
        self.instances[instance] = Instance { up: true, joining, ..Instance::default() };
        for lease in config.leases_of(instance) {
            let Request { phase, want, .. } = self.requests[lease];
            let phase = match phase {
                Phase::Held(_) if config.has(Without::AskAgainAfterLost) => Phase::Waiting,
                Phase::Leaving { .. } => Phase::Over,
                Phase::Idle
                | Phase::Waiting
                | Phase::Held(_)
                | Phase::Forwarded(_)
                | Phase::Over => phase,
            };
            self.requests[lease] = Request { phase, want, ..Request::default() };
        }
    }

    /// The call has had no answer in time. The operation may have been applied, or may yet be.
    pub(super) fn give_up(&mut self, config: &Config, instance: usize, ask: u8) {
        let member = &mut self.instances[instance];
        if member.join == ask {
            member.join = 0;
        } else if member.resync == ask {
            member.resync = 0;
            member.due = true;
            if member.pass.leases == 0 || config.has(Without::PassBegunAnew) {
                member.pass = Pass::default();
            }
            for lease in config.leases_of(instance) {
                let alive = matches!(
                    self.requests[lease].phase,
                    Phase::Waiting | Phase::Held(_) | Phase::Forwarded(_)
                );
                if alive && member.listed & (1 << lease) != 0 {
                    self.requests[lease].unknown |= config.has(Without::FenceForResync);
                }
            }
            member.listed = 0;
        } else {
            for lease in config.leases_of(instance) {
                let request = &mut self.requests[lease];
                if request.leave == ask {
                    request.leave = 0;
                }
                if close(request, ask) {
                    request.unknown = true;
                }
            }
        }
    }

    /// Takes in an answer. The caller has made sure that somebody listens.
    pub(super) fn answered(&mut self, config: &Config, answer: &Answer) {
        let instance = usize::from(answer.instance);
        if let Reply::Hint { lease, account } = answer.reply {
            if self.instances[instance].believes {
                self.forward(lease.into(), account);
            }
            return;
        }
        let member = &self.instances[instance];
        if member.join == answer.ask {
            self.join_answered(config, instance, answer.reply);
        } else if answer.reply == Reply::Lost {
            self.lose_session(config, instance);
        } else if member.resync == answer.ask {
            let member = &mut self.instances[instance];
            member.resync = 0;
            member.listed = 0;
            if member.pass.leases == 0 {
                member.pass = Pass::default();
                member.due = false;
            }
        } else {
            self.lease_answered(config, instance, answer);
        }
    }

    fn join_answered(&mut self, config: &Config, instance: usize, reply: Reply) {
        let live = |node| self.alive(instance, node) || !config.has(Without::Belief);
        match reply {
            Reply::Joined(node) => {
                let joining = self.instances[instance].joining.expect("it sent a join");
                let running = config
                    .leases_of(instance)
                    .any(|lease| matches!(self.requests[lease].phase, Phase::Forwarded(_)));
                let due = joining.resume && (running || config.has(Without::ResyncAfterResume));
                let believes = live(node);
                let up = true;
                self.instances[instance] =
                    Instance { up, node, believes, due, ..Instance::default() };
                if believes {
                    self.believe(config, instance);
                }
            }
            Reply::Taken(node) => {
                let member = &mut self.instances[instance];
                member.join = 0;
                member.joining.as_mut().expect("it sent a join").replaces = node;
            }
            Reply::Held(_)
            | Reply::Waiting
            | Reply::Left
            | Reply::Done
            | Reply::Lost
            | Reply::Hint { .. } => unreachable!("no answer to a join"),
        }
    }

    fn lease_answered(&mut self, config: &Config, instance: usize, answer: &Answer) {
        for lease in config.leases_of(instance) {
            let request = &mut self.requests[lease];
            if request.leave == answer.ask {
                *request = Request { phase: Phase::Over, ..Request::default() };
                return;
            }
            if !close(request, answer.ask) {
                continue;
            }
            let newest = request.newest == answer.ask || !config.has(Without::NewestAsk);
            let ended = matches!(request.phase, Phase::Leaving { .. });
            if (!newest || request.phase != Phase::Waiting) && !ended {
                return;
            }
            match answer.reply {
                Reply::Held(account) if self.instances[instance].believes => {
                    self.forward(lease, account);
                }
                Reply::Held(account) => {
                    request.phase = Phase::Held(account);
                    request.newest = 0;
                }
                Reply::Waiting
                | Reply::Left
                | Reply::Done
                | Reply::Lost
                | Reply::Joined(_)
                | Reply::Taken(_)
                | Reply::Hint { .. } => {}
            }
            return;
        }
    }

    fn send(&mut self, instance: usize, ask: u8, op: Op) {
        let node = self.instances[instance].node;
        self.calls.push(Call { instance: instance as u8, node, ask, op });
    }
}

/// Takes a call out of those without an answer.
fn close(request: &mut Request, ask: u8) -> bool {
    let open = request.open.iter_mut().find(|open| **open == ask);
    open.map(|open| *open = 0).is_some()
}
