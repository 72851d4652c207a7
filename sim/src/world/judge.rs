//! What clients and upstreams must and must not see. These judge besides those of [`crate::check`],
//! to which a world on a network shows only what its store does.

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::ledger::history::{Ending, Fact};
use sluice_engine::store::Limit;
use sluice_engine::{AccountId, GateId, RequestId, Span, Time};

use super::reloads::InForce;
use super::seen::{ClientEnd, Seen, UpstreamEnd};
use super::setup::account_of;
use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::scenario::{FaultKind, Place, Scenario};

mod bounds;
mod calm;
mod conserved;
mod deadlines;
mod drain;
mod hints;
#[cfg(test)]
mod kit;
mod marks;
mod outage;
mod owners;
mod sessions;
mod usage;

/// One checker of every kind.
pub(crate) fn all(scenario: &Scenario) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(sessions::OneSessionEach::of(scenario)),
        Box::<bounds::HasRoom>::default(),
        Box::<bounds::KeepsFew>::default(),
        Box::<conserved::NoMoreThanClients>::default(),
        Box::<deadlines::LetsGo>::default(),
        Box::<drain::Drains>::default(),
        Box::<hints::ClaimsAtOnce>::default(),
        Box::<marks::MarksAreEarned>::default(),
        Box::<outage::Rejects>::default(),
        Box::<owners::TellsTheTruth>::default(),
        Box::<usage::NotedOnce>::default(),
        Box::<OneAnswer>::default(),
        Box::<WithinLimit>::default(),
        Box::<Budget>::default(),
        Box::<NothingWrong>::default(),
        Box::<InForce>::default(),
    ]
}

/// Each request gets one whole, well-formed answer, unless the network or a crash kept it away.
#[derive(Debug, Default)]
struct OneAnswer {
    asked: BTreeMap<RequestId, (usize, Time)>,
    /// Moments at which a node crashed, or began to leave.
    crashed: Vec<(usize, Time)>,
}

impl Checker for OneAnswer {
    fn id(&self) -> &'static str {
        "answer"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Crashed { node } = record.what {
            self.crashed.push((node, record.at));
        }
        if let What::Seen(Seen::Asked { req, node }) = record.what
            && self.asked.insert(req, (node, record.at)).is_some()
        {
            return Err(format!("{req} is asked twice"));
        }
        if let What::Seen(Seen::Answered { req, end, .. }) = &record.what {
            return self.answered(books.scenario, *req, end, record.at);
        }
        if let What::Over { .. } = record.what
            && let Some((req, _)) = self.asked.first_key_value()
        {
            return Err(format!("{req} is never answered"));
        }
        Ok(())
    }
}

impl OneAnswer {
    fn answered(
        &mut self,
        scenario: &Scenario,
        req: RequestId,
        end: &ClientEnd,
        at: Time,
    ) -> Result<(), String> {
        let Some((node, since)) = self.asked.remove(&req) else {
            return Err(format!("{req} is answered twice"));
        };
        match end {
            ClientEnd::Whole { .. } | ClientEnd::Left => Ok(()),
            ClientEnd::Malformed(what) => Err(format!("{req} is answered wrongly: {what}")),
            ClientEnd::Unconnected | ClientEnd::Cut { .. } => {
                let crashed = |&(of, at): &(usize, Time)| of == node && at >= since;
                if self.crashed.iter().any(crashed) || hindered(scenario, node, since, at, end) {
                    return Ok(());
                }
                Err(format!("{req}, asked at {since:?}, ends with {end:?} for no reason"))
            }
        }
    }
}

/// From the end of a fault until a host listens, and what was sent before has arrived.
const RISING: Span = Span::from_ms(250);

/// Whether a fault of the scenario kept clients from this node in this time.
fn hindered(scenario: &Scenario, node: usize, since: Time, until: Time, end: &ClientEnd) -> bool {
    let slow = scenario.network.as_ref().is_some_and(|n| !n.readers.is_empty());
    let faults = scenario.faults.iter().any(|fault| {
        let (lasts, hinders) = match fault.kind {
            FaultKind::Crash { node: of, restart } => (restart, of == node),
            FaultKind::Leave { node: of, drain, restart } => (drain + restart, of == node),
            FaultKind::Freeze { node: of, lasts } => (lasts, of == node),
            FaultKind::Cut { from, to, lasts, .. } | FaultKind::Hold { a: from, b: to, lasts } => {
                let places = [Place::Clients, Place::Node(node)];
                (lasts, places.contains(&from) && places.contains(&to))
            }
            FaultKind::Rates { .. }
            | FaultKind::Grants { .. }
            | FaultKind::Away { .. }
            | FaultKind::Clock { .. }
            | FaultKind::Reload { .. }
            | FaultKind::Ticks { .. }
            | FaultKind::Operator { .. }
            | FaultKind::UpstreamDown { .. } => (Span::ZERO, false),
        };
        hinders
            && fault.at <= until
            && since <= (fault.at + lasts).min(scenario.safety_end) + RISING
    });
    // A gateway lets go of a client that does not take its answer.
    faults || (slow && matches!(end, ClientEnd::Cut { .. }))
}

