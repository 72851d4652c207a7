//! Real engines and one real ledger, with a hostile network in between, against a reference of
//! admission that is written from the design and sees only events and actions: who may run, where,
//! how many at once, and how a request may end.
//!
//! `SLUICE_CASES` sets the number of cases (256), `SLUICE_SEED` the seed they are drawn from (1),
//! `SLUICE_SHRINK` how many attempts at most to make a sequence that failed shorter (20 000).

mod admission;
