//! From what was understood of a request to its answer, whatever its protocol.

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use sluice_engine::{AccountId, Attempt, Outcome, RequestSpec, Verdict};
use sluice_storage::Watch;
use tokio::time::{Instant, sleep_until};

use super::{Asked, SHUTTING_DOWN, error_response, refuse};
use crate::clock::Clock;
use crate::directory::Account;
use crate::gateway::Worker;
use crate::mailbox::Command;
use crate::net::Net;
use crate::permit::Permit;
use crate::protocol::error::ApiError;
use crate::protocol::{Protocol, sse, warmup};
use crate::telemetry::AccessLog;
use crate::upstream::forward::{End, Forward};
use crate::wire::{Answer, CutOff, Wire, respond};

/// Answers a request that has been understood, or says why it has not.
pub(crate) async fn answer<N: Net, S: Watch>(
    worker: Rc<Worker<N, S>>,
    protocol: Protocol,
    understood: Result<(Asked, RequestSpec), ApiError>,
    log: &AccessLog,
) -> Response<Answer> {
    match understood {
        Ok((asked, spec)) => {
            let linger = worker.linger();
            respond(linger, |wire| serve(worker, asked, spec, wire)).await
        }
        Err(error) => refuse(protocol, &error, log),
    }
}

/// The life of a request, as its task sees it.
async fn serve<N: Net, S: Watch>(
    worker: Rc<Worker<N, S>>,
    asked: Asked,
    spec: RequestSpec,
    wire: Wire,
) -> Result<(), CutOff> {
    let permit = Permit::arrive(&worker.driver, spec, asked.log.clone());
    let next_sign = Cell::new(asked.stream.then(|| Clock::after(worker.ping_interval())));
    let serving = Serving { worker: &worker, permit: &permit, asked: &asked, wire, next_sign };
    let mut run = pin!(serving.run());
    tokio::select! {
        biased; // What comes to its own end in time is not cut off.
        done = run.as_mut() => return done,
        () = permit.shutting_down() => return serving.cut_off().await,
        () = serving.wire.left() => permit.abandon(),
    }
    tokio::select! {
        biased;
        done = run => done,
        () = permit.shutting_down() => Err(CutOff),
    }
}

/// A request that is being served, and the way to its client.
struct Serving<'a, N: Net, S: Watch> {
    worker: &'a Rc<Worker<N, S>>,
    permit: &'a Permit<S>,
    asked: &'a Asked,
    wire: Wire,
    /// When a client that has been told nothing is to be told that we are alive, if it can be.
    next_sign: Cell<Option<Instant>>,
}

impl<N: Net, S: Watch> Drop for Serving<'_, N, S> {
    fn drop(&mut self) {
        self.asked.log.bytes_out(self.wire.sent());
    }
}

impl<N: Net, S: Watch> Serving<'_, N, S> {
    async fn run(&self) -> Result<(), CutOff> {
        let mut last = None;
        loop {
            match self.permit.next().await {
                Command::Ping => self.ping().await,
                Command::Forward { attempt, account, to } => {
                    let end = self.forward(attempt, account, to).await?;
                    self.permit.ended(end.outcome);
                    last = Some(end);
                }
                Command::Finish { verdict, trail, directory } => {
                    let told = self.finish(verdict, last).await;
                    self.permit.finished(verdict, trail, directory);
                    return told;
                }
            }
        }
    }

    /// One attempt. As long as nothing of its answer has come, the client is sent comments, after
    /// which another account can still be asked.
    async fn forward(
        &self,
        attempt: Attempt,
        id: AccountId,
        to: Option<Arc<Account>>,
    ) -> Result<End, CutOff> {
        let Self { worker, permit, asked, wire, .. } = self;
        let Some(account) = to else {
            // The directory and the engine's roster are one: this does not happen.
            return Ok(Outcome::Unreachable.into());
        };
        let account = &account;
        let mut attempt = pin!(Forward { worker, permit, wire, asked, attempt, id, account }.run());
        if !asked.stream {
            return attempt.await;
        }
        loop {
            tokio::select! {
                biased; // An answer is better than a sign of life.
                end = attempt.as_mut() => return end,
                () = self.silence() => self.comment(),
            }
        }
    }

    /// Returns when the client has been told nothing for too long.
    async fn silence(&self) {
        match self.next_sign.get() {
            Some(at) if !self.permit.begun() => sleep_until(at).await,
            // What belongs to the answer is the upstream's business.
            Some(_) | None => pending().await,
        }
    }

    fn comment(&self) {
        if !self.permit.begun() {
            self.open_stream();
            self.wire.offer(self.asked.framed(self.asked.protocol.sign_of_life()));
        }
    }

    async fn ping(&self) {
        if self.asked.stream {
            self.open_stream();
            let sign = match self.asked.protocol {
                Protocol::Anthropic => sse::event("ping", "{\"type\": \"ping\"}"),
                // It has no such event.
                protocol @ (Protocol::OpenAi | Protocol::Gemini) => protocol.sign_of_life(),
            };
            self.wire.send(self.asked.framed(sign)).await;
        }
    }

    fn open_stream(&self) {
        self.next_sign.set(Some(Clock::after(self.worker.ping_interval())));
        if !self.wire.opened() {
            self.asked.log.status(200);
            self.wire.open(self.asked.stream_head());
        }
    }

    /// Tells the client how it ended, as far as it has not been told.
    async fn finish(&self, verdict: Verdict, last: Option<End>) -> Result<(), CutOff> {
        let whole = matches!(&last, Some(End { outcome: Outcome::Completed, .. }));
        let (refusal, told) = last.map_or((None, false), |end| (end.refusal, end.told));
        if let Verdict::Intercepted { .. } = verdict {
            self.intercepted().await;
            return Ok(());
        }
        // What was to be given up when only the end of its connection was missing has been answered.
        let Some(error) = ApiError::of(verdict, refusal).filter(|_| !whole) else {
            debug_assert!(self.wire.opened(), "what was completed was answered");
            self.wire.send(self.asked.framed_end()).await;
            return Ok(());
        };
        if self.wire.opened() && !self.asked.stream {
            return Err(CutOff); // In the middle of a plain answer there is no other way to say so.
        }
        if told {
            self.wire.send(self.asked.framed_end()).await;
        } else {
            self.tell(&error).await;
        }
        Ok(())
    }

    async fn tell(&self, error: &ApiError) {
        self.asked.log.status(error.status);
        if self.wire.opened() {
            let event = error.to_event(self.asked.protocol);
            self.wire.send(self.asked.framed(event)).await;
            self.wire.send(self.asked.framed_end()).await;
        } else {
            let (head, body) =
                error_response(self.asked.protocol, error, &self.asked.log.request_id);
            self.wire.answer(head, body);
        }
    }

    async fn intercepted(&self) {
        let asked = self.asked;
        if asked.stream {
            self.open_stream();
            return self.wire.send(Bytes::from(warmup::stream(&asked.model))).await;
        }
        asked.log.status(200);
        let mut head = Response::new(());
        head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        head.headers_mut().insert(super::REQUEST_ID, asked.request_id_header());
        self.wire.answer(head, Bytes::from(warmup::answer(&asked.model)));
    }

    /// The gateway ends now. Whatever of the answer has not been handed over is left out, always
    /// between two events; dropping the permit does the rest.
    async fn cut_off(&self) -> Result<(), CutOff> {
        if self.permit.over() {
            return Ok(());
        }
        self.asked.log.shut_down();
        if self.wire.opened() && !self.asked.stream {
            return Err(CutOff);
        }
        self.tell(&SHUTTING_DOWN).await;
        Ok(())
    }
}
