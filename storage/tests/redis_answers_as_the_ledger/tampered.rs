//! The comparison must find what it is there for: scripts with one thing about them spoilt are found
//! out. `SLUICE_COUNTS=1` with `--nocapture` shows after how many sequences.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use proptest_state_machine::ReferenceStateMachine;
use sluice_test_redis::Server;

use crate::redis::Redis;
use crate::world::World;
use crate::{Pair, on_a_large_stack};

/// What is spoilt: a piece of the scripts, and what stands there instead.
const TAMPERS: &[(&str, &str)] = &[
    ("clock + math.min(gone, GAP_MAX)", "clock + gone"),
    ("raw + gone", "now"),
    ("limit >= 0 and held >= limit", "limit >= 0 and held > limit"),
    ("if guard == 2 then break end", ""),
    ("if limit ~= wanted or version ~= ARGV[11] then break end", ""),
    ("if limit == 0 then break end", ""),
    ("pool or waiting >= tonumber(ARGV[10])", "pool or waiting > tonumber(ARGV[10])"),
    ("before = call('ZRANK', line, place)", "before = waiting"),
    ("if ask <= lease[6] or", "if ask < lease[6] or"),
    ("if not pool then break end", ""),
    ("name, gate = its, call('HGET', P .. 'g', its)", "name = its"),
    ("due_from = math.min(due_from, due)", ""),
    ("call('ZREM', P .. 'due', ARGV[1] .. key)", ""),
    ("pools_waited > 0 or guard > 0", "guard > 0"),
    ("guard > 0 or listed == 0", "listed == 0"),
    ("settles == 0 or limit < 0", "limit < 0"),
    ("if waiting > 0 and held == limit then", "if waiting > 0 then"),
    ("its_line ~= '' or claim_by >= 0", "its_line ~= ''"),
    ("its_line ~= '' or claim_by >= 0", "claim_by >= 0"),
    ("if waiting == 1 then call('SREM', P .. 'waited:g', name) end", ""),
    ("call('SADD', P .. 'waited:g', name)", ""),
    ("held, last, reply = held + 1, stamp,", "held, reply = held + 1,"),
    (
        "held, waiting, last, counter = held + 1, waiting - 1, counter,",
        "held, waiting, counter = held + 1, waiting - 1,",
    ),
    ("first or before, but", "before, but"),
    ("ask <= lease.ask", "ask < lease.ask"),
    ("opens_in > patience", "opens_in >= patience"),
    ("version >= gate.version", "version > gate.version"),
    ("if gate.held == 0 then idle[name] = true end", ""),
    ("if is_empty(line) then idle[line] = true end", ""),
    ("granted < key.stamp", "granted <= key.stamp"),
    ("key.failures < rules.failures_to_eject", "key.failures <= rules.failures_to_eject"),
    ("if settles and not former then stop_counting_the_held() end", ""),
    ("lease.ask <= as_of", "lease.ask < as_of"),
    ("if way == 'settled' or settles then", "if true then"),
    ("if given_up then settle(given_up) end", ""),
    ("load < 100", "load <= 100"),
    ("known >= MODEL_KEYS_MAX", "known > MODEL_KEYS_MAX"),
    ("hand_probes(lease.id, name, gate, false)", ""),
    ("not has(lease.excluded, string.sub(name, 2))", "true"),
    ("if full and not asked_tag", "if full"),
    ("if lease.gate and lease.claim_by then", "if false then"),
    ("for done = 0, max - 1 do", "for done = 0, max do"),
    ("due_from = math.min(due_from, at)", ""),
    ("open_from = math.min(open_from, key.ends)", ""),
    ("(not lease.expires or lease.claim_by <= lease.expires)", "true"),
    ("string.format('(%.0f', clock)", "clock"),
    ("if last ~= other[3] then return last < other[3] end", ""),
    ("gate.limit < 0 or gate.held < gate.limit", "gate.limit < 0 or gate.held <= gate.limit"),
    ("before + 1, lease.tag", "before, lease.tag"),
    ("lease.since, touched[lease.id] = line, raw,", "lease.since, touched[lease.id] = line, 0,"),
    ("if key.half_open and key.probe == id then", "if key.half_open then"),
];

/// The number of the first of the fixed sequences in which it is found out.
fn found(redis: &mut Redis) -> Option<u32> {
    let config = Config { rng_seed: RngSeed::Fixed(7), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let any = World::sequential_strategy(1..=200);
    (1..=CASES).find(|_| {
        let (mut world, steps, _) =
            any.new_tree(&mut runner).expect("nothing is rejected").current();
        let mut pair = Pair::new(&world, redis);
        let mut same = pair.follow(&world).is_ok();
        for step in steps {
            if !same {
                break;
            }
            world.step(&step);
            same = pair.follow(&world).is_ok();
        }
        !same || pair.end().is_err()
    })
}

#[test]
fn whatever_is_spoilt_is_found_out() {
    on_a_large_stack(spoil);
}

fn spoil() {
    let Some(server) = Server::start("tampered", &[]) else { return };
    let mut blind = Vec::new();
    for (piece, instead) in TAMPERS {
        let mut spoilt = 0;
        let mut redis = Redis::new(&server, |text| {
            spoilt += text.matches(piece).count();
            text.replace(piece, instead)
        });
        assert!(spoilt > 0, "no script has {piece:?}");
        let found = found(&mut redis);
        if std::env::var_os("SLUICE_COUNTS").is_some() {
            eprintln!("{piece:?}: found in sequence {found:?}");
        }
        if found.is_none() {
            blind.push(piece);
        }
    }
    assert!(blind.is_empty(), "not found in {CASES} sequences: {blind:?}");
}

/// Sequences that must suffice to find each tampering.
const CASES: u32 = 512;
