//! A storm of clients over upstreams that fail in every way before the first byte; one over upstreams
//! that fail in every way there is, with clients that leave; and one of clients that vanish in the
//! middle of their streams. Limits hold as the upstream counts, everybody gets one answer, and
//! afterwards nothing is held.
//!
//! `SLUICE_STORM_SECONDS` (1) and `SLUICE_STORM_CLIENTS` (100) make the storms longer.

use std::cell::Cell;
use std::env;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use sluice_engine::rng::{Purpose, Seed};
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, Reply, World, hello, named, run, together};

const CLIENTS: usize = 64;
const SLOTS: u32 = 4;
const ACCOUNTS: [&str; 3] = ["one", "two", "three"];

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn plan(behaviour: impl Fn(&str) -> Behaviour) -> Plan {
    let plan = Plan::default().user("alice", 100, "").user("bob", 10, "");
    let add = |plan: Plan, name: &&str| plan.account(name, SLOTS, behaviour(name), "");
    ACCOUNTS.iter().fold(plan, add)
}

fn limits_held(world: &World) {
    for name in ACCOUNTS {
        let stats = world.mock.stats(&format!("mock-{name}"));
        assert!(stats.open_max <= SLOTS, "{name} had {} open at once", stats.open_max);
        assert!(stats.requests > 0, "{name} was used");
    }
    let wrong = world.store.with_ledger(|ledger| ledger.check_invariants());
    assert_eq!(wrong, Vec::<String>::new());
}

/// One answer, whole: a message, or an error in the protocol's shape.
async fn is_well_formed(mut reply: Reply, stream: bool) -> Result<(), String> {
    let status = reply.status();
    if stream && status == 200 {
        let events = reply.events().await;
        let last = events.last().map(|(name, _)| name.as_str());
        let starts = events.iter().filter(|(name, _)| name == "message_start").count();
        let ends = matches!(last, Some("message_stop" | "error"));
        return if starts <= 1 && ends { Ok(()) } else { Err(format!("{events:?}")) };
    }
    let body: Value = reply.json().await;
    let expected = if status == 200 { "message" } else { "error" };
    let known = matches!(status, 200 | 429 | 502 | 503);
    if known && body["type"] == expected { Ok(()) } else { Err(format!("{status} {body}")) }
}

#[test]
fn of_failing_upstreams() {
    let faults = || {
        vec![
            (25, Fault::Status(429, "rate_limit_error", Some(1))),
            (25, Fault::Status(529, "overloaded_error", Some(1))),
            (25, Fault::Status(500, "api_error", None)),
            (25, Fault::Reset),
        ]
    };
    let behaviour = |name: &str| Behaviour {
        faults: faults(),
        latency: Duration::from_millis(2),
        ..named(name)
    };
    run(plan(behaviour), async |world| {
        let over = Rc::new(Cell::new(false));
        let client = |n: usize| {
            let (world, over) = (world.clone(), over.clone());
            let user = if n.is_multiple_of(4) { "bob" } else { "alice" };
            async move {
                let mut answers = 0;
                while !over.get() {
                    let stream = (n + answers).is_multiple_of(2);
                    let reply = world.ask(user, &hello(stream)).await;
                    is_well_formed(reply, stream).await.expect("a well-formed answer");
                    answers += 1;
                }
                answers
            }
        };
        let clients = tokio::task::spawn_local(together((0..CLIENTS).map(client).collect()));
        tokio::time::sleep(Duration::from_secs(setting("SLUICE_STORM_SECONDS", 1))).await;
        over.set(true);
        let answers: usize = clients.await.expect("no panic").into_iter().sum();
        eprintln!("{answers} answers");
        limits_held(&world);
        world
    });
}

