//! Who runs, who waits and who is turned away in a world without faults under the `fair` preset,
//! where stores and billing answer at once: predicted exactly, account by account.
//!
//! A request is forwarded at once if its user has room and an open account of its pool has; else it
//! waits in line. A freed slot goes to the first in line that can use it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;
use sluice_engine::store::Limit;
use sluice_engine::{Outcome, Preset};

use super::shape::{AccountPlan, Faults, Knobs, Shape, limit};
use super::step::{Change, change};

/// Milliseconds.
type Ms = u64;

const PATIENCE: Ms = 30_000;
const WAIT_TOTAL: Ms = 90_000;
const USER_LINE: usize = 20;
const SERVER_ERRORS: u16 = 2;
const SWITCHES: u16 = 10;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Upstream(Outcome),
    UserLineFull,
    UserWaitTimeout,
    UserClosed,
    NoAccounts,
    AllShut,
    AccountWaitTimeout,
    Abandoned,
}

/// Where a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    UserLine {
        since: Ms,
    },
    AccountLine {
        since: Ms,
    },
    Running {
        account: usize,
        started: bool,
    },
    /// In one of these ways; the design leaves open which, where there are several.
    Done(Vec<End>),
}

/// One request; its index is its number.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) host: u8,
    pub(crate) user: usize,
    pub(crate) pool: usize,
    pub(crate) stage: Stage,
    pub(crate) attempts: u16,
    tried: Vec<usize>,
    /// Its place in the lines of accounts, once it asked there.
    tag: Option<u64>,
    waited: Ms,
    server_errors: u16,
    last: Option<Outcome>,
}

/// What a step comes to: what is to be done to the real thing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Nothing,
    Arrive { request: usize },
    Abandon { request: usize },
    Started { request: usize },
    End { request: usize, outcome: Outcome },
    Change(Change),
}

/// One thing that happens, a millisecond after the one before.
#[derive(Clone, Debug)]
pub(crate) enum Calm {
    Arrive { host: u8, user: u8, pool: u8 },
    Abandon { nth: u8 },
    Started { nth: u8 },
    End { nth: u8, outcome: Outcome },
    Advance { ms: Ms },
    Change(Change),
}

/// The prediction.
#[derive(Clone, Debug)]
pub(crate) struct Quiet {
    pub(crate) shape: Shape,
    pub(crate) now: Ms,
    pub(crate) deed: Deed,
    pub(crate) requests: Vec<Request>,
    users: Vec<Limit>,
    accounts: Vec<Limit>,
    pools: Vec<Vec<usize>>,
    /// The stamp of each account's last assignment, 0 for never.
    assigned: Vec<u64>,
    stamp: u64,
    tags: u64,
}

impl ReferenceStateMachine for Quiet {
    type State = Self;
    type Transition = Calm;

