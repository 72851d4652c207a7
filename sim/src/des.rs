//! The discrete-event world: real engines and one real ledger, driven in simulated time by an event
//! heap. It decides nothing but what the scenario says; it writes down what happens.

mod faults;
mod hands;
mod node;
mod queue;
mod store;
mod upstream;
mod world;

pub use world::run;