/// Every kind of fault, ten of a thousand each but the last.
fn every_fault() -> Vec<(u32, Fault)> {
    let kinds = [
        Fault::Status(429, "rate_limit_error", Some(1)),
        Fault::Status(529, "overloaded_error", None),
        Fault::Status(500, "api_error", None),
        Fault::Status(401, "authentication_error", None),
        Fault::Status(400, "invalid_request_error", None),
        Fault::Redirect(302, "http://127.0.0.1:1/".to_owned()),
        Fault::Html,
        Fault::Reset,
        Fault::Stall,
        Fault::ErrorEvent("overloaded_error"),
        Fault::ErrorAfter("api_error", 4),
        Fault::TearAfter(4),
        Fault::StallAfter(4),
        Fault::EndAfter(4),
    ];
    let one = 100 / kinds.len() as u32;
    kinds.into_iter().map(|kind| (one, kind)).collect()
}

/// As [`is_well_formed`], among the statuses that the SDK's documentation names.
async fn is_named(mut reply: Reply, stream: bool) -> Result<(), String> {
    if matches!(reply.status(), 200 | 429 | 502 | 503) {
        return is_well_formed(reply, stream).await;
    }
    let status = reply.status();
    let body = reply.json().await;
    if status == 400 && body["error"]["type"] == "invalid_request_error" {
        return Ok(());
    }
    Err(format!("{status} {body}"))
}

#[test]
fn of_every_fault_and_leaving_clients() {
    let behaviour = |name: &str| Behaviour {
        faults: every_fault(),
        latency: Duration::from_millis(2),
        words: 12,
        ..named(name)
    };
    let times = "[upstream]\nheader_timeout_ms = 400\nidle_timeout_ms = 400\n\
                 [policy]\nquarantine_ms = 50\nquarantine_max_ms = 50\nejection_ms = 50\n\
                 ejection_max_ms = 50\noverload_guess_ms = 50\nrate_limit_guess_ms = 50\n";
    run(plan(behaviour).settings(times), async |world| {
        let over = Rc::new(Cell::new(false));
        let client = |n: usize| {
            let (world, over) = (world.clone(), over.clone());
            let mut draw = Seed(4).stream(Purpose::Client, n as u64, 0);
            async move {
                let (mut answers, mut left) = (0_u32, 0_u32);
                while !over.get() {
                    let stream = (n as u32 + answers + left).is_multiple_of(2);
                    let body = hello(stream);
                    let asked = world.ask("alice", &body);
                    if draw.below(10) > 0 {
                        is_named(asked.await, stream).await.expect("an answer that has a name");
                        answers += 1;
                        continue;
                    }
                    // One of ten leaves, sooner or later.
                    let patience = Duration::from_millis(draw.below(30));
                    let read = async { drop(asked.await.body().await) };
                    left += u32::from(tokio::time::timeout(patience, read).await.is_err());
                }
                (answers, left)
            }
        };
        let clients = tokio::task::spawn_local(together((0..CLIENTS).map(client).collect()));
        tokio::time::sleep(Duration::from_secs(setting("SLUICE_STORM_SECONDS", 1))).await;
        over.set(true);
        let all = clients.await.expect("no panic");
        let sum = |part: fn(&(u32, u32)) -> u32| all.iter().map(part).sum::<u32>();
        eprintln!("{} answers, {} clients left", sum(|c| c.0), sum(|c| c.1));
        limits_held(&world);
        world
    });
}

#[test]
fn of_vanishing_clients() {
    let slow = |name: &str| Behaviour { words: 200, pace: Duration::from_millis(1), ..named(name) };
    let total = setting("SLUICE_STORM_CLIENTS", 100);
    run(plan(slow), async |world| {
        let mut vanished = 0;
        for batch in 0..total.div_ceil(20) {
            let client = |n: u64| {
                let world = world.clone();
                let mut draw = Seed(3).stream(Purpose::Client, batch * 20 + n, 0);
                let (millis, chunks) = (draw.below(60), draw.below(30));
                async move {
                    let body = hello(true);
                    let asked = world.ask("alice", &body);
                    let patience = Duration::from_millis(millis);
                    if let Ok(mut reply) = tokio::time::timeout(patience, asked).await {
                        for _ in 0..chunks {
                            if reply.chunk().await.is_none() {
                                break;
                            }
                        }
                    }
                    1u64
                }
            };
            vanished += together((0..20).map(client).collect()).await.into_iter().sum::<u64>();
        }
        assert!(vanished >= total);
        limits_held(&world);
        world
    });
}
