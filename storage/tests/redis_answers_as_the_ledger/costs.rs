//! What the store costs, in bytes and in time within the server: the numbers of docs/storage.md. A
//! measurement, run by hand: `-- --ignored --nocapture costs`.

use std::ops::Range;

use sluice_engine::store::{
    AccountDef, Define, Discipline, Enter, HealthRules, Instance, Limit, Mark, PROTOCOL, PoolDef,
    StoreOp, StoreReply, Version, Want,
};
use sluice_engine::{
    AccountId, Ask, Attempt, LeaseId, ModelId, NodeId, PoolId, RequestId, Span, Time, UserId,
};
use sluice_test_redis::{Connection, Server};

use crate::redis::Redis;

const REQUESTS: u64 = 20_000;
/// Rates are compared in slices that take turns: odd, so that there is a middle one; of so many requests.
const SLICES: u64 = 41;
const SLICE: u64 = 1_000;
const NOW: Time = Time(1_700_000_000_000_000);
const VERSION: Version = Version { stamp: 1, digest: u64::MAX };

/// What others take a slot by, to compare with: drop what is over, count, add.
const PLAIN: &str = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 900000)
if redis.call('ZCARD', KEYS[1]) >= 1000000 then return 0 end
redis.call('ZADD', KEYS[1], now, ARGV[1]) redis.call('EXPIRE', KEYS[1], 900) return 1";

fn accounts(count: u64) -> Define {
    let ids: Vec<AccountId> = (1..=count).map(AccountId).collect();
    let def = |id: &AccountId| AccountDef {
        account: *id,
        limit: Limit::Slots(1_000_000),
        priority: 1,
        oauth: false,
    };
    Define {
        version: VERSION,
        discipline: Discipline::Settle,
        health: HealthRules::default(),
        accounts: ids.iter().map(def).collect(),
        pools: vec![PoolDef { pool: PoolId(1), prefer_oauth: false, members: ids }],
    }
}

fn user(id: u64, limit: Limit) -> Want {
    Want::User { user: UserId(id), limit, version: VERSION, line_max: u32::MAX }
}

fn enter(node: NodeId, request: u64, attempt: u16, want: Want) -> StoreOp {
    let lease = LeaseId { node, request: RequestId(request), attempt: Attempt(attempt) };
    let patience = Some(Span::from_secs(30));
    StoreOp::Enter(Enter { lease, ask: Ask(request), want, tag: None, patience, ttl: None })
}

fn leave(node: NodeId, request: u64, attempt: u16) -> StoreOp {
    let lease = LeaseId { node, request: RequestId(request), attempt: Attempt(attempt) };
    StoreOp::Leave { lease, mark: (attempt > 0).then_some(Mark::Ok), fence: false }
}

fn measure(redis: &mut Redis, what: &str, requests: Range<u64>, op: impl Fn(u64) -> StoreOp) {
    measure_any(redis, what, requests, |redis, request| {
        redis.apply(NOW, &op(request)).expect("it answers");
    });
}

fn measure_any(redis: &mut Redis, what: &str, requests: Range<u64>, run: impl Fn(&mut Redis, u64)) {
    let (bytes, count) = (redis.bytes(), requests.end - requests.start);
    redis.begin_timing();
    for request in requests {
        run(redis, request);
    }
    let us = redis.us_per_script();
    let more = redis.bytes() as i64 - bytes as i64;
    eprintln!("{what:>22}: {us} µs, {:>4} bytes", more / count as i64);
}

/// A server with so many accounts, and a node that has joined.
fn begun(server: &Server, count: u64) -> (Redis, NodeId) {
    let mut redis = Redis::new(server, |text| text);
    redis.apply(NOW, &StoreOp::Define(accounts(count))).expect("it answers");
    let join = StoreOp::Join {
        instance: Instance("one".into()),
        replaces: None,
        resume: false,
        protocol: PROTOCOL,
    };
    let Ok((StoreReply::Joined { node, .. }, _)) = redis.apply(NOW, &join) else {
        panic!("nobody else has this name");
    };
    (redis, node)
}

fn survey(model: ModelId) -> StoreOp {
    StoreOp::Survey { pool: PoolId(1), model, session: None, excluded: Vec::new(), best: 8 }
}

fn any(model: ModelId) -> Want {
    Want::Pool {
        pool: PoolId(1),
        model,
        best: [AccountId(1)].into_iter().collect(),
        excluded: Vec::new(),
        line_max: Some(20),
    }
}