    fn init_state() -> BoxedStrategy<Self> {
        shape().prop_map(Self::new).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Calm> {
        let nth = || 0u8..32;
        let outcome = prop_oneof![
            6 => Just(Outcome::Completed),
            1 => Just(Outcome::ClientError { status: 400 }),
            2 => Just(Outcome::ServerError { status: 500 }),
            1 => Just(Outcome::Unreachable),
        ];
        let advance = prop_oneof![4 => 0..2_000u64, 1 => 2_000..31_000u64, 1 => Just(29_990)];
        let two = u8::try_from(state.shape.engines).expect("one or two");
        prop_oneof![
            10 => (0..two, 0u8..3, 0u8..2)
                .prop_map(|(host, user, pool)| Calm::Arrive { host, user, pool }),
            2 => nth().prop_map(|nth| Calm::Abandon { nth }),
            1 => nth().prop_map(|nth| Calm::Started { nth }),
            6 => (nth(), outcome).prop_map(|(nth, outcome)| Calm::End { nth, outcome }),
            2 => advance.prop_map(|ms| Calm::Advance { ms }),
            1 => change().prop_map(Calm::Change),
        ]
        .boxed()
    }

    fn apply(mut state: Self, calm: &Calm) -> Self {
        state.deed = Deed::Nothing;
        state.advance(if let Calm::Advance { ms } = calm { *ms } else { 1 });
        match *calm {
            Calm::Arrive { host, user, pool } => state.arrive(host, user, pool),
            Calm::Abandon { nth } => state.abandon(nth),
            Calm::Started { nth } => state.started(nth),
            Calm::End { nth, outcome } => state.end(nth, outcome),
            Calm::Advance { .. } => {}
            Calm::Change(change) => state.change(change),
        }
        state
    }
}

/// Plain worlds: no fault, no session, every knob as the preset has it.
fn shape() -> BoxedStrategy<Shape> {
    let plan = || (limit(), 0u32..=1);
    (vec(limit(), 1..=3), vec(plan(), 1..=4), vec(any::<u8>(), 1..=2), 1..=2usize)
        .prop_map(|(users, plans, pools, engines)| {
            let account = |(limit, priority)| AccountPlan { limit, priority, intercept: false };
            let accounts: Vec<_> = plans.into_iter().map(account).collect();
            let members = |bits: u8| (0..accounts.len()).filter(move |n| bits >> n & 1 == 1);
            let pools = pools.into_iter().map(|bits| members(bits).collect()).collect();
            Shape {
                preset: Preset::Fair,
                engines,
                users,
                accounts,
                pools,
                knobs: KNOBS,
                faults: NONE,
                prompt: true,
            }
        })
        .boxed()
}

pub(crate) const KNOBS: Knobs = Knobs {
    abort: false,
    user_line: None,
    pool_line: None,
    requests_max: None,
    failures_to_eject: 1_000_000,
};

pub(crate) const NONE: Faults = Faults {
    lose: 0,
    refuse: 0,
    late: 0,
    twice: 0,
    crash: 0,
    freeze: 0,
    roster: 0,
    failures: 0,
    abandon: 0,
};

impl Quiet {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            now: 0,
            deed: Deed::Nothing,
            requests: Vec::new(),
            users: shape.users.clone(),
            accounts: shape.accounts.iter().map(|account| account.limit).collect(),
            pools: shape.pools.clone(),
            assigned: vec![0; shape.accounts.len()],
            stamp: 0,
            tags: 0,
            shape,
        }
    }

    fn where_is(&self, is: impl Fn(&Request) -> bool) -> Vec<usize> {
        (0..self.requests.len()).filter(|n| is(&self.requests[*n])).collect()
    }

    fn pick(&self, nth: u8, is: impl Fn(&Request) -> bool) -> Option<usize> {
        let found = self.where_is(is);
        (!found.is_empty()).then(|| found[usize::from(nth) % found.len()])
    }

    fn user_has_room(&self, user: usize) -> bool {
        let holds = |r: &Request| {
            matches!(r.stage, Stage::AccountLine { .. } | Stage::Running { .. }) && r.user == user
        };
        self.users[user].has_room(count(&self.where_is(holds)))
    }

    fn on(&self, account: usize) -> u32 {
        let runs =
            |r: &Request| matches!(r.stage, Stage::Running { account: on, .. } if on == account);
        count(&self.where_is(runs))
    }

    /// Whether a slot of this account is of use to this request.
    fn fits(&self, request: usize, account: usize) -> bool {
        let r = &self.requests[request];
        self.pools[r.pool].contains(&account)
            && !r.tried.contains(&account)
            && self.accounts[account] != Limit::Closed
    }

    fn arrive(&mut self, host: u8, user: u8, pool: u8) {
        let request = self.requests.len();
        let user = usize::from(user) % self.users.len();
        let pool = usize::from(pool) % self.pools.len();
        let since = self.now;
        self.requests.push(Request {
            host,
            user,
            pool,
            stage: Stage::UserLine { since },
            attempts: 0,
            tried: Vec::new(),
            tag: None,
            waited: 0,
            server_errors: 0,
            last: None,
        });
        self.deed = Deed::Arrive { request };
        let waiting = |r: &Request| matches!(r.stage, Stage::UserLine { .. }) && r.user == user;
        if self.users[user] == Limit::Closed {
            self.done(request, &[End::UserClosed]);
        } else if !self.user_has_room(user) && self.where_is(waiting).len() > USER_LINE {
            self.done(request, &[End::UserLineFull]);
        } else {
            self.settle_user(user);
        }
    }

    fn done(&mut self, request: usize, ways: &[End]) {
        self.requests[request].stage = Stage::Done(ways.to_vec());
    }

    /// The first in the user's line go on while there is room.
    fn settle_user(&mut self, user: usize) {
        while self.user_has_room(user) {
            let waiting = |r: &Request| matches!(r.stage, Stage::UserLine { .. }) && r.user == user;
            let Some(&first) = self.where_is(waiting).first() else { return };
            if let Stage::UserLine { since } = self.requests[first].stage {
                self.requests[first].waited += self.now - since;
            }
            self.select(first);
        }
    }

    /// Somewhere with room, else in line, else turned away.
    fn select(&mut self, request: usize) {
        let r = &self.requests[request];
        let left = self.pools[r.pool].iter().filter(|a| !r.tried.contains(a)).count();
        let all = 0..self.accounts.len();
        let usable: Vec<usize> = all.filter(|a| self.fits(request, *a)).collect();
        if usable.is_empty() {
            let ways = match (r.last, left) {
                (None, 0) => vec![End::NoAccounts],
                (None, _) => vec![End::AllShut],
                (Some(last), 0) => vec![End::Upstream(last)],
                (Some(last), _) => vec![End::Upstream(last), End::AllShut],
            };
            return self.done(request, &ways);
        }
        self.tags += 1;
        let tag = self.tags;
        self.requests[request].tag.get_or_insert(tag);
        let rank = |account: &usize| {
            let load = self.accounts[*account].load_pct(self.on(*account), 0);
            (self.shape.accounts[*account].priority, load, self.assigned[*account], *account)
        };
        let free = |account: &usize| self.accounts[*account].has_room(self.on(*account));
        match usable.iter().copied().filter(free).min_by_key(rank) {
            Some(account) => self.run(request, account),
            None => self.requests[request].stage = Stage::AccountLine { since: self.now },
        }
    }

    fn run(&mut self, request: usize, account: usize) {
        let now = self.now;
        self.stamp += 1;
        self.assigned[account] = self.stamp;
        let r = &mut self.requests[request];
        if let Stage::AccountLine { since } = r.stage {
            r.waited += now - since;
        }
        r.stage = Stage::Running { account, started: false };
        r.attempts += 1;
        r.tried.push(account);
    }

    /// Free slots of this account go to the first in line that can use them.
    fn settle(&mut self, account: usize) {
        while self.accounts[account].has_room(self.on(account)) {
            let waits = |n: &usize| matches!(self.requests[*n].stage, Stage::AccountLine { .. });
            let could = (0..self.requests.len()).filter(waits).filter(|n| self.fits(*n, account));
            let Some(first) = could.min_by_key(|n| self.requests[*n].tag) else { return };
            self.run(first, account);
        }
    }

    fn abandon(&mut self, nth: u8) {
        let Some(request) = self.pick(nth, |r| !matches!(r.stage, Stage::Done(_))) else { return };
        self.deed = Deed::Abandon { request };
        self.finish(request, &[End::Abandoned]);
    }

    /// Its slots are freed: the account's first.
    fn finish(&mut self, request: usize, ways: &[End]) {
        let stage = self.requests[request].stage.clone();
        self.done(request, ways);
        if let Stage::Running { account, .. } = stage {
            self.settle(account);
        }
        self.settle_user(self.requests[request].user);
    }

    fn started(&mut self, nth: u8) {
        let fresh = |r: &Request| matches!(r.stage, Stage::Running { started: false, .. });
        let Some(request) = self.pick(nth, fresh) else { return };
        self.deed = Deed::Started { request };
        if let Stage::Running { started, .. } = &mut self.requests[request].stage {
            *started = true;
        }
    }

    fn end(&mut self, nth: u8, outcome: Outcome) {
        let Some(request) = self.pick(nth, |r| matches!(r.stage, Stage::Running { .. })) else {
            return;
        };
        let Stage::Running { account, started } = self.requests[request].stage else { return };
        let broken = started && outcome == Outcome::Unreachable;
        let outcome = if broken { Outcome::Truncated } else { outcome };
        self.deed = Deed::End { request, outcome };
        let r = &mut self.requests[request];
        let server_error = matches!(outcome, Outcome::ServerError { .. });
        let retriable = server_error || outcome == Outcome::Unreachable;
        let within = r.attempts <= SWITCHES && !(server_error && r.server_errors == SERVER_ERRORS);
        r.server_errors += u16::from(server_error);
        r.last = Some(outcome);
        if started || !retriable || !within {
            return self.finish(request, &[End::Upstream(outcome)]);
        }
        // It keeps the user's slot, and is behind nobody but those whom the freed slot serves.
        r.stage = Stage::AccountLine { since: self.now };
        self.settle(account);
        self.select(request);
        if let Stage::Done(_) = self.requests[request].stage {
            self.settle_user(self.requests[request].user);
        }
    }

    fn deadline(&self, request: usize) -> Option<Ms> {
        let r = &self.requests[request];
        match r.stage {
            Stage::UserLine { since } => Some(since + PATIENCE),
            Stage::AccountLine { since } => {
                Some(since + PATIENCE.min(WAIT_TOTAL.saturating_sub(r.waited)))
            }
            Stage::Running { .. } | Stage::Done(_) => None,
        }
    }

    fn advance(&mut self, ms: Ms) {
        let until = self.now + ms;
        while let Some(at) = (0..self.requests.len()).filter_map(|n| self.deadline(n)).min() {
            if at > until {
                break;
            }
            self.now = at;
            let over = (0..self.requests.len()).filter(|n| self.deadline(*n) == Some(at));
            let over: Vec<usize> = over.collect();
            for &request in &over {
                let r = &self.requests[request];
                let in_line = matches!(r.stage, Stage::UserLine { .. });
                let way = if in_line { End::UserWaitTimeout } else { End::AccountWaitTimeout };
                self.done(request, &[r.last.map_or(way, End::Upstream)]);
            }
            for request in over {
                self.settle_user(self.requests[request].user);
            }
        }
        self.now = until;
    }

    /// Changes whose order of consequences the design leaves open are not made: a user's limit with
    /// two engines or that admits several at once, and the last open account of a pool while
    /// somebody waits for a user's slot.
    fn change(&mut self, change: Change) {
        let waiting = !self.where_is(|r| matches!(r.stage, Stage::UserLine { .. })).is_empty();
        match change {
            Change::UserLimit { user, limit } if self.shape.engines == 1 => {
                let user = usize::from(user) % self.users.len();
                if self.would_admit(user, limit) > 1 {
                    return;
                }
                self.users[user] = limit;
                if limit == Limit::Closed {
                    let in_line =
                        |r: &Request| matches!(r.stage, Stage::UserLine { .. }) && r.user == user;
                    for request in self.where_is(in_line) {
                        self.done(request, &[End::UserClosed]);
                    }
                }
                self.deed = Deed::Change(change);
                self.settle_user(user);
            }
            Change::UserLimit { .. } => {}
            Change::AccountLimit { account, limit } => {
                if limit != Limit::Closed || !waiting {
                    self.accounts[usize::from(account) % self.shape.accounts.len()] = limit;
                    self.reloaded(change);
                }
            }
            Change::Member { pool, account } => {
                let account = usize::from(account) % self.accounts.len();
                let pool = usize::from(pool) % self.pools.len();
                let members = &mut self.pools[pool];
                match members.iter().position(|member| *member == account) {
                    Some(_) if waiting => return,
                    Some(at) => drop(members.remove(at)),
                    None => members.push(account),
                }
                self.reloaded(change);
            }
        }
    }

    /// How many would get this user's slot at once.
    fn would_admit(&self, user: usize, limit: Limit) -> usize {
        let waiting = |r: &Request| matches!(r.stage, Stage::UserLine { .. }) && r.user == user;
        let holds = |r: &Request| {
            matches!(r.stage, Stage::AccountLine { .. } | Stage::Running { .. }) && r.user == user
        };
        let held = count(&self.where_is(holds));
        let waiting = count(&self.where_is(waiting));
        (0..waiting).take_while(|n| limit.has_room(held + n)).count()
    }

    /// Freed places are settled; whoever can be served nowhere any more is turned away.
    fn reloaded(&mut self, change: Change) {
        self.deed = Deed::Change(change);
        for account in 0..self.accounts.len() {
            self.settle(account);
        }
        for request in self.where_is(|r| matches!(r.stage, Stage::AccountLine { .. })) {
            if !(0..self.accounts.len()).any(|account| self.fits(request, account)) {
                let mut ways = vec![End::AllShut, End::NoAccounts];
                ways.extend(self.requests[request].last.map(End::Upstream));
                self.finish(request, &ways);
            }
        }
    }
}

fn count(found: &[usize]) -> u32 {
    u32::try_from(found.len()).expect("a run has few requests")
}
