//! The ledger's operations: entering and leaving with room, and handing over with a line.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_benches::{MODEL, POOL, World};
use sluice_engine::store::{Enter, StoreOp, StoreReply, Want};
use sluice_engine::{Ask, Attempt, LeaseId, Ledger, NodeId, RequestId, Span, Time};

const NOW: Time = Time(2_000_000);

/// A ledger with 100 accounts of 10 slots, and the node to ask as.
fn ledger() -> (Ledger, NodeId) {
    let world = World::new(100);
    let node = world.engine.node().expect("the world has joined");
    (world.here.ledger, node)
}

fn enter(lease: LeaseId) -> StoreOp {
    let line_max = Some(1_000);
    let best = Default::default();
    StoreOp::Enter(Enter {
        lease,
        ask: Ask(1),
        want: Want::Pool { pool: POOL, model: MODEL, best, excluded: Vec::new(), line_max },
        tag: None,
        patience: Some(Span::from_secs(30)),
        ttl: None,
    })
}

const fn lease(node: NodeId, n: u64) -> LeaseId {
    LeaseId { node, request: RequestId(n), attempt: Attempt(1) }
}

fn leave(lease: LeaseId) -> StoreOp {
    StoreOp::Leave { lease, mark: None, fence: false }
}

fn uncontended(c: &mut Criterion) {
    c.bench_function("ledger/enter and leave with room", |b| {
        let (mut ledger, node) = ledger();
        let mut n = 1_000;
        b.iter(|| {
            n += 1;
            black_box(ledger.apply(NOW, enter(lease(node, n))));
            black_box(ledger.apply(NOW, leave(lease(node, n))));
        });
    });
}

fn handed_over(c: &mut Criterion) {
    c.bench_function("ledger/leave, hand over, claim, line of 500", |b| {
        let (mut ledger, node) = ledger();
        for n in 0..1_500 {
            ledger.apply(NOW, enter(lease(node, n)));
        }
        let (mut oldest, mut newest) = (0, 1_500);
        b.iter(|| {
            let (_, grants) = ledger.apply(NOW, leave(lease(node, oldest)));
            let granted = grants.first().expect("somebody waits").lease;
            let StoreOp::Enter(mut claim) = enter(granted) else { unreachable!("it is an Enter") };
            claim.ask = Ask(2);
            let (reply, _) = ledger.apply(NOW, StoreOp::Enter(claim));
            assert!(matches!(reply, StoreReply::Held { .. }), "a grant is claimed");
            ledger.apply(NOW, enter(lease(node, newest)));
            (oldest, newest) = (oldest + 1, newest + 1);
        });
    });
}

criterion_group!(benches, uncontended, handed_over);
criterion_main!(benches);
