//! What operators do from outside of any gateway: `sluice doctor` says what is wrong with the store and
//! what to do, `sluice gates` who holds and waits for what on which node, `sluice release` frees a
//! lease; and a gateway that cannot use its store says why, without the password.

use std::process::Output;
use std::rc::Rc;

use serde_json::Value;
use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::fleet::{self, Fleet, FleetPlan};
use sluice_tests::named;
use sluice_tests::trouble::{BadRoad, Trouble};
use tokio::sync::Semaphore;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-under-test");

fn plan() -> (FleetPlan, Rc<Semaphore>) {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), ..named("one") };
    let settings = "[redis]\ntimeout_ms = 5000\n";
    (FleetPlan::default().account("one", 1, held).settings(settings), hold)
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The user that docs/storage.md describes, less one right.
fn allow(fleet: &Fleet, less: &str) {
    fleet.redis.ask(&["ACL", "SETUSER", "gate", "reset"]);
    let rights = "on >SECRET ~{sluice}* &{sluice}* +@read +@write +@scripting +@connection +info \
                  +time +publish +subscribe +unsubscribe";
    let words = ["ACL", "SETUSER", "gate"].into_iter().chain(rights.split(' ')).chain([less]);
    fleet.redis.ask(&words.collect::<Vec<_>>());
}

fn url_of(fleet: &Fleet, password: &str) -> String {
    fleet.redis.url().replace("//", &format!("//gate:{password}@host"))
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    fleet::run("doctor", PROGRAM, plan().0, async |fleet| {
        let doctor = |store: &str| fleet.command(&["doctor"], &fleet.file("doctor", store));
        allow(&fleet, "+ping");
        let well = doctor(&url_of(&fleet, "SECRET"));
        let told = out(&well);
        assert!(well.status.success(), "{told}{}", err(&well));
        assert!(
            told.lines().all(|line| line.starts_with("ok ") || line.contains("latency")),
            "{told}"
        );
        for what in ["redis ", "version:", "rights:", "maxmemory-policy:", "clock:", "latency:"] {
            assert!(told.contains(what), "{what} in {told}");
        }
        assert!(told.contains("account one: 127.0.0.1:"), "{told}");
        assert!(!told.contains("SECRET"), "{told}");

        allow(&fleet, "-publish");
        let forbidden = doctor(&url_of(&fleet, "SECRET"));
        assert_eq!(forbidden.status.code(), Some(1));
        let told = out(&forbidden);
        let line = told.lines().find(|line| line.starts_with("fail rights: ")).expect(&told);
        assert!(line.contains("publish") && line.contains("ACL SETUSER"), "{line}");

        fleet.redis.ask(&["CONFIG", "SET", "maxmemory", "100mb"]);
        fleet.redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        allow(&fleet, "+ping");
        let evicts = doctor(&url_of(&fleet, "SECRET"));
        assert_eq!(evicts.status.code(), Some(1));
        assert!(out(&evicts).contains("fail maxmemory-policy: "), "{}", out(&evicts));

        let memory = doctor("memory");
        assert!(memory.status.success(), "{}", err(&memory));
    });
}

#[test]
fn a_store_that_cannot_be_used_is_named_without_its_password() {
    fleet::run("unusable", PROGRAM, plan().0, async |fleet| {
        let serve = |store: &str| {
            let output = fleet.command(&["serve"], &fleet.file("unusable", store));
            assert_eq!(output.status.code(), Some(1), "{}", err(&output));
            let told = err(&output);
            assert!(!told.contains("SECRET"), "{told}");
            told
        };
        allow(&fleet, "+ping");
        let told = serve(&url_of(&fleet, "SECRET-2"));
        assert!(told.contains("server.store = \"redis+unix://gate:***@host/"), "{told}");
        assert!(told.contains("Redis refuses user and password: "), "{told}");
        allow(&fleet, "-evalsha");
        let told = serve(&url_of(&fleet, "SECRET"));
        assert!(told.contains("ACL SETUSER"), "{told}");
        let told = serve("redis+unix://gate:SECRET@host/nowhere/redis.sock");
        assert!(told.contains("Redis does not answer: "), "{told}");
        assert!(told.contains("see that Redis runs"), "{told}");
        let told = serve("redis://gate:SECRET#@host");
        assert!(told.contains("server.store: has a # in it"), "{told}");
        let told = serve("env:SLUICE_NOT_SET");
        assert!(told.contains("the environment variable SLUICE_NOT_SET is not set"), "{told}");
    });
}

