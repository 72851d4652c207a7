//! Small writes of a thread's connections, gathered and made one right after the other.
//!
//! A write wakes whoever reads at the other end, which costs as much as the writing. Made one by one
//! between the work of requests, each finds its reader asleep again; made together, most find theirs
//! awake. So what is small is only taken down, and one task, the *sender*, writes all of it: it runs
//! behind everything that could run when the first of it was taken down. A connection holds no memory
//! for this while nothing of it is unsent.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;

/// The most bytes of a connection that are unsent. What is larger is written at once.
const UNSENT_BYTES_MAX: usize = 4096;
/// So many connections do not wait for the sender, however much there is to run before it.
const WAITING_MAX: usize = 32;

thread_local! {
    static OUTBOX: Outbox = const {
        Outbox {
            served: Cell::new(false),
            waiting: RefCell::new(Vec::new()),
            sender: Cell::new(None),
        }
    };
}

/// What a thread has to send.
struct Outbox {
    /// There is a sender.
    served: Cell<bool>,
    /// Connections with something unsent.
    waiting: RefCell<Vec<Rc<dyn Unsent>>>,
    /// To wake the sender.
    sender: Cell<Option<Waker>>,
}

/// A connection with something unsent.
trait Unsent {
    /// Sends it. What cannot be sent now is left to its owner, who is woken when it can.
    fn send(&self);
}

impl Outbox {
    fn add(&self, connection: Rc<dyn Unsent>) {
        self.waiting.borrow_mut().push(connection);
        if self.waiting.borrow().len() >= WAITING_MAX {
            self.send();
        } else if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }

    fn send(&self) {
        let mut waiting = self.waiting.take();
        waiting.drain(..).for_each(|connection| connection.send());
        // Its memory is used again.
        let added = self.waiting.replace(waiting);
        debug_assert!(added.is_empty(), "writing lets nobody run who could add to it");
    }
}

/// Has what connections of this thread write gathered from now on, as long as the current local set, or
/// local runtime, is there. It has to run whenever one of them is used: the sender is a task of its.
pub(crate) fn serve() {
    if OUTBOX.with(|outbox| outbox.served.replace(true)) {
        return;
    }
    let serving = Serving;
    let sender = poll_fn(move |cx| {
        let _serving = &serving;
        OUTBOX.with(|outbox| {
            outbox.sender.set(Some(cx.waker().clone()));
            outbox.send();
        });
        Poll::<()>::Pending
    });
    // How much it does at once is bounded by what there is.
    drop(tokio::task::spawn_local(unconstrained(sender)));
}

/// As long as there is a sender.
struct Serving;

impl Drop for Serving {
    fn drop(&mut self) {
        // A thread that ends may have lost its outbox before.
        let _ = OUTBOX.try_with(|outbox| {
            outbox.served.set(false);
            outbox.sender.set(None);
            outbox.send();
        });
    }
}

/// See the module's documentation. It is read and written by one task at a time.
pub struct Gathered<S>(Rc<RefCell<Connection<S>>>);

struct Connection<S> {
    stream: S,
    unsent: Vec<u8>,
    /// The other side did not take all when it was last tried.
    stuck: bool,
    failed: Option<io::Error>,
    /// Who wrote, while it is in the outbox.
    owner: Option<Waker>,
}

impl<S: AsyncWrite + Unpin> Connection<S> {
    /// Sends what is unsent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let mut sent = 0;
        let done = loop {
            if sent == self.unsent.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.stuck = done.is_pending();
        if self.stuck {
            self.unsent.drain(..sent);
        } else {
            self.unsent = Vec::new();
        }
        done
    }

