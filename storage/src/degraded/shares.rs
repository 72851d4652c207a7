//! A node's share of every limit: rendezvous hashing of slots over the nodes that are known.
//!
//! A slot belongs to the node whose score for it is the highest. So nodes that know the same nodes
//! have, together, every slot exactly once; and **two nodes never claim one slot while each knows the
//! other**, whatever else they know, because one of the two scores is the higher. When a node leaves,
//! only its slots change hands.

use std::collections::BTreeSet;

use sluice_engine::store::Limit;
use sluice_engine::{GateId, NodeId};

/// The nodes that slots are shared among, and those whose slots are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shares {
    all: Vec<NodeId>,
    own: BTreeSet<NodeId>,
}

/// The most parts that a limit is shared out in. A limit above is cut into so many parts that differ
/// by at most one slot: what a share costs to compute must not grow with the limit.
const PARTS_MAX: u32 = 256;

impl Shares {
    /// Of `own` among `all`. Those of `own` that are not in `all` have no share: nobody else may know
    /// of them either.
    pub(super) fn new(all: Vec<NodeId>, own: impl IntoIterator<Item = NodeId>) -> Self {
        Self { all, own: own.into_iter().collect() }
    }

    /// What we may use of a gate's limit. `Unlimited` has no parts.
    pub(super) fn of(&self, gate: GateId, limit: Limit) -> Limit {
        match limit {
            Limit::Closed | Limit::Unlimited => limit,
            Limit::Slots(slots) => Limit::Slots(self.slots(gate, slots)).normal(),
        }
    }

    fn slots(&self, gate: GateId, slots: u32) -> u32 {
        let parts = slots.min(PARTS_MAX);
        let size = |part| slots / parts + u32::from(part < slots % parts);
        (0..parts).filter(|&part| self.is_ours(gate, part)).map(size).sum()
    }

    fn is_ours(&self, gate: GateId, part: u32) -> bool {
        let owner = self.all.iter().max_by_key(|node| (score(**node, gate, part), **node));
        owner.is_some_and(|owner| self.own.contains(owner))
    }
}

/// How much a node wants a part of a gate's limit. Part of what nodes of different releases must
/// agree on.
const fn score(node: NodeId, gate: GateId, part: u32) -> u64 {
    let (kind, id) = match gate {
        GateId::User(user) => (1, user.0),
        GateId::Account(account) => (2, account.0),
    };
    let gate = mix(mix(kind) ^ id);
    mix(mix(gate ^ part as u64) ^ mix(node.0))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*,
/// 2014).
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sluice_engine::{AccountId, UserId};

    fn slots(all: &[NodeId], own: &[NodeId], gate: GateId, limit: u32) -> u32 {
        let shares = Shares::new(all.to_vec(), own.iter().copied());
        match shares.of(gate, Limit::Slots(limit)) {
            Limit::Slots(n) => n,
            Limit::Closed => 0,
            Limit::Unlimited => panic!("a share of a limit is a limit"),
        }
    }

    fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
        let set = proptest::collection::btree_set(any::<u64>().prop_map(NodeId), 1..12);
        set.prop_map(|set| set.into_iter().collect())
    }

    fn gate() -> impl Strategy<Value = GateId> {
        prop_oneof![
            any::<u64>().prop_map(|id| GateId::User(UserId(id))),
            any::<u64>().prop_map(|id| GateId::Account(AccountId(id))),
        ]
    }

    proptest! {
        #[test]
        fn the_shares_of_nodes_that_know_the_same_add_up_to_the_limit(
            all in nodes(), gate in gate(), limit in 1u32..5_000, split in any::<u16>(),
        ) {
            let apart: u32 = all.iter().map(|node| slots(&all, &[*node], gate, limit)).sum();
            prop_assert_eq!(apart, limit);
            // Nodes of one process have their shares together.
            let (here, there): (Vec<_>, Vec<_>) =
                all.iter().enumerate().partition(|(n, _)| split >> (n % 16) & 1 == 1);
            let of = |group: Vec<(usize, &NodeId)>| {
                let own: Vec<_> = group.into_iter().map(|(_, node)| *node).collect();
                slots(&all, &own, gate, limit)
            };
            prop_assert_eq!(of(here) + of(there), limit);
        }

        #[test]
        fn when_a_node_leaves_only_its_slots_change_hands(
            all in nodes(), gate in gate(), leaver in any::<prop::sample::Index>(), part in 0..PARTS_MAX,
        ) {
            let leaver = *leaver.get(&all);
            let rest: Vec<_> = all.iter().copied().filter(|node| *node != leaver).collect();
            for &node in &rest {
                let owns = |all: &[NodeId]| Shares::new(all.to_vec(), [node]).is_ours(gate, part);
                let leavers = Shares::new(all.clone(), [leaver]).is_ours(gate, part);
                prop_assert!(owns(&rest) == owns(&all) || leavers && owns(&rest));
            }
        }

        #[test]
        fn two_nodes_that_know_each_other_never_claim_one_slot(
            one in any::<u64>(), two in any::<u64>(), known in nodes(), also in nodes(),
            gate in gate(), part in 0..PARTS_MAX,
        ) {
            prop_assume!(one != two);
            let (one, two) = (NodeId(one), NodeId(two));
            let owns = |node, others: &[NodeId]| {
                let all: BTreeSet<_> = others.iter().copied().chain([one, two]).collect();
                Shares::new(all.into_iter().collect(), [node]).is_ours(gate, part)
            };
            prop_assert!(!(owns(one, &known) && owns(two, &also)));
        }
    }

    #[test]
    fn shares_are_about_even() {
        let all: Vec<_> = (1..=4).map(|n| NodeId(1_700_000_000_000_000 + n)).collect();
        let of = |node| -> u32 {
            let account = |id| slots(&all, &[node], GateId::Account(AccountId(id)), 8);
            (0..500).map(account).sum()
        };
        for node in &all {
            assert!((900..1100).contains(&of(*node)), "{} of 4000 slots", of(*node));
        }
    }

    #[test]
    fn who_is_not_known_has_no_share() {
        let gate = GateId::User(UserId(1));
        let known = [NodeId(1), NodeId(2)];
        assert_eq!(
            Shares::new(known.to_vec(), [NodeId(3)]).of(gate, Limit::Slots(9)),
            Limit::Closed
        );
        assert_eq!(Shares::new(Vec::new(), [NodeId(3)]).of(gate, Limit::Slots(9)), Limit::Closed);
        let all = Shares::new(known.to_vec(), known);
        assert_eq!(all.of(gate, Limit::Slots(u32::MAX)), Limit::Slots(u32::MAX));
        assert_eq!(all.of(gate, Limit::Slots(0)), Limit::Closed);
        assert_eq!(all.of(gate, Limit::Closed), Limit::Closed);
        assert_eq!(all.of(gate, Limit::Unlimited), Limit::Unlimited);
    }

    #[test]
    fn scores_are_pinned_for_ever() {
        let scored = |gate| score(NodeId(7), gate, 3);
        let pinned = [scored(GateId::User(UserId(5))), scored(GateId::Account(AccountId(5)))];
        assert_eq!(pinned, PINNED, "nodes of different releases share one limit");
    }

    const PINNED: [u64; 2] = [0x67c0_54fa_0aac_e36b, 0x2d14_1fc5_46db_fa5d];
}