/// The server's processor time for each of these questions, in µs; so many clients ask at once, and each
/// must be answered as is said.
fn us_each(
    redis: &mut Redis,
    clients: &mut [Connection],
    asked: impl IntoIterator<Item = (&'static str, Vec<String>)>,
) -> f64 {
    let asked: Vec<_> = asked.into_iter().collect();
    let before = redis.cpu_secs();
    for round in asked.chunks(clients.len()) {
        for (client, (_, words)) in clients.iter_mut().zip(round) {
            client.tell(words).expect("it listens");
        }
        for (client, (answer, _)) in clients.iter_mut().zip(round) {
            assert_eq!(client.hear().expect("it answers")[0], *answer);
        }
    }
    (redis.cpu_secs() - before) * 1e6 / asked.len() as f64
}

#[test]
#[ignore = "a measurement"]
fn throughput() {
    for count in [3, 100] {
        let Some(server) = Server::start(&format!("throughput-{count}"), &[]) else { return };
        let (mut redis, node) = begun(&server, count);
        let open = |_| Connection::open(&server.socket()).expect("the server listens");
        let mut clients: Vec<_> = (0..50).map(open).collect();
        let digest = redis.load(PLAIN);
        // The first warms up.
        let slices: Vec<_> = (0..=SLICES)
            .map(|n| slice(&mut redis, &mut clients, node, &digest, (n + 1) << 40))
            .skip(1)
            .collect();
        eprintln!("{count} accounts, as shares of the rate of a plain script:");
        for (n, (what, _)) in slices[0].iter().enumerate() {
            let shares = slices.iter().map(|slice| slice[n].1);
            eprintln!("{what:>50} {:.0} %", 100.0 * median(shares));
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The rate of every operation and of the plain script, one soon after the other: the share of it that
/// each has.
fn slice(
    redis: &mut Redis,
    clients: &mut [Connection],
    node: NodeId,
    digest: &str,
    first: u64,
) -> Vec<(&'static str, f64)> {
    let all = first..first + SLICE;
    let plain = |n: u64| {
        let words = ["EVALSHA", digest, "1", "slots", &n.to_string()];
        ("1", words.map(str::to_owned).to_vec())
    };
    let plain = us_each(redis, clients, all.clone().map(plain));
    redis.ask(&["DEL", "slots"]);
    let mut of = |answer, op: &dyn Fn(u64) -> StoreOp| {
        let asked: Vec<_> = all.clone().map(|n| (answer, redis.asked(NOW, &op(n)))).collect();
        us_each(redis, clients, asked)
    };
    let model = ModelId(u64::MAX / 3);
    let costs = [
        ("user Enter", of("held", &|n| enter(node, n, 0, user(n, Limit::Slots(3))))),
        ("Survey", of("surveyed", &|_| survey(model))),
        ("account Enter", of("held", &|n| enter(node, n, 1, any(model)))),
        ("account Leave", of("done", &|n| leave(node, n, 1))),
        ("user Leave", of("done", &|n| leave(node, n, 0))),
    ];
    let mix = costs.iter().map(|(_, us)| us).sum::<f64>() / costs.len() as f64;
    let handed = handed_over(redis, clients, node, first);
    let both = [("all five", mix), ("Enter that waits, Leave that hands on, claim", handed)];
    costs.into_iter().chain(both).map(|(what, us)| (what, plain / us)).collect()
}

/// The same where each slot is handed on: every client has a gate of one slot, with ten requests in its
/// line; one comes, who holds the slot leaves, and who is granted it claims it.
fn handed_over(redis: &mut Redis, clients: &mut [Connection], node: NodeId, first: u64) -> f64 {
    let gates = clients.len() as u64;
    let ask = |n: u64, ask| {
        let lease = LeaseId { node, request: RequestId(first + n), attempt: Attempt(0) };
        let (want, patience) = (user(first + n % gates, Limit::Slots(1)), Span::from_secs(30));
        let ask = Ask(ask);
        StoreOp::Enter(Enter { lease, ask, want, tag: None, patience: Some(patience), ttl: None })
    };
    let (rounds, line) = (SLICE / gates, 10 * gates);
    let begin = (0..line).map(|n| (if n < gates { "held" } else { "waiting" }, ask(n, 1)));
    let turns = (0..rounds).flat_map(|round| {
        let round = round * gates..(round + 1) * gates;
        let come = round.clone().map(|n| ("waiting", ask(n + line, 1)));
        let go = round.clone().map(|n| ("done", leave(node, first + n, 0)));
        let claim = round.map(|n| ("held", ask(n + gates, 2)));
        come.chain(go).chain(claim).collect::<Vec<_>>()
    });
    // Without a claim: none of these is measured.
    let rest = (SLICE..SLICE + line).map(|n| ("done", leave(node, first + n, 0)));
    let words = |ops: Vec<(&'static str, StoreOp)>| -> Vec<_> {
        ops.into_iter().map(|(answer, op)| (answer, redis.asked(NOW, &op))).collect()
    };
    let [begin, turns, rest] = [begin.collect(), turns.collect(), rest.collect()].map(words);
    us_each(redis, clients, begin);
    let us = us_each(redis, clients, turns);
    us_each(redis, clients, rest);
    us
}

#[test]
#[ignore = "a measurement"]
fn costs() {
    let Some(server) = Server::start("costs", &[]) else { return };
    let (mut redis, node) = begun(&server, 20);
    let first = 1 << 40;
    let digest = redis.load(PLAIN);
    measure_any(&mut redis, "a plain slot script", first..first + REQUESTS, |redis, request| {
        redis.ask(&["EVALSHA", &digest, "1", "slots", &request.to_string()]);
    });
    let all = first..first + REQUESTS;
    let model = ModelId(u64::MAX / 3);
    let own = |request: u64| enter(node, request, 0, user(request, Limit::Slots(3)));
    measure(&mut redis, "Enter, user", all.clone(), own);
    measure(&mut redis, "Enter, account", all.clone(), |r| enter(node, r, 1, any(model)));
    measure(&mut redis, "Survey of 20", all.clone(), |_| survey(model));
    measure(&mut redis, "Leave, account", all.clone(), |r| leave(node, r, 1));
    measure(&mut redis, "Leave, user", all, |r| leave(node, r, 0));
    let waits = |request: u64| enter(node, request, 0, user(request / 20, Limit::Slots(1)));
    measure(&mut redis, "Enter, 19 of 20 wait", first..first + REQUESTS, waits);
    measure(&mut redis, "Leave, handing on", first..first + REQUESTS, |r| leave(node, r, 0));
}
