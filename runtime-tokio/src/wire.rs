//! What the client is sent, from one straight line of code.
//!
//! A request is served by one future, its *flow*. Until the flow has decided on a head it is polled
//! by the handler; afterwards it lives in the response's body and is polled by whoever reads that.
//! One frame at a time: a client that does not read stops its own flow and nobody else's. Dropping
//! the body drops the flow and all it holds, unless the flow may linger: then it is told that its
//! client has left, and goes on by itself for a while, with nobody to hear it.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use crate::stall::Turn;

/// The answer's source broke off where only a broken connection can say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOff;

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer was cut off")
    }
}

impl std::error::Error for CutOff {}

type Running = Pin<Box<dyn Future<Output = Result<(), CutOff>>>>;

/// A flow, until it has ended.
struct Flow {
    running: Option<Running>,
    slot: Rc<Slot>,
    /// How long it goes on after its client has left.
    linger: Option<Duration>,
}

impl Flow {
    /// Lets it do what it can. Ready when it has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(running) = &mut self.running else { return Poll::Ready(()) };
        running.as_mut().poll(cx).map(|result| {
            self.slot.cut_off.set(result.is_err());
            self.running = None;
        })
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let (Some(running), Some(linger)) = (self.running.take(), self.linger) {
            self.slot.left.set(Some(0));
            self.slot.frame.take();
            // Nobody is left to be told how it ends.
            drop(tokio::task::spawn_local(async move { drop(timeout(linger, running).await) }));
        }
    }
}

#[derive(Default)]
struct Slot {
    head: Cell<Option<Response<()>>>,
    frame: Cell<Option<Bytes>>,
    /// A head has been decided on.
    opened: Cell<bool>,
    /// The answer's length, if it is whole.
    length: Cell<Option<u64>>,
    /// The flow has ended without bringing the answer to its end.
    cut_off: Cell<bool>,
    /// Bytes that have been handed over.
    sent: Cell<u64>,
    /// The client has left; since then so many bytes of the answer have come.
    left: Cell<Option<usize>>,
}

impl Slot {
    fn occupied(&self) -> bool {
        let frame = self.frame.take();
        let occupied = frame.is_some();
        self.frame.set(frame);
        occupied
    }

    fn put(&self, frame: Bytes) {
        if self.left.get().is_none() {
            self.sent.set(self.sent.get() + frame.len() as u64);
            self.frame.set(Some(frame));
        }
    }
}

/// The flow's end of the wire.
pub struct Wire {
    slot: Rc<Slot>,
}

impl Wire {
    /// Whether the client has been sent a head: then only frames can follow.
    #[must_use]
    pub fn opened(&self) -> bool {
        self.slot.opened.get()
    }

    /// A head with a whole body.
    pub fn answer(&self, head: Response<()>, body: Bytes) {
        self.slot.length.set(Some(body.len() as u64));
        self.slot.put(body);
        self.open(head);
    }

    /// A head, with frames to follow.
    pub fn open(&self, head: Response<()>) {
        assert!(!self.slot.opened.replace(true), "an answer has one head");
        self.slot.head.set(Some(head));
    }

    /// Hands over a frame, as soon as the one before has been taken.
    pub async fn send(&self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        assert!(self.opened(), "a frame follows a head");
        // Whoever takes the frame polls the flow next: nobody needs to be woken.
        poll_fn(|_| if self.slot.occupied() { Poll::Pending } else { Poll::Ready(()) }).await;
        self.slot.put(frame);
    }

    /// Hands over a frame, unless the one before has not been taken.
    pub fn offer(&self, frame: Bytes) {
        assert!(self.opened(), "a frame follows a head");
        if !self.slot.occupied() {
            self.slot.put(frame);
        }
    }

    /// Bytes that have been handed over.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.slot.sent.get()
    }

    /// Whether nobody hears it any more.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.slot.left.get().is_some()
    }

    /// Returns when nobody hears it any more. Whoever lets a flow linger polls it then.
    pub async fn left(&self) {
        poll_fn(|_| if self.is_left() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// So many bytes have come of the answer; if nobody hears it, they are counted.
    pub fn overhear(&self, bytes: usize) {
        if let Some(heard) = self.slot.left.get() {
            self.slot.left.set(Some(heard + bytes));
        }
    }

    /// Returns when more than so many bytes have come for nobody, at the flow's next poll.
    pub async fn overheard(&self, bytes_max: usize) {
        let over = || self.slot.left.get().is_some_and(|heard| heard > bytes_max);
        poll_fn(|_| if over() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// A response's body: a whole one, or what a flow makes.
pub struct Answer {
    slot: Rc<Slot>,
    flow: Option<Flow>,
    /// The turn of a connection that it ends.
    turn: Option<Turn>,
}

impl Answer {
    /// A body that is there already.
    #[must_use]
    pub fn whole(body: impl Into<Bytes>) -> Self {
        let slot = Slot::default();
        let body = body.into();
        slot.length.set(Some(body.len() as u64));
        slot.put(body);
        Self { slot: Rc::new(slot), flow: None, turn: None }
    }

    /// An answer whose end is that of a connection's turn.
    pub(crate) fn ends(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }
}

/// The response that a flow makes. The flow must decide on a head. If it may linger, it goes on for
/// so long after its client has left.
pub async fn respond<F>(linger: Option<Duration>, flow: impl FnOnce(Wire) -> F) -> Response<Answer>
where
    F: Future<Output = Result<(), CutOff>> + 'static,
{
    let slot = Rc::new(Slot::default());
    let running: Running = Box::pin(flow(Wire { slot: slot.clone() }));
    let mut flow = Flow { running: Some(running), slot: slot.clone(), linger };
    let head = poll_fn(|cx| {
        let ended = flow.poll(cx).is_ready();
        match slot.head.take() {
            Some(head) => Poll::Ready(head),
            None if ended => panic!("a flow ends with an answer"),
            None => Poll::Pending,
        }
    })
    .await;
    let flow = flow.running.is_some().then_some(flow);
    head.map(|()| Answer { slot, flow, turn: None })
}

impl Body for Answer {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        loop {
            if let Some(frame) = self.slot.frame.take() {
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            let Some(flow) = &mut self.flow else {
                return Poll::Ready(self.slot.cut_off.take().then_some(Err(CutOff)));
            };
            match flow.poll(cx) {
                Poll::Ready(()) => self.flow = None,
                Poll::Pending => match self.slot.frame.take() {
                    Some(frame) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
                    None => return Poll::Pending,
                },
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.slot.length.get().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
