//! A request's right to be served, and its end.
//!
//! The permit lives in what serves the request: first in the handler, then in the response's body.
//! Whatever drops it (the last byte, a client that leaves, a write that fails, a shutdown) tells
//! the engine exactly once that the request is over.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use sluice_engine::trail::Trail;
use sluice_engine::{AccountId, Attempt, Event, Outcome, RequestId, RequestSpec, Verdict};
use sluice_storage::Watch;

use crate::directory::{Account, Current};
use crate::driver::Driver;
use crate::mailbox::{Command, Mailbox};
use crate::telemetry::AccessLog;

/// A request that the engine has not finished, from the engine's side.
pub(crate) struct Live {
    pub(crate) mailbox: Mailbox,
    pub(crate) log: Rc<AccessLog>,
    /// Nobody serves it any more.
    orphaned: Cell<bool>,
    req: RequestId,
}

impl Live {
    /// Tells its task to go to an account; if there is none any more, that attempt has ended.
    pub(crate) fn forward(
        &self,
        attempt: Attempt,
        account: AccountId,
        to: Option<&Arc<Account>>,
    ) -> Option<Event> {
        if self.orphaned.get() {
            return Some(Event::Ended { req: self.req, attempt, outcome: Outcome::Cancelled });
        }
        self.mailbox.put(Command::Forward { attempt, account, to: to.cloned() });
        None
    }

    /// Tells its task that it is over; if there is none any more, only the log is told.
    pub(crate) fn finish(&self, verdict: Verdict, trail: Trail, directory: Current) {
        if self.orphaned.get() {
            self.log.ended(verdict, trail, directory);
        } else {
            self.mailbox.put(Command::Finish { verdict, trail, directory });
        }
    }
}

/// See the module's documentation.
pub(crate) struct Permit<S: Watch> {
    driver: Rc<Driver<S>>,
    live: Rc<Live>,
    /// How an open attempt has ended if the permit is dropped now.
    if_dropped: Cell<Outcome>,
    /// The engine knows how the request ends, whether or not it has said so.
    decided: Cell<bool>,
    /// An answer has begun.
    begun: Cell<bool>,
}

impl<S: Watch> Permit<S> {
    /// A request arrives.
    pub(crate) fn arrive(driver: &Rc<Driver<S>>, spec: RequestSpec, log: Rc<AccessLog>) -> Self {
        let req = driver.mint();
        let orphaned = Cell::new(false);
        let live = Rc::new(Live { mailbox: Mailbox::default(), log, orphaned, req });
        driver.requests.borrow_mut().insert(req, live.clone());
        let permit = Self {
            driver: driver.clone(),
            live,
            if_dropped: Cell::new(Outcome::Cancelled),
            decided: Cell::new(false),
            begun: Cell::new(false),
        };
        driver.event(Event::Arrived { req, spec });
        permit
    }

    /// What is to be done next.
    pub(crate) async fn next(&self) -> Command {
        self.live.mailbox.next().await
    }

    /// Returns when this attempt is to stop.
    pub(crate) async fn cancelled(&self, attempt: Attempt) {
        self.live.mailbox.cancelled(attempt).await;
    }

    /// Returns when the request is to end because the gateway does.
    pub(crate) async fn shutting_down(&self) {
        self.live.mailbox.shutting_down().await;
    }

    /// Whether an answer has begun: then nothing but what belongs to it may be sent.
    pub(crate) const fn begun(&self) -> bool {
        self.begun.get()
    }

    /// Whether its end is known already, so that there is nothing to be cut off.
    pub(crate) const fn over(&self) -> bool {
        matches!(self.if_dropped.get(), Outcome::Completed) || self.decided.get()
    }

    /// The first semantic byte is about to be handed to the client.
    pub(crate) fn started(&self, attempt: Attempt) {
        self.begun.set(true);
        self.driver.event(Event::Started { req: self.live.req, attempt });
    }

    /// The client has left. What it asked for may be read on, and ends as any other attempt.
    pub(crate) fn abandon(&self) {
        self.driver.event(Event::Abandoned { req: self.live.req });
    }

    /// The answer is whole, though its connection may still be open.
    pub(crate) fn whole(&self) {
        self.if_dropped.set(Outcome::Completed);
    }

    /// The attempt is over: nothing of it is open any more.
    pub(crate) fn ended(&self, outcome: Outcome) {
        if let Some(attempt) = self.live.mailbox.close() {
            if matches!(outcome, Outcome::Completed) {
                self.decided.set(true);
            }
            self.live.mailbox.attended();
            self.driver.event(Event::Ended { req: self.live.req, attempt, outcome });
        }
    }

    /// The end has been taken note of: from here on only the log is left to be written.
    pub(crate) fn finished(&self, verdict: Verdict, trail: Trail, directory: Current) {
        self.decided.set(true);
        self.live.log.ended(verdict, trail, directory);
    }
}

impl<S: Watch> Drop for Permit<S> {
    fn drop(&mut self) {
        if matches!(self.if_dropped.get(), Outcome::Completed) {
            self.ended(Outcome::Completed);
        }
        while let Some(command) = self.live.mailbox.take() {
            if let Command::Finish { verdict, trail, directory } = command {
                self.finished(verdict, trail, directory);
            }
        }
        self.live.orphaned.set(true);
        if !self.decided.get() {
            self.abandon();
            self.ended(Outcome::Cancelled);
        }
    }
}
