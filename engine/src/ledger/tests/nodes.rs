//! Sessions of nodes.

use super::*;
use crate::store::DUE_PER_OP;

#[test]
fn an_instance_has_one_node_and_only_who_names_it_succeeds_it() {
    let mut store = Store::new(1, 0);
    let first = store.node;
    assert_eq!(store.try_join("one", None, true), StoreReply::Taken { node: first });
    assert_eq!(store.try_join("one", Some(NodeId(1)), true), StoreReply::Taken { node: first });
    let second = store.join("one", Some(first), false);
    assert!(second > first);
    assert_eq!(store.beat(), StoreReply::Lost, "the former one is no more");
    assert_eq!(store.try_join("one", Some(first), false), StoreReply::Taken { node: second });
}

#[test]
fn a_restart_frees_the_former_nodes_slots_at_once_and_hands_them_on() {
    let mut store = Store::new(1, 1);
    let first = store.node;
    store.holds(1, home(A), A);
    store.waits(2, home(A), 1);
    store.node = store.join("two", None, false);
    store.waits(3, home(A), 2);
    store.join("one", Some(first), false);
    assert_eq!(store.granted(), [3], "its own ticket went first");
}

#[test]
fn resuming_renames_slots_tickets_grants_and_probes() {
    let mut store = Store::new(1, 1);
    let first = store.node;
    store.holds(9, home(A), A);
    store.leave_with(9, close(Scope::Account, 1));
    store.pass(Span::from_secs(1));
    let tag = store.holds(1, home(A), A);
    store.waits(2, home(A), 1);
    let fenced = store.lease(3);
    store.apply(StoreOp::Leave { lease: fenced, mark: None, fence: true });
    store.pass(Span::from_secs(8));
    store.facts();
    store.node = store.join("one", Some(first), true);
    let to = store.lease(1);
    let from = LeaseId { node: first, ..to };
    assert!(store.facts().contains(&Fact::Renamed { from, to }));
    assert_eq!(store.holds(1, home(A), A), tag);
    store.health(A, HealthChange::Proved(to));
    store.leave(1);
    assert_eq!(store.granted(), [2]);
    store.holds(3, home(B), B);
    store.pass(Span::from_secs(3));
    assert_eq!(store.held(A), 0, "the renamed grant has passed on");
}

#[test]
fn a_session_ends_ten_seconds_after_its_last_beat() {
    let mut store = Store::new(1, 0);
    let other = store.join("two", None, false);
    let members = |store: &mut Store| match store.beat() {
        StoreReply::Alive { members, leases, .. } => (members, leases),
        reply => panic!("{reply:?}"),
    };
    store.pass(Span::from_secs(9));
    store.holds(1, pool(), A);
    assert_eq!(members(&mut store), (vec![store.node, other], 1));
    store.pass(Span::from_secs(1));
    assert_eq!(members(&mut store), (vec![store.node], 1));
    store.node = other;
    assert_eq!(store.beat(), StoreReply::Lost);
    assert_eq!(store.ask(1, pool()), StoreReply::Lost);
    let lease = store.lease(1);
    let leave = StoreOp::Leave { lease, mark: None, fence: true };
    assert_eq!(store.apply(leave), StoreReply::Lost);
    let change = HealthChange::Proved(lease);
    let proved = StoreOp::Health { account: A, model: None, change };
    assert_eq!(store.apply(proved), StoreReply::Lost);
}

/// Node one's session is over; node two lives and waits for what it held.
fn one_is_dead() -> Store {
    let mut store = Store::new(2, 1);
    for request in 1..=2 {
        store.holds(request, home(A), A);
    }
    store.holds(3, home(B), B);
    store.waits(4, home(A), 1);
    store.waits(5, home(B), 1);
    store.node = store.join("two", None, false);
    store.waits(10, home(A), 2);
    store.waits(11, home(A), 3);
    store.pass(Span::from_secs(10));
    store
}

#[test]
fn reaping_takes_tickets_first_then_leases_a_bounded_number_at_a_time() {
    let mut store = one_is_dead();
    let reap = StoreOp::Reap { max: 3 };
    assert_eq!(store.apply(reap.clone()), StoreReply::Reaped { more: true });
    assert_eq!((store.granted(), store.held(B)), (vec![10], 1));
    assert_eq!(store.apply(reap.clone()), StoreReply::Reaped { more: false });
    assert_eq!((store.granted(), store.held(B)), (vec![11], 0));
    assert_eq!(store.ledger.counters().leases_reaped, 5);
    assert_eq!(store.apply(reap), StoreReply::Reaped { more: false });
    assert_eq!(store.ledger.nodes.len(), 1);
}

#[test]
fn who_joins_late_after_its_node_was_reaped_need_not_know_it() {
    let mut store = one_is_dead();
    let StoreReply::Taken { node } = store.try_join("one", None, false) else {
        panic!("it is not reaped yet")
    };
    store.apply(StoreOp::Reap { max: 128 });
    store.join("one", Some(NodeId(node.0 + 77)), true);
}

#[test]
fn tombstones_are_forgotten_by_beats() {
    let mut store = Store::new(1, 0);
    for request in 0..300 {
        let lease = store.lease(request);
        store.apply(StoreOp::Leave { lease, mark: None, fence: true });
    }
    let lease = store.lease(7);
    store.pass(Span::from_secs(59));
    store.apply(StoreOp::Leave { lease, mark: None, fence: true });
    store.pass(Span::from_secs(1));
    let left = |store: &Store| store.ledger.nodes[&store.node].tombstones.len();
    assert_eq!(left(&store), 101, "200 a beat, and one was renewed");
    store.beat();
    assert_eq!(left(&store), 1);
    assert_eq!(store.ask(7, pool()), StoreReply::Left);
}

#[test]
fn an_emptied_session_is_forgotten_though_others_are_not_reaped_yet() {
    let mut store = Store::new(9, 0);
    let first = store.node;
    store.holds(1, pool(), A);
    store.node = store.join("two", None, false);
    store.holds(1, pool(), A);
    store.holds(2, pool(), A);
    let second = store.node;
    store.node = store.join("three", None, false);
    store.pass(Span::from_secs(10));
    assert_eq!(store.apply(StoreOp::Reap { max: 2 }), StoreReply::Reaped { more: true });
    let left: Vec<NodeId> = store.ledger.nodes.keys().copied().collect();
    assert!(!left.contains(&first) && left.contains(&second));
    store.join("one", None, false);
}

#[test]
fn what_is_due_counts_towards_the_max_of_a_reap() {
    let mut store = one_is_dead();
    let due = DUE_PER_OP as u64 + 2;
    for request in 20..20 + due {
        let mut brief = store.enter(request, home(B));
        (brief.tag, brief.patience) = (Some(Tag(1)), Some(Span::from_secs(1)));
        assert!(matches!(store.apply(StoreOp::Enter(brief)), StoreReply::Waiting { .. }));
    }
    store.now = store.now + Span::from_secs(1);
    assert_eq!(store.apply(StoreOp::Reap { max: 3 }), StoreReply::Reaped { more: true });
    assert_eq!(store.ledger.counters().leases_reaped, 1, "the other two were due");
}

#[test]
fn every_store_is_told_from_the_others_by_its_epoch() {
    let mut store = Store::new(1, 0);
    let epoch = store.ledger.epoch();
    assert_ne!(epoch, Ledger::new(START + Span(1)).epoch());
    let StoreReply::Alive { epoch: told, .. } = store.beat() else { panic!("it lives") };
    assert_eq!(told, epoch);
}
