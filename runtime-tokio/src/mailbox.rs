//! What the engine has to say to the one task that serves a request.
//!
//! Single-threaded: the engine writes during its turn, the request's task reads when it is polled.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use sluice_engine::trail::Trail;
use sluice_engine::{AccountId, Attempt, Verdict};

/// What a request's task is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send the request to this account.
    Forward {
        /// Which try, from 1.
        attempt: Attempt,
        /// Where to.
        account: AccountId,
    },
    /// Tell the client that we are alive.
    Ping,
    /// It is over.
    Finish {
        /// How it ended.
        verdict: Verdict,
        /// How it came to that.
        trail: Trail,
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

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next command.
    pub(crate) async fn next(&self) -> Command {
        poll_fn(|cx| match self.take() {
            Some(command) => Poll::Ready(command),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
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
            if self.cancelled.get() == Some(attempt) {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// The attempt whose end the engine is now told; `None` if there is none open.
    pub(crate) fn close(&self) -> Option<Attempt> {
        self.open.take()
    }
}
