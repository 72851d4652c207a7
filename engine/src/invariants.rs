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
