//! The executor: carries out what an engine asks for, in the simulated world.

use sluice_engine::{Action, Event, Executor, Time};

use super::world::World;
use crate::history::What;

/// One node's hands in the world.
pub(super) struct Hands<'w, 'a> {
    pub(super) world: &'w mut World<'a>,
    pub(super) node: usize,
}

impl Executor for Hands<'_, '_> {
    fn execute(&mut self, _: Time, action: Action) -> Option<Event> {
        let (world, node) = (&mut *self.world, self.node);
        match action {
            Action::Store { call, op } => world.send(node, call, op),
            Action::CheckBilling { req, .. } => {
                world.history.push(world.now, What::BillingAsked { node, req });
                let arrival = world.scenario.arrival(req)?;
                let result = arrival.denial.map_or(Ok(()), Err);
                let answer = Event::Billing { req, result };
                if arrival.billing.0 == 0 {
                    world.note(node, &answer);
                    return Some(answer);
                }
                world.mail_event(world.now + arrival.billing, node, answer);
                None
            }
            Action::Forward { req, attempt, account } => {
                world.open_attempt(node, req, attempt, account);
                None
            }
            Action::Cancel { req, attempt } => world.cancel_attempt(node, req, attempt),
            Action::Ping { req } => {
                world.history.push(world.now, What::Pinged { node, req });
                None
            }
            Action::Finish { req, verdict, trail } => {
                let trail = Box::new(trail);
                world.history.push(world.now, What::Finished { node, req, verdict, trail });
                None
            }
        }
    }
}