/// What is open at an account's upstream, and at the gateways' ends of it, is within the account's
/// limit (I1), but for leases that ended without their nodes' doing.
#[derive(Debug, Default)]
struct WithinLimit {
    /// When leases at an account last ended otherwise than by leaving.
    lapsed: BTreeMap<AccountId, Vec<Time>>,
    forgot: Option<Time>,
}

/// Whether an attempt may go on whose lease ended so: not where its process is gone, or knows nothing
/// of it. One that has outlived its ttl is unknown to its node, and may still be open.
const fn lapses(how: Ending, ttl: bool) -> bool {
    match how {
        Ending::Reaped | Ending::Expired => true,
        Ending::Orphaned => ttl,
        Ending::Joined | Ending::Left | Ending::Declined | Ending::PassedOn => false,
    }
}

/// How long an attempt may go on whose lease has lapsed: the longest there are.
const LAPSE: Span = Span::from_secs(90);

impl Checker for WithinLimit {
    fn id(&self) -> &'static str {
        "I1"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Forgot = record.what {
            self.forgot = Some(record.at);
        }
        if let What::Fact(entry) = &record.what
            && let Fact::Ended { gate: GateId::Account(account), how, .. } = entry.fact
            && lapses(how, books.scenario.policy.lease_ttl.is_some())
        {
            self.lapsed.entry(account).or_default().push(record.at);
        }
        let What::Seen(Seen::Opened { account, open, req, .. }) = &record.what else {
            return Ok(());
        };
        let id = account_of(*account);
        let Some(gate) = books.gates.get(&GateId::Account(id)) else {
            let forgot = self.forgot.is_some();
            return if forgot { Ok(()) } else { Err(format!("{account} is used but has no gate")) };
        };
        let limit = match gate.limit {
            Some(Limit::Slots(n)) => n as usize,
            Some(Limit::Closed) => 0,
            Some(Limit::Unlimited) | None => return Ok(()),
        };
        let lately = |at: &&Time| record.at.since(**at) < LAPSE;
        let lapsed = self.lapsed.get(&id).map_or(0, |all| all.iter().filter(lately).count());
        let forgot = self.forgot.is_some_and(|at| record.at.since(at) < LAPSE);
        let most = limit.max(gate.held as usize) + lapsed;
        if open.len() + 1 > most && !forgot {
            return Err(format!(
                "{req} comes to {account} beside {open:?}: limit {limit}, held {}, lapsed {lapsed}",
                gate.held
            ));
        }
        Ok(())
    }
}

/// No account sees a request twice, and no request is tried more often than the policy allows (I10).
///
/// A connection that was kept may be closed before the request on it is read: a gateway that sees it
/// close soon and without a word sends the request again, on a new one and once.
#[derive(Debug, Default)]
struct Budget {
    tried: BTreeMap<RequestId, Vec<AccountId>>,
    opened: BTreeMap<(RequestId, u16), Time>,
    /// Attempts on kept connections, and those of them that ended without a word.
    kept: BTreeSet<(RequestId, u16)>,
    silent: BTreeSet<(RequestId, u16)>,
}

/// A connection that is closed later than this was not being closed when the request came.
const CLOSING: Span = Span::from_ms(200);

impl Checker for Budget {
    fn id(&self) -> &'static str {
        "I10"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Seen(Seen::Closed {
            req,
            attempt,
            end: UpstreamEnd::Silent | UpstreamEnd::Crashed,
        }) = record.what
            && self.kept.contains(&(req, attempt))
            && record.at < self.opened[&(req, attempt)] + CLOSING
        {
            self.silent.insert((req, attempt));
        }
        let What::Seen(Seen::Opened { req, attempt, account, kept, .. }) = record.what else {
            return Ok(());
        };
        self.opened.insert((req, attempt), record.at);
        if kept {
            self.kept.insert((req, attempt));
        }
        let tried = self.tried.entry(req).or_default();
        if tried.contains(&account) {
            let again = tried.last() == Some(&account)
                && !kept
                && self.silent.contains(&(req, attempt - 1));
            let what = || format!("{req} comes to {account} a second time");
            return if again { Ok(()) } else { Err(what()) };
        }
        tried.push(account);
        let most = usize::from(books.scenario.policy.switches.anthropic_max) + 1;
        if tried.len() > most {
            return Err(format!("{req} is tried {} times, {most} are allowed", tried.len()));
        }
        Ok(())
    }
}

/// Nobody does what nobody may do: send a credential to another's host (I19), send on a broken
/// request.
#[derive(Debug, Default)]
struct NothingWrong;

