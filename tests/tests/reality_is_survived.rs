//! Gateways as processes, a real Redis, and clients without pause, while gateways and Redis are killed
//! and stopped and the road between them is bad. What the upstream counts is the judge.
//!
//! Nothing here repeats itself exactly; only what must hold in every run is asserted, the rest is
//! printed. `SLUICE_REALITY_SECONDS` (5), `SLUICE_REALITY_CLIENTS` (24), `SLUICE_REALITY_EVERY_MS` (1500;
//! between two blows), `SLUICE_REALITY_AWAY_MS` (2000; how long Redis stands still before it is killed) and
//! `SLUICE_REALITY_SEED` (1) make the runs longer or other ones; `SLUICE_BIN` names
//! the program to be run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use sluice_engine::rng::{Purpose, Seed};
use sluice_runtime_tokio::mock::Behaviour;
use sluice_runtime_tokio::protocol::sse;
use sluice_tests::fleet::{self, Fleet, FleetPlan, Gateway, Stopwatch};
use sluice_tests::trouble::BadRoad;
use sluice_tests::{hello, named, post, together, try_send};
use tokio::time::sleep;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-under-test");
const ACCOUNTS: [&str; 3] = ["one", "two", "three"];
const SLOTS: u32 = 4;
/// What the end of a storm may take, and all that is not the storm itself.
const BESIDES: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seed() -> Seed {
    Seed(setting("SLUICE_REALITY_SEED", 1))
}

fn long() -> Duration {
    Duration::from_secs(setting("SLUICE_REALITY_SECONDS", 5))
}

fn every() -> Duration {
    Duration::from_millis(setting("SLUICE_REALITY_EVERY_MS", 1_500))
}

fn away() -> Duration {
    Duration::from_millis(setting("SLUICE_REALITY_AWAY_MS", 2_000))
}

/// Answers take a few hundredths of a second.
fn plan() -> FleetPlan {
    let behaviour = |name: &str| Behaviour {
        latency: Duration::from_millis(5),
        words: 5,
        pace: Duration::from_millis(5),
        ..named(name)
    };
    let add = |plan: FleetPlan, name: &&str| plan.account(name, SLOTS, behaviour(name));
    ACCOUNTS.iter().fold(FleetPlan::default(), add)
}

/// What clients of one gateway were told, and how long the slowest good answer took.
#[derive(Default, Debug)]
struct Told {
    answers: BTreeMap<String, u64>,
    slowest: Duration,
}

/// A storm of clients before two gateways.
#[derive(Default)]
struct Storm {
    over: Cell<bool>,
    addresses: [Cell<Option<SocketAddr>>; 2],
    told: [RefCell<Told>; 2],
}

