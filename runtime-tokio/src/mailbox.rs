//! What the engine has to say to the one task that serves a request.
//!
//! Single-threaded: the engine writes during its turn, the request's task reads when it is polled.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use sluice_engine::trail::Trail;
use sluice_engine::{AccountId, Attempt, Verdict};

use crate::directory::{Account, Current};

/// What a request's task is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send the request to this account.
    Forward {
        /// Which try, from 1.
        attempt: Attempt,
        /// Where to.
        account: AccountId,
        /// What was known of it when it was chosen: whatever changes meanwhile, the credential and the
        /// host that belong together stay together.
        to: Option<Arc<Account>>,
    },
    /// Tell the client that we are alive.
    Ping,
    /// It is over.
    Finish {
        /// How it ended.
        verdict: Verdict,
        /// How it came to that.
        trail: Trail,
        /// Whose names are in it.
        directory: Current,
    },
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Mailbox {
    commands: RefCell<VecDeque<Command>>,
    /// The attempt whose end the engine has not been told.
    open: Cell<Option<Attempt>>,
    /// The attempt that is to stop.
    cancelled: Cell<Option<Attempt>>,
    /// The gateway ends, and the request with it.
    shut_down: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Mailbox {
    /// Puts a command in.
    pub(crate) fn put(&self, command: Command) {
        if let Command::Forward { attempt, .. } = command {
            self.open.set(Some(attempt));
        }
        self.commands.borrow_mut().push_back(command);
        self.wake();
    }

    /// Asks for the end of an attempt.
    pub(crate) fn cancel(&self, attempt: Attempt) {
        self.cancelled.set(Some(attempt));
        self.wake();
    }

    /// Asks for the end of the request, whatever it is doing.
    pub(crate) fn shut_down(&self) {
        self.shut_down.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Its reader is running, and looks in again before it waits: until then nobody needs to be woken.
    pub(crate) fn attended(&self) {
        drop(self.waker.take());
    }

    /// The next command.
    pub(crate) async fn next(&self) -> Command {
        poll_fn(|cx| match self.take() {
            Some(command) => Poll::Ready(command),
            None => self.wait(cx),
        })
        .await
    }

    /// The next command, if there is one.
    pub(crate) fn take(&self) -> Option<Command> {
        self.commands.borrow_mut().pop_front()
    }

    /// Returns when this attempt is to stop.
    pub(crate) async fn cancelled(&self, attempt: Attempt) {
        poll_fn(|cx| {
            if self.cancelled.get() == Some(attempt) { Poll::Ready(()) } else { self.wait(cx) }
        })
        .await;
    }

    /// Returns when the request is to end because the gateway does.
    pub(crate) async fn shutting_down(&self) {
        poll_fn(|cx| if self.shut_down.get() { Poll::Ready(()) } else { self.wait(cx) }).await;
    }

    /// One task serves a request: whatever it waits for here, there is one to wake.
    fn wait<T>(&self, cx: &Context<'_>) -> Poll<T> {
        let known = self.waker.take().filter(|waker| waker.will_wake(cx.waker()));
        self.waker.set(Some(known.unwrap_or_else(|| cx.waker().clone())));
        Poll::Pending
    }

    /// The attempt whose end the engine is now told; `None` if there is none open.
    pub(crate) fn close(&self) -> Option<Attempt> {
        self.open.take()
    }
}
