//! Operations as scripts with arguments. Each script's file says which arguments it takes.

use std::collections::BTreeMap;

use sluice_engine::store::{
    BEST_MAX, Cause, Define, Discipline, Enter, HealthChange, HeldLease, Instance, Mark, Resync,
    Scope, SessionChange, WaitingLease, Want,
};
use sluice_engine::{AccountId, LeaseId, NodeId, PoolId, SessionKey, StoreOp};

use super::scripts::Script;
use super::text;

/// The script that an operation is, and its arguments.
#[must_use]
pub fn encode(op: &StoreOp) -> (Script, Vec<String>) {
    match op {
        StoreOp::Join { instance, replaces, resume, protocol: _ } => {
            (Script::Join, join(instance, *replaces, *resume))
        }
        StoreOp::Beat { node, settled: _, in_flight: _ } => (Script::Beat, vec![text::id(node.0)]),
        StoreOp::Resync(resync) => (Script::Resync, self::resync(resync)),
        StoreOp::Define(define) => (Script::Define, self::define(define)),
        StoreOp::Enter(enter) => (Script::Enter, self::enter(enter)),
        StoreOp::Leave { lease, mark, fence } => (Script::Leave, leave(*lease, *mark, *fence)),
        StoreOp::Survey { pool, model, session, excluded, best } => {
            let args = vec![
                text::id(pool.0),
                text::id(model.0),
                text::option(*session, session_key),
                text::list(excluded),
                usize::from(*best).min(BEST_MAX).to_string(),
            ];
            (Script::Survey, args)
        }
        StoreOp::Session { key, change, if_home } => {
            (Script::Session, session(*key, *change, *if_home))
        }
        StoreOp::Health { account, model, change } => {
            let mut args = vec![text::id(account.0), text::option(*model, |id| text::id(id.0))];
            args.push(health_change(*change).into());
            if let HealthChange::Proved(lease) = change {
                args.extend(self::lease(*lease));
            }
            (Script::Health, args)
        }
        StoreOp::Reap { max } => (Script::Reap, vec![max.to_string()]),
    }
}

fn flag(set: bool) -> String {
    if set { "1".into() } else { "0".into() }
}

fn lease(lease: LeaseId) -> [String; 2] {
    [text::id(lease.node.0), text::key(lease.request, lease.attempt)]
}

fn own_key(lease: LeaseId) -> String {
    text::key(lease.request, lease.attempt)
}

fn session_key(key: SessionKey) -> String {
    key.to_string()
}

fn join(instance: &Instance, replaces: Option<NodeId>, resume: bool) -> Vec<String> {
    vec![instance.0.to_string(), text::option(replaces, |node| text::id(node.0)), flag(resume)]
}

fn enter(enter: &Enter) -> Vec<String> {
    let mut args = Vec::with_capacity(16);
    args.extend(lease(enter.lease));
    args.push(enter.ask.0.to_string());
    args.push(text::option(enter.tag, |tag| text::id(tag.0)));
    args.push(text::option(enter.patience, text::span));
    args.push(text::option(enter.ttl, text::span));
    args.extend(want(&enter.want));
    if let Want::Pool { best, .. } = &enter.want {
        args.extend(best.iter().map(|account| text::id(account.0)));
    }
    args
}

fn want(want: &Want) -> [String; 5] {
    match want {
        Want::User { user, limit, version, line_max } => [
            "u".into(),
            text::id(user.0),
            text::limit(*limit),
            line_max.to_string(),
            text::version(*version),
        ],
        Want::Gate { account, model, line_max } => [
            "a".into(),
            text::id(account.0),
            text::id(model.0),
            line_max.to_string(),
            String::new(),
        ],
        Want::Pool { pool, model, best: _, excluded, line_max } => [
            "p".into(),
            text::id(pool.0),
            text::id(model.0),
            text::option(*line_max, |max| max.to_string()),
            text::list(excluded),
        ],
    }
}

