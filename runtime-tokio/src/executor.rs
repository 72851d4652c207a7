//! Carries out what the engine asks for.

use std::rc::Rc;

use sluice_engine::{Action, Event, Executor, Time};
use sluice_storage::Watch;

use crate::billing;
use crate::driver::Driver;
use crate::mailbox::Command;

/// One turn's hands: they do what can be done at once, and start what cannot.
pub(crate) struct Hands<'d, S> {
    pub(crate) driver: &'d Rc<Driver<S>>,
}

impl<S: Watch> Executor for Hands<'_, S> {
    fn execute(&mut self, now: Time, action: Action) -> Option<Event> {
        match action {
            Action::Store { call, op } => match self.driver.store.try_now(now, op) {
                Ok(reply) => Some(Event::Store { call, result: Ok(reply) }),
                Err(op) => {
                    let driver = self.driver.clone();
                    drop(tokio::task::spawn_local(async move {
                        let result = driver.store.run(op).await;
                        driver.event(Event::Store { call, result });
                    }));
                    None
                }
            },
            Action::CheckBilling { req, user } => {
                let result = billing::check(&self.driver.directory(), user);
                Some(Event::Billing { req, result })
            }
            Action::Forward { req, attempt, account } => {
                let requests = self.driver.requests.borrow();
                let live =
                    requests.get(&req).expect("a forward is for a request that has not finished");
                let directory = self.driver.directory();
                live.forward(attempt, account, directory.accounts.get(&account))
            }
            Action::Cancel { req, attempt } => {
                if let Some(live) = self.driver.requests.borrow().get(&req) {
                    live.mailbox.cancel(attempt);
                }
                None
            }
            Action::Ping { req } => {
                if let Some(live) = self.driver.requests.borrow().get(&req) {
                    live.mailbox.put(Command::Ping);
                }
                None
            }
            Action::Finish { req, verdict, trail } => {
                let live = self.driver.requests.borrow_mut().remove(&req);
                let live = live.expect("a request finishes once");
                live.finish(verdict, trail, self.driver.directory());
                None
            }
        }
    }
}
