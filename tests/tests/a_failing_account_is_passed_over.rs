//! Whatever goes wrong before the first content: the client gets the next account's answer.

use std::rc::Rc;

use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, hello, named, run, text_of};
use tokio::sync::Semaphore;

fn plan(fault: Fault) -> Plan {
    let bad = Behaviour { faults: vec![(1000, fault)], ..named("bad") };
    Plan::default().user("alice", 2, "").account("bad", 2, bad, "priority = 0").account(
        "good",
        2,
        named("good"),
        "priority = 1",
    )
}

fn the_good_account_answers(fault: Fault, stream: bool) {
    run(plan(fault), async move |world| {
        let mut reply = world.ask("alice", &hello(stream)).await;
        assert_eq!(reply.status(), 200);
        let text = if stream {
            let events = reply.events().await;
            let names = |wanted: &str| events.iter().filter(|(name, _)| name == wanted).count();
            assert_eq!((names("message_start"), names("error"), names("message_stop")), (1, 0, 1));
            text_of(&events)
        } else {
            reply.json().await["content"][0]["text"].as_str().expect("text").to_owned()
        };
        assert!(text.starts_with("I am good."), "{text}");
        assert!(world.mock.stats("mock-bad").requests >= 1, "the bad one was asked first");
        world
    });
}

#[test]
fn it_is_rate_limited() {
    for stream in [false, true] {
        the_good_account_answers(Fault::Status(429, "rate_limit_error", Some(7)), stream);
    }
}

#[test]
fn it_is_overloaded() {
    the_good_account_answers(Fault::Status(529, "overloaded_error", None), true);
}

#[test]
fn it_has_an_internal_error() {
    the_good_account_answers(Fault::Status(500, "api_error", None), false);
}

#[test]
fn its_credential_is_refused() {
    the_good_account_answers(Fault::Status(401, "authentication_error", None), true);
}

#[test]
fn it_closes_the_connection() {
    for stream in [false, true] {
        the_good_account_answers(Fault::Reset, stream);
    }
}

#[test]
fn its_stream_begins_with_an_error() {
    the_good_account_answers(Fault::ErrorEvent("overloaded_error"), true);
}

#[test]
fn its_plain_answer_breaks_off_in_the_middle() {
    the_good_account_answers(Fault::Truncate, false);
}

#[test]
fn nobody_listens_at_its_address() {
    let plan = Plan::default().user("alice", 2, "").dead_account("bad", "priority = 0").account(
        "good",
        2,
        named("good"),
        "priority = 1",
    );
    run(plan, async |world| {
        for stream in [false, true] {
            assert_eq!(world.ask("alice", &hello(stream)).await.status(), 200);
        }
        world
    });
}

#[test]
fn it_does_not_answer_in_time() {
    let silent = Behaviour { hold: Some(Rc::new(Semaphore::new(0))), ..named("bad") };
    let plan = Plan::default()
        .user("alice", 2, "")
        .account("bad", 2, silent, "priority = 0")
        .account("good", 2, named("good"), "priority = 1")
        // For the good one, too, which must make it also on a busy machine.
        .settings("[upstream]\nheader_timeout_ms = 1000\n");
    run(plan, async |world| {
        let events = world.ask("alice", &hello(true)).await.events().await;
        assert!(text_of(&events).starts_with("I am good."));
        world.mock.until("mock-bad", |stats| stats.open == 0 && stats.left == 1).await;
        world
    });
}

#[test]
fn everybody_fails_and_the_client_is_told_whose_fault_it_is() {
    let table = [
        (Fault::Status(429, "rate_limit_error", Some(7)), 429, "rate_limit_error", "7"),
        (Fault::Status(529, "overloaded_error", Some(9)), 503, "overloaded_error", "9"),
        (Fault::Status(500, "api_error", None), 502, "upstream_error", ""),
        (Fault::Status(403, "permission_error", None), 502, "upstream_error", ""),
        (Fault::Reset, 502, "upstream_error", ""),
    ];
    for (fault, status, kind, retry_after) in table {
        let bad = || Behaviour { faults: vec![(1000, fault.clone())], ..named("bad") };
        let plan = Plan::default().user("alice", 2, "").account("a", 2, bad(), "").account(
            "b",
            2,
            bad(),
            "",
        );
        run(plan, async move |world| {
            let mut reply = world.ask("alice", &hello(true)).await;
            assert_eq!((reply.status(), reply.header("retry-after")), (status, retry_after));
            assert_eq!(reply.json().await["error"]["type"], kind);
            for key in ["mock-a", "mock-b"] {
                assert_eq!(world.mock.stats(key).requests, 1, "{status}: {key} was asked once");
            }
            world
        });
    }
}

#[test]
fn a_rate_limited_account_is_left_alone_until_it_opens() {
    run(plan(Fault::Status(429, "rate_limit_error", Some(60))), async |world| {
        for _ in 0..5 {
            assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
        }
        assert_eq!(world.mock.stats("mock-bad").requests, 1);
        let gates = world.gates();
        let bad = gates["gates"].as_array().and_then(|all| all.iter().find(|g| g["name"] == "bad"));
        let closed = &bad.expect("a closed account is shown")["closed"][0];
        assert_eq!(closed["cause"], "RateLimited");
        assert!(closed["opens_in_ms"].as_u64().expect("ms") > 50_000);
        world
    });
}

#[test]
fn a_request_that_is_wrong_is_refused_once_in_the_upstreams_words() {
    let wrong = Fault::Status(404, "not_found_error", None);
    run(plan(wrong), async |world| {
        let mut reply = world.ask("alice", &hello(true)).await;
        assert_eq!((reply.status(), reply.header("content-type")), (404, "application/json"));
        let body = reply.json().await;
        assert_eq!(body["error"]["type"], "not_found_error");
        assert_eq!(body["error"]["message"], "the upstream says so");
        assert_eq!(world.mock.stats("mock-good").requests, 0);
        world
    });
}

#[test]
fn a_request_that_no_upstream_survives_does_not_walk_the_pool() {
    for (fault, stream) in [(Fault::Reset, true), (Fault::Truncate, false)] {
        let names = ["a", "b", "c", "d", "e"];
        let plan = names.iter().fold(Plan::default().user("alice", 2, ""), |plan, name| {
            let bad = Behaviour { faults: vec![(1000, fault.clone())], ..named(name) };
            plan.account(name, 2, bad, "")
        });
        run(plan, async move |world| {
            assert_eq!(world.ask("alice", &hello(stream)).await.status(), 502);
            let asked = names.map(|name| world.mock.stats(&format!("mock-{name}")).requests);
            assert_eq!(asked.iter().sum::<u64>(), 3, "the first, and two more");
            world
        });
    }
}