fn leave(id: LeaseId, mark: Option<Mark>, fence: bool) -> Vec<String> {
    let mut args = Vec::with_capacity(8);
    args.extend(lease(id));
    args.push(flag(fence));
    match mark {
        None => {}
        Some(Mark::Ok) => args.push("ok".into()),
        Some(Mark::Failed(scope)) => args.extend(["failed".into(), self::scope(scope)]),
        Some(Mark::Close { scope, span, cause, explicit }) => args.extend([
            "close".into(),
            self::scope(scope),
            text::span(span),
            self::cause(cause).into(),
            flag(explicit),
        ]),
        Some(Mark::Quarantine) => args.push("quarantine".into()),
    }
    args
}

fn scope(scope: Scope) -> String {
    match scope {
        Scope::Account => "account".into(),
        Scope::Model => "model".into(),
    }
}

pub(super) const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::RateLimited => "rate_limit",
        Cause::Overloaded => "overload",
        Cause::Ejected => "ejection",
        Cause::Quarantined => "quarantine",
    }
}

fn session(key: SessionKey, change: SessionChange, if_home: Option<AccountId>) -> Vec<String> {
    let (what, account, span) = match change {
        SessionChange::Bind(account, span) => ("bind", text::id(account.0), text::span(span)),
        SessionChange::Touch(span) => ("touch", String::new(), text::span(span)),
        SessionChange::Drop => ("drop", String::new(), String::new()),
    };
    let if_home = text::option(if_home, |account| text::id(account.0));
    vec![session_key(key), what.into(), account, span, if_home]
}

const fn health_change(change: HealthChange) -> &'static str {
    match change {
        HealthChange::Proved(_) => "proved",
        HealthChange::Drain => "drain",
        HealthChange::Disable => "disable",
        HealthChange::Recover => "recover",
    }
}

fn resync(resync: &Resync) -> Vec<String> {
    let own = |lease: &LeaseId| lease.node == resync.node;
    let busy: Vec<LeaseId> = resync.busy.iter().copied().filter(own).collect();
    let held: Vec<&HeldLease> = resync.held.iter().filter(|held| own(&held.lease)).collect();
    let waiting: Vec<&WaitingLease> = resync.waiting.iter().filter(|w| own(&w.lease)).collect();
    let mut args = vec![
        text::id(resync.node.0),
        resync.ask.0.to_string(),
        resync.as_of.0.to_string(),
        flag(resync.last),
        busy.len().to_string(),
        held.len().to_string(),
        waiting.len().to_string(),
    ];
    args.extend(busy.into_iter().map(own_key));
    for held in held {
        args.extend([
            own_key(held.lease),
            text::gate(held.gate),
            text::option(held.limit, |(limit, _)| text::limit(limit)),
            text::option(held.limit, |(_, version)| text::version(version)),
            text::id(held.model.0),
            text::id(held.tag.0),
            text::option(held.ttl, text::span),
        ]);
    }
    for waiting in waiting {
        args.push(own_key(waiting.lease));
        args.extend(want(&waiting.want));
        args.extend([
            text::id(waiting.tag.0),
            text::span(waiting.patience),
            text::option(waiting.ttl, text::span),
        ]);
    }
    args
}

fn define(define: &Define) -> Vec<String> {
    let accounts: BTreeMap<AccountId, _> =
        define.accounts.iter().map(|def| (def.account, def)).collect();
    let pools: BTreeMap<PoolId, _> = define.pools.iter().map(|def| (def.pool, def)).collect();
    let rules = define.health;
    let mut args = vec![
        text::version(define.version),
        flag(define.discipline == Discipline::Settle),
        rules.failures_to_eject.to_string(),
        text::span(rules.ejection),
        text::span(rules.ejection_max),
        text::span(rules.quarantine),
        text::span(rules.quarantine_max),
        text::span(rules.rate_limit_max),
        text::span(rules.overload_max),
        accounts.len().to_string(),
    ];
    for def in accounts.into_values() {
        args.extend([
            text::id(def.account.0),
            text::limit(def.limit),
            def.priority.to_string(),
            flag(def.oauth),
        ]);
    }
    for def in pools.into_values() {
        let mut members = def.members.clone();
        members.sort_unstable();
        members.dedup();
        args.extend([text::id(def.pool.0), flag(def.prefer_oauth), members.len().to_string()]);
        args.extend(members.into_iter().map(|account| text::id(account.0)));
    }
    args
}