impl Checker for NothingWrong {
    fn id(&self) -> &'static str {
        "I19"
    }

    fn see(&mut self, _: &Books<'_>, record: &Record) -> Result<(), String> {
        let What::Seen(Seen::Wrong { what }) = &record.what else { return Ok(()) };
        Err(what.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use sluice_engine::ledger::history::Entry;
    use sluice_engine::store::{HealthChange, Limit::Slots};
    use sluice_engine::{Ask, Preset};

    use super::*;
    use crate::check::judge_by;
    use crate::history::History;

    const ACCOUNT: AccountId = AccountId(1);

    fn judge(checker: impl Checker + 'static, records: Vec<What>) -> bool {
        let mut scenario = Scenario::generate_network(1, Preset::Fair);
        scenario.faults.clear();
        if let Some(network) = &mut scenario.network {
            network.readers.clear();
        }
        let mut history = History::default();
        for (n, what) in (1..).zip(records) {
            history.push(Time(n * 1_000), what);
        }
        judge_by(vec![Box::new(checker)], &scenario, &history).is_empty()
    }

    fn asked(req: u64) -> What {
        What::Seen(Seen::Asked { req: RequestId(req), node: 0 })
    }

    fn answered(req: u64, end: ClientEnd) -> What {
        What::Seen(Seen::Answered { req: RequestId(req), end, refusal: None, bytes: (0, 0) })
    }

    fn opened(req: u64, attempt: u16, kept: bool, beside: &[(u64, u16)]) -> What {
        What::Seen(Seen::Opened {
            req: RequestId(req),
            attempt,
            account: ACCOUNT,
            node: 0,
            near: ([10, 0, 0, 1], 1).into(),
            kept,
            open: beside.iter().map(|&(req, attempt)| (RequestId(req), attempt)).collect(),
            idle: 0,
        })
    }

    fn closed(req: u64, attempt: u16, end: UpstreamEnd) -> What {
        What::Seen(Seen::Closed { req: RequestId(req), attempt, end })
    }

    fn limit(n: u32) -> Vec<What> {
        let gate = GateId::Account(account_of(ACCOUNT));
        let change = HealthChange::Recover;
        let op = sluice_engine::StoreOp::Health { account: ACCOUNT, model: None, change };
        let (raw, clock) = (Time(1), Time(1));
        let fact = Fact::Limited { gate, limit: Slots(n) };
        vec![
            What::Applying { from: None, call: Ask(0), op: Rc::new(op), raw, clock },
            What::Fact(Entry { raw, clock, fact }),
        ]
    }

    const WHOLE: ClientEnd = ClientEnd::Whole { status: 200, stream: None };

    #[test]
    fn one_whole_answer_is_accepted_and_anything_else_rejected() {
        let over = || What::Over { quiet: true, why: String::new() };
        let judged = |records| judge(OneAnswer::default(), records);
        assert!(judged(vec![asked(1), answered(1, WHOLE), over()]));
        assert!(!judged(vec![asked(1), answered(1, WHOLE), answered(1, WHOLE)]));
        assert!(!judged(vec![asked(1), over()]));
        assert!(!judged(vec![asked(1), answered(1, ClientEnd::Malformed(String::new()))]));
        assert!(!judged(vec![asked(1), answered(1, ClientEnd::Cut { silent: true })]));
    }

    #[test]
    fn who_asks_a_node_that_crashes_need_not_be_answered() {
        let cut = || answered(1, ClientEnd::Cut { silent: false });
        let crashed = || What::Crashed { node: 0 };
        assert!(judge(OneAnswer::default(), vec![asked(1), crashed(), cut()]));
        assert!(!judge(OneAnswer::default(), vec![crashed(), asked(1), cut()]));
    }

    #[test]
    fn attempts_within_the_limit_are_accepted_and_others_rejected() {
        let with = |n, what| {
            let mut records = limit(n);
            records.push(what);
            judge(WithinLimit::default(), records)
        };
        assert!(with(1, opened(1, 1, false, &[])));
        assert!(with(2, opened(1, 1, false, &[(2, 1)])));
        assert!(!with(1, opened(1, 1, false, &[(2, 1)])));
        assert!(!judge(WithinLimit::default(), vec![opened(1, 1, false, &[])]), "no gate");
    }

    #[test]
    fn an_account_is_asked_again_only_where_a_kept_connection_was_closed() {
        let again = |kept, end| {
            let first = opened(1, 1, kept, &[]);
            let records = vec![first, closed(1, 1, end), opened(1, 2, false, &[])];
            judge(Budget::default(), records)
        };
        assert!(again(true, UpstreamEnd::Silent));
        assert!(!again(false, UpstreamEnd::Silent));
        assert!(!again(true, UpstreamEnd::Said));
    }

    #[test]
    fn what_nobody_may_do_is_rejected() {
        let wrong = Seen::Wrong { what: "a credential".to_owned() };
        assert!(!judge(NothingWrong, vec![What::Seen(wrong)]));
        assert!(judge(NothingWrong, vec![asked(1)]));
    }
}
