//! One whole uncontended request, arrival to end, on a memory store: what scheduling costs.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_benches::World;

fn request(c: &mut Criterion) {
    let mut group = c.benchmark_group("turn/request");
    for accounts in [1, 10, 100, 1_000] {
        group.bench_function(BenchmarkId::from_parameter(accounts), |b| {
            let mut world = World::new(accounts);
            b.iter(|| world.request());
        });
    }
    group.finish();
}

criterion_group!(benches, request);
criterion_main!(benches);
