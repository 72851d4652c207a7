//! Scenarios of one engine and one ledger in a small world, with every answer in the test's hand.

mod choosing;
mod journal;
mod node_life;
mod requests;
mod resync;
mod store_away;
mod store_trouble;
mod waiting;
mod world;
