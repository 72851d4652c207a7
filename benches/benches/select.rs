//! Selection: surveying a pool and ranking its best, by the number of its accounts.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_benches::{MODEL, POOL, World};
use sluice_engine::store::{BEST_MAX, StoreOp};
use sluice_engine::{Ledger, Time};

/// A pool with some load on it, so that ranks differ.
fn loaded(accounts: u64) -> Ledger {
    let mut world = World::new(accounts);
    for _ in 0..accounts.min(900) {
        world.arrive();
    }
    world.here.ledger
}

fn select(c: &mut Criterion) {
    let mut group = c.benchmark_group("select");
    for accounts in [10, 100, 1_000, 10_000] {
        group.bench_function(BenchmarkId::from_parameter(accounts), |b| {
            let mut ledger = loaded(accounts);
            b.iter(|| {
                let survey = StoreOp::Survey {
                    pool: POOL,
                    model: MODEL,
                    session: None,
                    excluded: Vec::new(),
                    best: BEST_MAX as u8,
                };
                black_box(ledger.apply(Time(2_000_000), survey))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, select);
criterion_main!(benches);