    /// Takes the parts down; `None` if they are to be written at once.
    fn take_down(&mut self, parts: &[IoSlice<'_>]) -> Option<usize> {
        let size = parts.iter().map(|part| part.len()).sum();
        let fits = !self.stuck && self.unsent.len() + size <= UNSENT_BYTES_MAX;
        if !fits || self.failed.is_some() || !OUTBOX.with(|outbox| outbox.served.get()) {
            return None;
        }
        self.unsent.reserve_exact(size);
        parts.iter().for_each(|part| self.unsent.extend_from_slice(part));
        Some(size)
    }
}

impl<S: AsyncWrite + Unpin> Unsent for RefCell<Connection<S>> {
    fn send(&self) {
        let mut connection = self.borrow_mut();
        let Some(owner) = connection.owner.take() else { return };
        match connection.poll_send(&mut Context::from_waker(&owner)) {
            Poll::Ready(Ok(())) => return,
            Poll::Ready(Err(error)) => connection.failed = Some(error),
            Poll::Pending => {}
        }
        drop(connection);
        // It has been told that all is well.
        owner.wake();
    }
}

impl<S> Gathered<S> {
    /// Over this stream. On a thread that has no sender nothing is gathered.
    pub fn new(stream: S) -> Self {
        let (unsent, stuck, failed, owner) = (Vec::new(), false, None, None);
        Self(Rc::new(RefCell::new(Connection { stream, unsent, stuck, failed, owner })))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut connection = self.0.borrow_mut();
        if connection.stuck {
            // Who waits for an answer may not know that not all has been asked. Why it cannot be is
            // told to who writes; who reads may still be told something.
            if let Poll::Ready(Err(error)) = connection.poll_send(cx) {
                connection.failed = Some(error);
            }
        }
        Pin::new(&mut connection.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin + 'static> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut connection = self.0.borrow_mut();
        let Some(size) = connection.take_down(bufs) else {
            ready!(connection.poll_send(cx))?;
            return Pin::new(&mut connection.stream).poll_write_vectored(cx, bufs);
        };
        if connection.owner.replace(cx.waker().clone()).is_none() {
            drop(connection);
            OUTBOX.with(|outbox| outbox.add(self.0.clone()));
        }
        Poll::Ready(Ok(size))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }

    /// What the sender has counts as flushed, unless the other side has not taken it.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut connection = self.0.borrow_mut();
        if connection.stuck || connection.failed.is_some() {
            ready!(connection.poll_send(cx))?;
        }
        Pin::new(&mut connection.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut connection = self.0.borrow_mut();
        ready!(connection.poll_send(cx))?;
        Pin::new(&mut connection.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::{LocalSet, yield_now};

    use super::*;

    /// A connection and its other side, with so many bytes between them.
    fn connected(between: usize) -> (Gathered<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(between);
        (Gathered::new(ours), theirs)
    }

    /// What has come and can be read without waiting.
    async fn come(stream: &mut DuplexStream) -> String {
        let mut bytes = Vec::new();
        poll_fn(|cx| {
            let mut buffer = [0; 100];
            let mut read = ReadBuf::new(&mut buffer);
            while Pin::new(&mut *stream).poll_read(cx, &mut read).is_ready() {
                if read.filled().is_empty() {
                    break;
                }
                bytes.extend_from_slice(read.filled());
                read.clear();
            }
            Poll::Ready(())
        })
        .await;
        String::from_utf8(bytes).expect("text")
    }

    async fn with_sender(test: impl Future<Output = ()>) {
        let tasks = LocalSet::new();
        let served = async {
            serve();
            test.await;
        };
        tasks.run_until(served).await;
        drop(tasks);
        assert!(!OUTBOX.with(|outbox| outbox.served.get()), "it has gone with its set");
    }

    #[tokio::test]
    async fn small_writes_are_sent_once_the_writer_lets_others_run() {
        with_sender(async {
            let (mut one, mut far_one) = connected(100);
            let (mut two, mut far_two) = connected(100);
            one.write_all(b"a").await.expect("room");
            two.write_all(b"b").await.expect("room");
            let parts = [IoSlice::new(b"c"), IoSlice::new(b""), IoSlice::new(b"d")];
            assert_eq!(one.write_vectored(&parts).await.expect("room"), 2);
            one.flush().await.expect("it is under way");
            assert_eq!(
                (come(&mut far_one).await, come(&mut far_two).await),
                ("".into(), "".into())
            );
            yield_now().await;
            assert_eq!((&*come(&mut far_one).await, &*come(&mut far_two).await), ("acd", "b"));
            assert_eq!(one.0.borrow().unsent.capacity(), 0, "no memory is held");
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_large_is_sent_at_once_behind_what_is_not() {
        with_sender(async {
            let (mut near, mut far) = connected(10_000);
            near.write_all(b"small").await.expect("room");
            near.write_all(&[b'x'; UNSENT_BYTES_MAX]).await.expect("room");
            let all = come(&mut far).await;
            assert_eq!((all.len(), &all[..6]), (5 + UNSENT_BYTES_MAX, "smallx"));
        })
        .await;
    }

    #[tokio::test]
    async fn an_end_is_sent_behind_everything_else() {
        with_sender(async {
            let (mut near, mut far) = connected(100);
            near.write_all(b"last words").await.expect("room");
            near.shutdown().await.expect("room");
            assert_eq!(come(&mut far).await, "last words");
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_let_go_of_is_sent_all_the_same() {
        with_sender(async {
            let (mut near, mut far) = connected(100);
            near.write_all(b"x").await.expect("room");
            drop(near);
            let mut all = String::new();
            far.read_to_string(&mut all).await.expect("an end");
            assert_eq!(all, "x");
        })
        .await;
    }

    #[tokio::test]
    async fn who_does_not_take_it_makes_its_writer_wait_and_nobody_else() {
        with_sender(async {
            let (mut near, mut far) = connected(4);
            let (mut other, mut far_other) = connected(4);
            near.write_all(b"0123456789").await.expect("room");
            yield_now().await;
            other.write_all(b"x").await.expect("room");
            let write = async {
                near.flush().await.expect("in the end");
                near.write_all(b"!").await.expect("room");
            };
            let read = async {
                let mut all = [0; 11];
                far.read_exact(&mut all).await.expect("all of it");
                assert_eq!(&all, b"0123456789!");
            };
            tokio::join!(biased; write, read);
            assert_eq!(come(&mut far_other).await, "x");
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_stuck_takes_no_more_and_its_writer_learns_of_it() {
        with_sender(async {
            let (mut near, mut far) = connected(4);
            let polls = Rc::new(Cell::new(0));
            let counted = polls.clone();
            let writer = tokio::task::spawn_local(poll_fn(move |cx| {
                counted.set(counted.get() + 1);
                if counted.get() == 1 {
                    assert!(Pin::new(&mut near).poll_write(cx, b"012345").is_ready());
                    assert!(Pin::new(&mut near).poll_flush(cx).is_ready(), "as far as is known");
                    return Poll::Pending;
                }
                Pin::new(&mut near).poll_write(cx, b"6").map(|written| written.expect("room"))
            }));
            for _ in 0..5 {
                yield_now().await;
            }
            assert_eq!(polls.get(), 2, "woken, and then waiting");
            let mut all = [0; 6];
            far.read_exact(&mut all).await.expect("all of it");
            assert_eq!(&all, b"012345");
            writer.await.expect("no panic");
            yield_now().await;
            assert_eq!(come(&mut far).await, "6");
        })
        .await;
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_sends_what_is_left_of_the_question() {
        with_sender(async {
            let (mut near, mut far) = connected(4);
            near.write_all(b"question").await.expect("room");
            yield_now().await;
            let ask = async {
                let mut answer = [0; 6];
                near.read_exact(&mut answer).await.expect("an answer");
                assert_eq!(&answer, b"answer");
            };
            let answer = async {
                far.read_exact(&mut [0; 8]).await.expect("the question");
                far.write_all(b"answer").await.expect("room");
            };
            tokio::join!(biased; ask, answer);
        })
        .await;
    }

    #[tokio::test]
    async fn a_failure_is_told_to_who_writes_next() {
        with_sender(async {
            let (mut near, far) = connected(100);
            drop(far);
            near.write_all(b"x").await.expect("taken down");
            yield_now().await;
            let told = near.write_all(b"y").await.map_err(|error| error.kind());
            assert_eq!(told, Err(io::ErrorKind::BrokenPipe));
        })
        .await;
    }

    #[tokio::test]
    async fn many_do_not_wait_for_the_sender() {
        with_sender(async {
            let mut all: Vec<_> = (0..WAITING_MAX).map(|_| connected(100)).collect();
            for (near, _) in &mut all {
                near.write_all(b"x").await.expect("room");
            }
            for (_, far) in &mut all {
                assert_eq!(come(far).await, "x");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn without_a_sender_everything_is_sent_at_once() {
        let (mut near, mut far) = connected(100);
        near.write_all(b"x").await.expect("room");
        assert_eq!(come(&mut far).await, "x");
    }
}
