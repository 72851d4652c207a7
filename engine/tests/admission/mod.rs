//! The parts: a `shape` is a world's plan and a `step` something that happens in it; `world` holds
//! engines, ledger and the ways between them; `reference` judges every event and action, with
//! `capacity` for slots and `verdicts` for ends; `faulty` and `quiet` are the tests,
//! `blind` and `tampered` the tests of the tests.

mod blind;
mod capacity;
mod faulty;
mod heal;
mod life;
mod net;
mod ops;
mod quiet;
mod quiet_model;
mod reference;
mod run;
mod seen;
mod shape;
mod step;
mod tampered;
mod verdicts;
mod world;