#[test]
fn who_holds_and_waits_is_shown_and_a_lease_is_released() {
    let (plan, hold) = plan();
    fleet::run("gates", PROGRAM, plan, async |fleet| {
        let file = fleet.file("operator", &fleet.redis.url());
        let (left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        let none = fleet.command(&["gates"], &file);
        assert!(out(&none).starts_with("nobody holds or waits for anything\n"), "{}", err(&none));
        let holds = tokio::task::spawn_local(left.whole(true));
        fleet.mock.until("mock-one", |stats| stats.open == 1).await;
        let waits = tokio::task::spawn_local(right.whole(true));
        fleet::until(async || left.held_and_waiting("main/anthropic/*").await.1 == 1).await;

        let told = out(&fleet.command(&["gates"], &file));
        assert!(told.contains("account one: 1 of 1 held, 0 waiting\n  holds n"), "{told}");
        assert!(told.contains(" on left/0\n"), "{told}");
        assert!(told.contains("pool main/anthropic/*: 0 held, 1 waiting\n  waits n"), "{told}");
        assert!(told.contains(" on right/0\n"), "{told}");
        let json = fleet.command(&["gates", "--json"], &file);
        let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
        let one = json["gates"].as_array().expect("a list").iter().find(|g| g["name"] == "one");
        let lease = one.expect("held")["held"][0]["lease"].as_str().expect("a name").to_owned();
        assert_eq!(json["nodes"].as_array().map(Vec::len), Some(2));

        // It really runs: who waits has its slot now, and the gateway's audit finds that out and tells
        // the store again.
        let released = fleet.command(&["release", &lease], &file);
        assert!(released.status.success(), "{}", err(&released));
        assert_eq!(out(&released), format!("released {lease}\n"));
        assert!(err(&released).contains("released by an operator"), "{}", err(&released));
        fleet.mock.until("mock-one", |stats| stats.open == 2).await;
        fleet::until(async || left.held_and_waiting("one").await.0 == 2).await;
        hold.add_permits(2);
        assert_eq!(holds.await.expect("no panic").0, 200);
        assert_eq!(waits.await.expect("no panic").0, 200);
        fleet::until(async || left.held_and_waiting("one").await == (0, 0)).await;

        let gone = fleet.command(&["release", &lease], &file);
        assert_eq!(gone.status.code(), Some(1));
        assert!(err(&gone).contains("holds nothing and waits for nothing"), "{}", err(&gone));
        let bad = fleet.command(&["release", "first"], &file);
        assert!(err(&bad).contains("must be nNODE.rREQUEST.aATTEMPT"), "{}", err(&bad));
    });
}

#[test]
fn of_a_store_in_memory_only_its_gateway_knows() {
    fleet::run("in-memory", PROGRAM, plan().0, async |fleet| {
        let file = fleet.file("memory", "memory");
        for words in [&["gates"][..], &["release", "n1.r1.a1"]] {
            let output = fleet.command(words, &file);
            assert_eq!(output.status.code(), Some(1));
            assert!(err(&output).contains("only the gateway itself knows"), "{}", err(&output));
            assert!(err(&output).contains("GET /debug/gates at 127.0.0.1:0"), "{}", err(&output));
        }
    });
}

#[test]
fn a_gateway_whose_redis_is_away_is_not_ready() {
    fleet::run("away", PROGRAM, plan().0.degraded("reject"), async |mut fleet| {
        let gateway = fleet.gateway("one").await;
        fleet.redis.kill();
        fleet::until(async || !gateway.is_ready().await).await;
        fleet.redis.restart();
        gateway.until_ready().await;
        assert!(!gateway.said().contains("panic"), "{}", gateway.said());
    });
}

/// Connections that break while they are being made, on which no answer ever comes.
#[test]
fn a_gateway_comes_back_from_connections_that_never_answered() {
    fleet::run("deaf", PROGRAM, plan().0.degraded("reject"), async |fleet| {
        let (road, begin) = BadRoad::to(fleet.redis.socket()).await;
        let gateway = fleet.gateway_at("one", &format!("redis://{begin}")).await;
        road.meet(Trouble::Reset);
        road.meet(Trouble::HalfOpen);
        fleet::until(async || !gateway.is_ready().await).await;
        road.meet(Trouble::None);
        gateway.until_ready().await;
    });
}
