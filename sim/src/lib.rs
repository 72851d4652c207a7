//! Simulation and model checking of the scheduler.

pub mod formal;
