//! Gateways as processes, a real Redis, and clients without pause, while gateways and Redis are killed
//! and stopped and the road between them is bad. What the upstream counts is the judge.
//!
//! Nothing here repeats itself exactly; only what must hold in every run is asserted, the rest is
//! printed. `SLUICE_REALITY_SECONDS` (5), `SLUICE_REALITY_CLIENTS` (48), `SLUICE_REALITY_EVERY_MS` (1500;
//! between two blows), `SLUICE_REALITY_AWAY_MS` (2000; how long Redis stands still before it is killed) and
//! `SLUICE_REALITY_SEED` (1) make the runs longer or other ones, `SLUICE_REALITY_SLACK_MS` (5000) is what
//! a busy machine may take longer than is promised; `SLUICE_BIN` names the program to be run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use sluice_engine::rng::{Purpose, Seed};
use sluice_engine::store::{CLAIM_WINDOW, SESSION};
use sluice_runtime_tokio::clock::Clock;
use sluice_runtime_tokio::mock::Behaviour;
use sluice_runtime_tokio::protocol::sse;
use sluice_tests::clock::WallClock;
use sluice_tests::fleet::{self, File, Fleet, FleetPlan, Gateway, Stopwatch};
use sluice_tests::trouble::BadRoad;
use sluice_tests::{hello, named, post, together, try_send};
use tokio::time::sleep;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-under-test");
const ACCOUNTS: [&str; 3] = ["one", "two", "three"];
const SLOTS: u32 = 4;
/// How often a node beats, and reaps.
const BEAT_MS: u64 = 3_000;
/// By how much clocks are set, in seconds.
const HOUR: i64 = 3_600;
/// How soon after the store's return what it says is true.
const CONVERGED: Duration = Duration::from_secs(2);
/// How soon everybody is told that there is no store.
const REJECTED: Duration = Duration::from_millis(100);
/// A client that was not served asks again after this.
const PAUSE: Duration = Duration::from_millis(100);
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

fn slack() -> Duration {
    Duration::from_millis(setting("SLUICE_REALITY_SLACK_MS", 5_000))
}

/// Answers take a few hundredths of a second.
fn plan() -> FleetPlan {
    let behaviour = |name: &str| Behaviour {
        latency: Duration::from_millis(5),
        words: 5,
        pace: Duration::from_millis(5),
        limit: Some(SLOTS),
        ..named(name)
    };
    let add = |plan: FleetPlan, name: &&str| plan.account(name, SLOTS, behaviour(name));
    ACCOUNTS.iter().fold(FleetPlan::default(), add)
}

/// What clients of one gateway were told: how often, and how long the slowest took.
type Told = BTreeMap<String, (u64, Duration)>;

/// A storm of clients before two gateways.
#[derive(Default)]
struct Storm {
    over: Cell<bool>,
    addresses: [Cell<Option<SocketAddr>>; 2],
    told: [RefCell<Told>; 2],
    /// The store is away,
    away: Cell<bool>,
    /// so many of those who asked before still wait,
    from_before: Cell<usize>,
    /// and whoever asks meanwhile is told this.
    meanwhile: [RefCell<Told>; 2],
}

impl Storm {
    fn before(gateways: [&Gateway; 2]) -> Rc<Self> {
        let storm = Self::default();
        for (address, gateway) in storm.addresses.iter().zip(gateways) {
            address.set(Some(gateway.address()));
        }
        Rc::new(storm)
    }

