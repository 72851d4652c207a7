//! Scenarios of one engine and one ledger in a small world, with every answer in the test's hand.

mod journal;
mod node_life;
mod requests;
mod world;
