//! What happened in a run, in order: what the ledger did, what went over the network, what the
//! upstreams and the clients saw. The only thing that checkers look at.

use std::rc::Rc;

use sluice_engine::ledger::history::Entry;
use sluice_engine::{
    AccountId, Ask, Attempt, Denial, GateId, LeaseId, Outcome, RequestId, StoreFault, StoreOp,
    StoreReply, Time, Verdict, trail::Trail,
};

use crate::world::Seen;

/// One thing that happened, in simulated time.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What happened. `node` is the index of a node in the scenario.
#[derive(Clone, Debug)]
pub enum What {
    /// The store begins to apply an operation; facts follow, then [`What::Applied`].
    Applying {
        /// Who sent it; nobody if it is the operator's.
        from: Option<usize>,
        /// Which call.
        call: Ask,
        /// What.
        op: Rc<StoreOp>,
        /// The raw reading of the store.
        raw: Time,
        /// The store clock.
        clock: Time,
    },
    /// The ledger did this.
    Fact(Entry),
    /// The operation has been applied.
    Applied {
        /// Who sent it.
        from: Option<usize>,
        /// Which call.
        call: Ask,
        /// What.
        op: Rc<StoreOp>,
        /// The answer, whether or not it arrives.
        reply: StoreReply,
        /// Whether entries of the due list are left over at this time.
        due: bool,
    },
    /// The store lost all it had: from now on another ledger answers.
    Forgot,
    /// The store went away, or came back.
    StoreAway(bool),
    /// The store's machine clock was set by so many microseconds.
    ClockStep(i64),
    /// An engine sent this to the store.
    Sent {
        /// Who.
        node: usize,
        /// Which call.
        call: Ask,
        /// What.
        op: Rc<StoreOp>,
    },
    /// An engine was told what came of a call.
    Told {
        /// Who.
        node: usize,
        /// Which call.
        call: Ask,
        /// The result.
        result: Result<StoreReply, StoreFault>,
    },
    /// An engine was told of a grant.
    Hinted {
        /// Who.
        node: usize,
        /// Whose grant.
        lease: LeaseId,
        /// Where.
        gate: GateId,
    },
    /// A request arrived at an engine.
    Arrived {
        /// Where.
        node: usize,
        /// Which.
        req: RequestId,
    },
    /// An engine was told that the client went away.
    Abandoned {
        /// Where.
        node: usize,
        /// Which request.
        req: RequestId,
    },
    /// An engine asked billing.
    BillingAsked {
        /// Where.
        node: usize,
        /// For which request.
        req: RequestId,
    },
    /// An engine was told what billing says.
    Billed {
        /// Where.
        node: usize,
        /// For which request.
        req: RequestId,
        /// What it says.
        result: Result<(), Denial>,
    },
    /// A waiting client was pinged.
    Pinged {
        /// Where.
        node: usize,
        /// Which request's.
        req: RequestId,
    },
    /// A client got its answer.
    Finished {
        /// Where.
        node: usize,
        /// Which request's.
        req: RequestId,
        /// How it ended.
        verdict: Verdict,
        /// How it came to that.
        trail: Box<Trail>,
    },
    /// An attempt was opened at an upstream.
    Opened {
        /// Where.
        node: usize,
        /// Which request's.
        req: RequestId,
        /// Which.
        attempt: Attempt,
        /// At which account.
        account: AccountId,
    },
    /// Its first semantic byte came.
    Started {
        /// Where.
        node: usize,
        /// Which request's.
        req: RequestId,
        /// Which.
        attempt: Attempt,
    },
    /// An engine wants it ended.
    Cancelled {
        /// Where.
        node: usize,
        /// Which request's.
        req: RequestId,
        /// Which.
        attempt: Attempt,
    },
    /// Nothing of it is open any more.
    Closed {
        /// Where.
        node: usize,
        /// Which request's.
        req: RequestId,
        /// Which.
        attempt: Attempt,
        /// How it ended; `None` if its node crashed.
        outcome: Option<Outcome>,
    },
    /// A node started, anew or for the first time.
    Launched {
        /// Which.
        node: usize,
        /// Its first roster.
        roster: usize,
    },
    /// A node crashed: all its requests are over, all its connections closed.
    Crashed {
        /// Which.
        node: usize,
    },
    /// A node stands still.
    Froze {
        /// Which.
        node: usize,
    },
    /// It goes on.
    Thawed {
        /// Which.
        node: usize,
    },
    /// A roster reached a node.
    Reloaded {
        /// Which.
        node: usize,
        /// Which roster of the scenario.
        roster: usize,
    },
    /// Clients and upstreams on the simulated network saw this.
    Seen(Seen),
    /// Faults have ended.
    Healed,
    /// The engine or the ledger finds itself broken.
    Broken {
        /// Which, and how.
        how: String,
    },
    /// The run is over; `quiet` if nothing was left to do.
    Over {
        /// Whether everything came to rest within the bound.
        quiet: bool,
        /// What was not at rest.
        why: String,
    },
}

/// Everything that happened, in order.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The records.
    pub records: Vec<Record>,
}

impl History {
    /// Adds a record.
    pub fn push(&mut self, at: Time, what: What) {
        self.records.push(Record { at, what });
    }
}