    /// Clients that ask without pause, each always the same gateway.
    fn clients(self: &Rc<Self>) -> tokio::task::JoinHandle<Vec<()>> {
        let count = setting("SLUICE_REALITY_CLIENTS", 48) as usize;
        let client = |n: usize| {
            let storm = self.clone();
            async move {
                let mut asked = n;
                while !storm.over.get() {
                    asked += 1;
                    if !storm.ask_and_note(n % 2, asked.is_multiple_of(2)).await {
                        sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::task::spawn_local(together((0..count).map(client).collect()))
    }

    /// Whether it was served.
    async fn ask_and_note(&self, gateway: usize, stream: bool) -> bool {
        let away = self.away.get();
        self.from_before.update(|count| count + usize::from(!away));
        let begun = Stopwatch::start();
        let answer = self.ask(gateway, stream).await;
        let took = begun.shows();
        self.from_before.update(|count| count - usize::from(!away));
        let served = answer == "200";
        if away && self.away.get() {
            note(&self.meanwhile[gateway], answer.clone(), took);
        }
        note(&self.told[gateway], answer, took);
        served
    }

    async fn ask(&self, gateway: usize, stream: bool) -> String {
        let Some(address) = self.addresses[gateway].get() else { return "nobody".to_owned() };
        let Ok(mut reply) = try_send(address, post("alice", &hello(stream))).await else {
            return "nobody".to_owned();
        };
        if reply.status() == 503 && reply.header("retry-after").is_empty() {
            return "503 without retry-after".to_owned();
        }
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

    fn count(&self, gateway: usize, answer: &str) -> u64 {
        self.told[gateway].borrow().get(answer).map_or(0, |&(count, _)| count)
    }

    /// The most that an account had open at once.
    fn most(fleet: &Fleet) -> u32 {
        let stats = ACCOUNTS.map(|name| fleet.mock.stats(&format!("mock-{name}")));
        assert!(stats.iter().all(|stats| stats.requests > 0), "every account was used");
        eprintln!("{:?}", stats.each_ref().map(|stats| (stats.requests, stats.open_max)));
        stats.iter().map(|stats| stats.open_max).max().unwrap_or_default()
    }

    /// How often an account had more open than it has slots.
    fn violations(fleet: &Fleet) -> u64 {
        ACCOUNTS.iter().map(|name| fleet.mock.stats(&format!("mock-{name}")).violations).sum()
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

fn note(told: &RefCell<Told>, answer: String, took: Duration) {
    let mut told = told.borrow_mut();
    let (count, slowest) = told.entry(answer).or_default();
    (*count, *slowest) = (*count + 1, took.max(*slowest));
}

fn run(name: &str, test: impl AsyncFnOnce(Fleet)) {
    run_with(name, plan(), test);
}

fn run_with(name: &str, plan: FleetPlan, test: impl AsyncFnOnce(Fleet)) {
    fleet::run_for(long() + away() + BESIDES, name, PROGRAM, plan, test);
}

/// The node that this instance is at present.
fn node_of(fleet: &Fleet, file: &File, instance: &str) -> String {
    let output = fleet.command(&["gates", "--json"], file);
    let view: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let nodes = view["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|node| node["name"] == instance).expect("it is a node");
    node["node"].as_str().expect("a name").to_owned()
}

/// How many slots of accounts are held, and how many of them by this node.
async fn held(gateway: &Gateway, node: &str) -> (usize, usize) {
    let (gates, of_node) = (gateway.gates().await, format!("{node}."));
    let lines = gates["gates"].as_array().expect("gates").iter();
    let accounts = lines.filter(|line| line["kind"] == "account");
    let leases: Vec<_> = accounts
        .flat_map(|line| line["held"].as_array().expect("leases"))
        .filter_map(|held| held["lease"].as_str())
        .collect();
    (leases.len(), leases.iter().filter(|lease| lease.starts_with(&of_node)).count())
}

/// One time it is started again at once, the other time only when others have its slots.
#[test]
fn gateways_that_are_killed() {
    run("reality-kill", async |fleet| {
        let (mut left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        let file = fleet.file("look", &fleet.redis.url());
        let storm = Storm::before([&left, &right]);
        let clients = storm.clients();
        let begun = Stopwatch::start();
        let (mut killed, mut unused_longest) = (0, Duration::ZERO);
        while begun.shows() < long() || killed < 2 {
            sleep(every()).await;
            let node = node_of(&fleet, &file, "left/0");
            storm.addresses[0].set(None);
            left.kill();
            killed += 1;
            if killed % 2 == 0 {
                let dead = Stopwatch::start();
                let all = (ACCOUNTS.len() * SLOTS as usize, 0);
                fleet::until(async || held(&right, &node).await == all).await;
                unused_longest = unused_longest.max(dead.shows());
            }
            left.restart().await;
            assert_eq!(held(&right, &node).await.1, 0, "its slots are free when it is there again");
            storm.addresses[0].set(Some(left.address()));
        }
        storm.end(clients, [&left, &right]).await;
        eprintln!("killed {killed} times; its slots were in use again after {unused_longest:?}");
        let promised = CLAIM_WINDOW.as_ms() + SESSION.as_ms() + BEAT_MS;
        assert!(unused_longest <= Duration::from_millis(promised) + slack());
        assert!(Storm::most(&fleet) <= SLOTS, "what is killed holds nothing");
        // Nobody at the other one notices.
        let others = storm.told[1].borrow();
        assert_eq!(others.keys().collect::<Vec<_>>(), ["200"], "{others:?}");
        drop(others);
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
        let storm = Storm::before([&left, &right]);
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
                _ => drop(fleet.redis.ask(&["SCRIPT", "FLUSH"])),
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
        let storm = Storm::before([&left, &right]);
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
            fleet.redis.restart();
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
fn away_in(mode: &str, ready: u16, in_between: impl Fn(&Told)) {
    run_with(&format!("reality-{mode}"), plan().degraded(mode), async |mut fleet| {
        let (left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        // Each hears of the other when it beats: of three beats of two nodes, each with a reap, and of
        // one that has begun, one is the other's.
        let before = fleet.redis.scripts_run();
        fleet::until(async || fleet.redis.scripts_run() >= before + 8).await;
        let storm = Storm::before([&left, &right]);
        let clients = storm.clients();
        sleep(every()).await;
        fleet.redis.pause();
        fleet::until(async || left.is_degraded().await && right.is_degraded().await).await;
        storm.away.set(true);
        // What ran goes on beyond a share.
        fleet::until(async || storm.from_before.get() == 0).await;
        let violations = Storm::violations(&fleet);
        sleep(away()).await;
        assert_eq!(Storm::violations(&fleet), violations, "shares are no more than the limit");
        for gateway in [&left, &right] {
            assert_eq!(gateway.readiness().await, Some((ready, b"degraded".to_vec())));
        }
        storm.away.set(false);
        for told in &storm.meanwhile {
            eprintln!("away: {:?}", told.borrow());
            in_between(&told.borrow());
        }
        fleet.redis.kill();
        fleet.redis.restart();
        let back = Stopwatch::start();
        for gateway in [&left, &right] {
            fleet::until(async || !gateway.is_degraded().await && gateway.is_ready().await).await;
        }
        eprintln!("ready {:?} after Redis was", back.shows());
        assert!(back.shows() <= CONVERGED + slack(), "{:?}", back.shows());
        // From then on everything that runs counts.
        sleep(CONVERGED.saturating_sub(back.shows())).await;
        let violations = Storm::violations(&fleet);
        sleep(every()).await;
        assert_eq!(Storm::violations(&fleet), violations, "the limit holds again");
        storm.end(clients, [&left, &right]).await;
        let most = Storm::most(&fleet);
        assert!(most <= 2 * SLOTS, "each has its share besides what ran there: {most}");
        for told in &storm.told {
            let mut answers = told.borrow().keys().cloned().collect::<Vec<_>>();
            answers.retain(|answer| !["200", "503"].contains(&answer.as_str()));
            assert_eq!(answers, [""; 0], "a fault of the store is told as one");
        }
    });
}

#[test]
fn a_redis_that_is_away_is_lived_without() {
    away_in("local", 200, |told| assert!(told.contains_key("200"), "requests go on: {told:?}"));
}

#[test]
fn a_redis_that_is_away_is_told_to_everybody() {
    away_in("reject", 503, |told| {
        assert_eq!(told.keys().collect::<Vec<_>>(), ["503"], "each is told so: {told:?}");
        let (_, slowest) = told["503"];
        assert!(slowest <= REJECTED + slack(), "at once: {slowest:?}");
    });
}

/// A storm while a clock is set forward by an hour and back again, as often as there is time for. Nobody
/// notices, and `shown` is to tell by how much it was set.
fn a_clock_is_set(
    name: &str,
    plan: impl FnOnce(Vec<(String, OsString)>) -> FleetPlan,
    shown: impl Fn(&Fleet) -> i64,
) {
    let Some(clock) = WallClock::new(name) else { return };
    run_with(name, plan(clock.variables()), async |fleet| {
        let (left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        let storm = Storm::before([&left, &right]);
        let clients = storm.clients();
        let begun = Stopwatch::start();
        while begun.shows() < long() {
            for shift in [HOUR, 0] {
                sleep(every()).await;
                clock.shift_by(shift);
                assert!((shown(&fleet) - shift).abs() < HOUR / 2, "{}", shown(&fleet));
            }
        }
        sleep(every()).await;
        storm.end(clients, [&left, &right]).await;
        assert!(Storm::most(&fleet) <= SLOTS);
        for told in &storm.told {
            let told = told.borrow();
            assert_eq!(told.keys().collect::<Vec<_>>(), ["200"], "{told:?}");
        }
    });
}

#[test]
fn a_clock_of_redis_that_is_set() {
    let shown = |fleet: &Fleet| {
        let time = fleet.redis.ask(&["TIME"]);
        let theirs: i64 = time.lines().next().and_then(|s| s.parse().ok()).expect("seconds");
        let ours = Clock::system().start().0 / 1_000_000;
        theirs - ours as i64
    };
    a_clock_is_set("reality-store-clock", |clock| plan().store_variables(clock), shown);
}

/// What they are asked is how far the store's is behind.
#[test]
fn a_clock_of_gateways_that_is_set() {
    let shown = |fleet: &Fleet| {
        let file = fleet.file("look", &fleet.redis.url());
        let found = fleet.command(&["doctor"], &file).stdout;
        let found = String::from_utf8(found).expect("text");
        let line =
            found.lines().find(|line| line.contains(" clock: ")).expect("it looks at clocks");
        eprintln!("{line}");
        let ms = line.split(' ').find_map(|word| word.parse::<i64>().ok()).expect("milliseconds");
        if line.contains("behind") { ms / 1000 } else { -ms / 1000 }
    };
    a_clock_is_set("reality-gateway-clock", |clock| plan().variables(clock), shown);
}
