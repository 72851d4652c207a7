//! What must hold inside one engine after every full drain. Checked by tests and simulations.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::core::{Core, Kind};
use crate::ids::{Ask, Attempt, RequestId};
use crate::lease::{Claim, Standing};
use crate::request::{Request, Stage};
use crate::resync::Requests;
use crate::timer::Timers;

pub(crate) fn check(core: &Core, requests: &Requests, timers: &Timers) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut need = |ok: bool, what: String| {
        if !ok {
            wrong.push(what);
        }
    };
    need(core.actions.is_empty(), "actions are left undrained".into());
    need(core.touched.is_empty(), "alarms are left unset".into());
    let mut armed = 0;
    let enters = open_enters(core);
    for (id, request) in requests {
        armed += usize::from(request.armed.is_some());
        need(request.armed == request.alarm(), format!("{id}: its alarm is not the one it needs"));
        let waits = matches!(request.stage, Stage::User | Stage::Choosing | Stage::Account);
        need(request.deadline.is_some() || !waits, format!("I9: {id} waits for ever"));
        for claim in request.claims() {
            check_claim(id, claim, &enters, &mut need);
        }
        check_stage(id, request, core, &mut need);
    }
    need(armed == timers.len(), "there are alarms that nobody knows".into());
    wrong
}

/// Unanswered `Enter`s of live sessions, by lease.
fn open_enters(core: &Core) -> BTreeMap<(RequestId, Attempt), Vec<Ask>> {
    let mut enters: BTreeMap<_, Vec<Ask>> = BTreeMap::new();
    for (&call, open) in &core.calls {
        if let Kind::Enter(req, attempt) = open.kind {
            enters.entry((req, attempt)).or_default().push(call);
        }
    }
    enters
}

fn check_claim(
    id: &RequestId,
    claim: &Claim,
    enters: &BTreeMap<(RequestId, Attempt), Vec<Ask>>,
    need: &mut impl FnMut(bool, String),
) {
    let open: &[Ask] = enters.get(&(*id, claim.attempt)).map_or(&[], |calls| calls);
    let pending: Vec<Ask> = claim.pending.into_iter().collect();
    need(open == pending, format!("{id}: asks {open:?} are open but {pending:?} are known"));
    let tagged = claim.tag.is_some() || claim.standing == Standing::Nothing;
    need(tagged, format!("{id}: has a place but no tag"));
}

fn check_stage(
    id: &RequestId,
    request: &Request,
    core: &Core,
    need: &mut impl FnMut(bool, String),
) {
    let user_held = request.user.gate().is_some();
    let account = request.account.as_ref();
    match request.stage {
        Stage::User => need(account.is_none(), format!("{id}: asks for an account too early")),
        Stage::Billing { .. } | Stage::Choosing | Stage::Account => {
            need(user_held, format!("{id}: goes on without its user's slot"));
        }
        Stage::Upstream { .. } => {
            need(user_held, format!("{id}: runs without its user's slot"));
            let held = account.is_some_and(|claim| claim.gate().is_some());
            need(held, format!("I8: {id} runs without its account's slot"));
        }
    }
    for claim in request.claims() {
        let owed = core.debts.get((*id, claim.attempt)).is_some();
        need(!owed, format!("{id}: what it claims is owed"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use alloc::sync::Arc;

    use crate::engine::Config;
    use crate::ids::{AccountId, GateId, GroupId, ModelId, Tag, UserId};
    use crate::rng::Seed;
    use crate::roster::{Platform, Roster};
    use crate::store::Instance;
    use crate::time::Time;
    use crate::{Policy, RequestSpec};

    /// What is wrong with one request in this state.
    fn wrong(spoil: impl FnOnce(&mut Core, &mut Request)) -> Vec<String> {
        let config =
            Config { instance: Instance("one".into()), seed: Seed(1), policy: Policy::fair() };
        let mut core = Core::new(config, Arc::new(Roster::default()));
        let spec = RequestSpec {
            user: UserId(1),
            group: GroupId(1),
            platform: Platform::Anthropic,
            model: ModelId(1),
            session: None,
            stream: false,
            warmup: false,
        };
        let mut request = Request::new(&core, RequestId(1), spec);
        request.deadline = Some(Time(9));
        spoil(&mut core, &mut request);
        let mut timers = Timers::default();
        request.armed = request.alarm();
        timers.rearm(None, request.armed);
        check(&core, &[(RequestId(1), Box::new(request))].into(), &timers)
    }

    fn found(wrong: &[String], what: &str) -> bool {
        wrong.iter().any(|complaint| complaint.contains(what))
    }

    /// It holds the claim's slot.
    fn hold(claim: &mut Claim, gate: GateId) {
        claim.standing = Standing::Held { gate, probe: false, since: Time(1) };
        claim.tag = Some(Tag(1));
    }

    fn upstream() -> Stage {
        let (account, since) = (AccountId(1), Time(1));
        Stage::Upstream { account, since, probe: false, started: false, ending: None }
    }

    #[test]
    fn a_request_that_has_just_arrived_is_in_order() {
        assert_eq!(wrong(|_, _| ()), Vec::<String>::new());
        let runs = wrong(|_, request| {
            hold(&mut request.user, GateId::User(UserId(1)));
            let account = request.account.insert(Claim::new(Attempt(1), None));
            hold(account, GateId::Account(AccountId(1)));
            request.stage = upstream();
        });
        assert_eq!(runs, Vec::<String>::new());
    }

    #[test]
    fn a_wait_without_end_is_noticed() {
        let endless = wrong(|_, request| request.deadline = None);
        assert!(found(&endless, "I9"), "{endless:?}");
    }

    #[test]
    fn asks_that_do_not_fit_the_open_calls_are_noticed() {
        let forgotten = wrong(|_, request| request.user.pending = Some(Ask(5)));
        assert!(found(&forgotten, "are open but"), "{forgotten:?}");
    }

    #[test]
    fn a_place_without_a_tag_is_noticed() {
        let untagged = wrong(|_, request| request.user.standing = Standing::Waiting);
        assert!(found(&untagged, "a place but no tag"), "{untagged:?}");
    }

    #[test]
    fn a_stage_without_what_it_needs_is_noticed() {
        let early = wrong(|_, request| request.account = Some(Claim::new(Attempt(1), None)));
        assert!(found(&early, "too early"), "{early:?}");
        let choosing = wrong(|_, request| request.stage = Stage::Choosing);
        assert!(found(&choosing, "goes on without its user's slot"), "{choosing:?}");
        let runs = wrong(|_, request| request.stage = upstream());
        assert!(found(&runs, "runs without its user's slot"), "{runs:?}");
        assert!(found(&runs, "I8"), "{runs:?}");
    }

    #[test]
    fn what_is_claimed_and_owed_at_once_is_noticed() {
        let both = wrong(|core, _| core.debts.owe((RequestId(1), Attempt(0)), None, false));
        assert!(found(&both, "is owed"), "{both:?}");
    }
}
