//! What the client is sent, from one straight line of code.
//!
//! A request is served by one future, its *flow*. Until the flow has decided on a head it is polled
//! by the handler; afterwards it lives in the response's body and is polled by whoever reads that.
//! One frame at a time: a client that does not read stops its own flow and nobody else's. Dropping
//! the body drops the flow and all it holds.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};

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

type Flow = Pin<Box<dyn Future<Output = Result<(), CutOff>>>>;

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
}

impl Slot {
    fn occupied(&self) -> bool {
        let frame = self.frame.take();
        let occupied = frame.is_some();
        self.frame.set(frame);
        occupied
    }

    fn put(&self, frame: Bytes) {
        self.sent.set(self.sent.get() + frame.len() as u64);
        self.frame.set(Some(frame));
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

/// The response that a flow makes. The flow must decide on a head.
pub async fn respond<F>(flow: impl FnOnce(Wire) -> F) -> Response<Answer>
where
    F: Future<Output = Result<(), CutOff>> + 'static,
{
    let slot = Rc::new(Slot::default());
    let mut flow: Option<Flow> = Some(Box::pin(flow(Wire { slot: slot.clone() })));
    let head = poll_fn(|cx| {
        let result = flow.as_mut().map_or(Poll::Ready(Ok(())), |flow| flow.as_mut().poll(cx));
        let done = result.is_ready();
        if let Poll::Ready(result) = result {
            slot.cut_off.set(result.is_err());
            flow = None;
        }
        match slot.head.take() {
            Some(head) => Poll::Ready(head),
            None if done => panic!("a flow ends with an answer"),
            None => Poll::Pending,
        }
    })
    .await;
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
            match flow.as_mut().poll(cx) {
                Poll::Ready(result) => {
                    self.slot.cut_off.set(result.is_err());
                    self.flow = None;
                }
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