impl Storm {
    /// Clients that ask without pause, each always the same gateway.
    fn clients(self: &Rc<Self>) -> tokio::task::JoinHandle<Vec<()>> {
        let count = setting("SLUICE_REALITY_CLIENTS", 24) as usize;
        let client = |n: usize| {
            let storm = self.clone();
            async move {
                let mut asked = n;
                while !storm.over.get() {
                    asked += 1;
                    let begun = Stopwatch::start();
                    let answer = storm.ask(n % 2, asked.is_multiple_of(2)).await;
                    let unheard = answer == "nobody";
                    storm.note(n % 2, answer, begun.shows());
                    if unheard {
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        tokio::task::spawn_local(together((0..count).map(client).collect()))
    }

    async fn ask(&self, gateway: usize, stream: bool) -> String {
        let Some(address) = self.addresses[gateway].get() else { return "nobody".to_owned() };
        let Ok(mut reply) = try_send(address, post("alice", &hello(stream))).await else {
            return "nobody".to_owned();
        };
        let (status, (body, ended)) = (reply.status(), reply.rest().await);
        if !ended {
            return "broke off".to_owned();
        }
        let last = sse::events(&body).last().map(|event| event.name.to_vec());
        let limited = b"rate_limit_error".as_slice();
        match last.as_deref() {
            Some(b"error") if body.windows(limited.len()).any(|part| part == limited) => {
                "429".to_owned()
            }
            Some(b"error") => "error event".to_owned(),
            Some(b"message_stop") | None => status.to_string(),
            Some(_) => "bad end".to_owned(),
        }
    }

    fn note(&self, gateway: usize, answer: String, took: Duration) {
        let mut told = self.told[gateway].borrow_mut();
        if answer == "200" {
            told.slowest = told.slowest.max(took);
        }
        *told.answers.entry(answer).or_default() += 1;
    }

    fn count(&self, gateway: usize, answer: &str) -> u64 {
        self.told[gateway].borrow().answers.get(answer).copied().unwrap_or_default()
    }

    /// The most that an account had open at once.
    fn most(fleet: &Fleet) -> u32 {
        let stats = ACCOUNTS.map(|name| fleet.mock.stats(&format!("mock-{name}")));
        assert!(stats.iter().all(|stats| stats.requests > 0), "every account was used");
        eprintln!("{:?}", stats.each_ref().map(|stats| (stats.requests, stats.open_max)));
        stats.iter().map(|stats| stats.open_max).max().unwrap_or_default()
    }

    /// Lets clients come to their end; afterwards nothing may be held, and both gateways must serve.
    async fn end(&self, clients: tokio::task::JoinHandle<Vec<()>>, gateways: [&Gateway; 2]) {
        self.over.set(true);
        clients.await.expect("no client panics");
        for (name, told) in ["left", "right"].iter().zip(&self.told) {
            eprintln!("{name}: {:?}", told.borrow());
        }
        for gateway in gateways {
            gateway.until_ready().await;
            for account in ACCOUNTS {
                fleet::until(async || gateway.held_and_waiting(account).await == (0, 0)).await;
            }
            assert_eq!(gateway.whole(true).await.0, 200);
            assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
        }
    }
}

fn run(name: &str, test: impl AsyncFnOnce(Fleet)) {
    run_with(name, plan(), test);
}

fn run_with(name: &str, plan: FleetPlan, test: impl AsyncFnOnce(Fleet)) {
    fleet::run_for(long() + away() + BESIDES, name, PROGRAM, plan, test);
}

#[test]
fn gateways_that_are_killed() {
    run("reality-kill", async |fleet| {
        let (mut left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        let storm = Rc::new(Storm::default());
        storm.addresses[0].set(Some(left.address()));
        storm.addresses[1].set(Some(right.address()));
        let clients = storm.clients();
        let begun = Stopwatch::start();
        let mut killed = 0;
        while begun.shows() < long() {
            sleep(every()).await;
            storm.addresses[0].set(None);
            left.kill();
            killed += 1;
            left.restart().await;
            storm.addresses[0].set(Some(left.address()));
        }
        storm.end(clients, [&left, &right]).await;
        eprintln!("killed {killed} times");
        assert!(Storm::most(&fleet) <= SLOTS, "what is killed holds nothing");
        // Nobody at the other one notices.
        let others = &storm.told[1].borrow().answers;
        assert_eq!(others.keys().collect::<Vec<_>>(), ["200"], "{others:?}");
        assert_eq!((storm.count(0, "429"), storm.count(0, "bad end")), (0, 0));
    });
}

/// No trouble lasts as long as a session. What may be exceeded is what a gateway that has lost the store
/// goes on with by itself: its share, besides what ran there.
#[test]
fn a_bad_road_and_processes_that_stand_still() {
    run("reality-road", async |fleet| {
        let (road, begin) = BadRoad::to(fleet.redis.socket()).await;
        let url = format!("redis://{begin}");
        let left = fleet.gateway_at("left", &url).await;
        let right = fleet.gateway_at("right", &url).await;
        let storm = Rc::new(Storm::default());
        storm.addresses[0].set(Some(left.address()));
        storm.addresses[1].set(Some(right.address()));
        let clients = storm.clients();
        let suffered = Rc::<RefCell<Vec<_>>>::default();
        let told = suffered.clone();
        let bad = road.clone();
        let suffers = tokio::task::spawn_local(async move {
            bad.suffer(seed(), |trouble| told.borrow_mut().push(trouble)).await;
        });
        let (begun, mut draw) = (Stopwatch::start(), seed().stream(Purpose::Client, 1, 0));
        while begun.shows() < long() {
            sleep(every()).await;
            let still = Duration::from_millis(100 + draw.below(1_000));
            match draw.below(3) {
                0 => {
                    fleet.redis.pause();
                    sleep(still).await;
                    fleet.redis.resume();
                }
                1 => {
                    left.pause();
                    sleep(still).await;
                    left.resume();
                }
                _ => fleet.redis.ask(&["SCRIPT", "FLUSH"]),
            }
        }
        suffers.abort();
        road.meet(sluice_tests::trouble::Trouble::None);
        eprintln!("{:?}", suffered.borrow());
        storm.end(clients, [&left, &right]).await;
        let most = Storm::most(&fleet);
        assert!(most <= 2 * SLOTS, "{most}");
        for gateway in [0, 1] {
            assert!(storm.count(gateway, "200") > 0);
            let refused = (storm.count(gateway, "429"), storm.count(gateway, "bad end"));
            assert_eq!(refused, (0, 0), "a fault of the store is told as one");
        }
    });
}

/// What runs on a gateway that has not told a store that knows nothing yet is beyond the limit: that is
/// the declared bound.
#[test]
fn a_redis_that_is_killed() {
    run("reality-redis", async |mut fleet| {
        let (left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        let storm = Rc::new(Storm::default());
        storm.addresses[0].set(Some(left.address()));
        storm.addresses[1].set(Some(right.address()));
        let clients = storm.clients();
        let (begun, mut draw) = (Stopwatch::start(), seed().stream(Purpose::Client, 2, 0));
        let (mut kept, mut lost) = (0, 0);
        while begun.shows() < long() {
            sleep(every()).await;
            if draw.below(2) == 0 {
                fleet.redis.save();
                kept += 1;
            } else {
                lost += 1;
            }
            fleet.redis.kill();
            sleep(Duration::from_millis(draw.below(500))).await;
            fleet.redis.restart().await;
            fleet::until(async || left.is_ready().await && right.is_ready().await).await;
        }
        storm.end(clients, [&left, &right]).await;
        eprintln!("Redis came back {kept} times with what it knew then, {lost} times with less");
        let most = Storm::most(&fleet);
        assert!(most <= 2 * SLOTS, "{most}");
        for gateway in [0, 1] {
            assert!(storm.count(gateway, "200") > 0);
            let refused = (storm.count(gateway, "429"), storm.count(gateway, "bad end"));
            assert_eq!(refused, (0, 0), "a fault of the store is told as one");
        }
    });
}

/// A Redis that answers nobody for a while, and then is another one that knows nothing.
fn away_in(mode: &str, in_between: impl Fn(&BTreeMap<String, u64>)) {
    run_with(&format!("reality-{mode}"), plan().degraded(mode), async |mut fleet| {
        let (left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        let storm = Rc::new(Storm::default());
        storm.addresses[0].set(Some(left.address()));
        storm.addresses[1].set(Some(right.address()));
        let clients = storm.clients();
        sleep(every()).await;
        fleet.redis.pause();
        fleet::until(async || left.is_degraded().await && right.is_degraded().await).await;
        let before = [0, 1].map(|gateway| storm.told[gateway].borrow().answers.clone());
        sleep(away()).await;
        for (gateway, before) in before.iter().enumerate() {
            let mut since = storm.told[gateway].borrow().answers.clone();
            for (answer, count) in &mut since {
                *count -= before.get(answer).copied().unwrap_or_default();
            }
            eprintln!("away: {since:?}");
            in_between(&since);
        }
        fleet.redis.kill();
        fleet.redis.restart().await;
        let back = Stopwatch::start();
        for gateway in [&left, &right] {
            fleet::until(async || !gateway.is_degraded().await && gateway.is_ready().await).await;
        }
        eprintln!("ready {:?} after Redis was", back.shows());
        sleep(every()).await;
        storm.end(clients, [&left, &right]).await;
        let most = Storm::most(&fleet);
        assert!(most <= 2 * SLOTS, "each has its share besides what ran there: {most}");
        for gateway in [0, 1] {
            let refused = (storm.count(gateway, "429"), storm.count(gateway, "bad end"));
            assert_eq!(refused, (0, 0), "a fault of the store is told as one");
        }
    });
}

#[test]
fn a_redis_that_is_away_is_lived_without() {
    away_in("local", |since| {
        let served = since.get("200").is_some_and(|&count| count > 0);
        assert!(served, "requests go on: {since:?}");
    });
}

#[test]
fn a_redis_that_is_away_is_told_to_everybody() {
    away_in("reject", |since| {
        let refused = since.get("503").is_some_and(|&count| count > 0);
        assert!(refused, "each is told so: {since:?}");
    });
}
