//! A connection whose other side must get on with it.
//!
//! - One that leaves written bytes lying for too long is broken off, and with it ends whatever was
//!   being written. It has to be here and not where answers are made: nothing asks for more of an
//!   answer while the connection takes no more.
//! - One that sends nothing between two requests, or a request's head in drops, is closed. Here the
//!   two have times of their own, and a timer is set only when something is waited for.
//! - One whose request was answered before it was read is closed with patience: what it still sends
//!   is thrown away for a while, because a system that is closed with bytes unread resets the
//!   connection, and the answer would be lost on its way.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::clock::Clock;

/// How long the other side may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until it takes written bytes.
    pub(crate) write: Duration,
    /// Until a request begins.
    pub(crate) idle: Duration,
    /// From a request's first byte to the end of its head.
    pub(crate) head: Duration,
}

/// Bytes that are thrown away at most after a request was answered unread.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long at most.
const LINGER: Duration = Duration::from_secs(3);

/// Where a connection is between its requests. Shared by its guard and by who serves it.
#[derive(Default)]
pub(crate) struct Stage {
    at: Cell<At>,
    unread: Cell<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Nothing of the next request has come.
    #[default]
    Idle,
    /// A part of its head has.
    Head,
    /// It is being served. Its body's times are not ours.
    Busy,
}

/// A request that is being served. Dropping it says that its answer has been handed over.
pub(crate) struct Turn(Rc<Stage>);

impl Stage {
    /// A request is being served from now on.
    pub(crate) fn turn(self: &Rc<Self>) -> Turn {
        self.at.set(At::Busy);
        self.unread.set(false);
        Turn(self.clone())
    }

    /// Whether a part of the present request has not been read.
    pub(crate) fn unread(&self, unread: bool) {
        self.unread.set(unread);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.at.set(At::Idle);
    }
}

/// See the module's documentation.
pub(crate) struct StallGuard<T> {
    inner: T,
    patience: Patience,
    stage: Rc<Stage>,
    /// Running while the connection takes no bytes.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs out when the other side has been silent for too long.
    silence: Option<Pin<Box<Sleep>>>,
    /// What that was set for.
    armed: Option<At>,
    lingering: Option<Linger>,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<T> StallGuard<T> {
    pub(crate) fn new(inner: T, patience: Patience, stage: Rc<Stage>) -> Self {
        let (stalled, silence, armed, lingering) = (None, None, None, None);
        Self { inner, patience, stage, stalled, silence, armed, lingering }
    }

    fn guard<R>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let timeout = self.patience.write;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Nothing has come; returns when that has been so for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let at = self.stage.at.get();
        let patience = match at {
            At::Busy => return Poll::Pending,
            At::Idle => self.patience.idle,
            At::Head => self.patience.head,
        };
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(patience)));
        if self.armed != Some(at) {
            silence.as_mut().reset(Clock::after(patience));
            self.armed = Some(at);
        }
        silence.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> StallGuard<T> {
    /// Throws away what comes, until nothing does or it is enough.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = || Box::pin(sleep(LINGER));
        let linger = self.lingering.get_or_insert_with(|| Linger { until: until(), bytes: 0 });
        let mut scratch = [0; 16 * 1024];
        while linger.bytes < LINGER_BYTES_MAX {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Pending => return linger.until.as_mut().poll(cx),
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    linger.bytes += buf.filled().len();
                }
                Poll::Ready(Ok(()) | Err(_)) => break,
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for StallGuard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if polled.is_pending() {
            return self.poll_silence(cx);
        }
        if self.stage.at.get() == At::Idle && buf.filled().len() > before {
            self.stage.at.set(At::Head);
            self.armed = None;
        }
        polled
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for StallGuard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.guard(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.guard(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.guard(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
            ready!(self.guard(cx, polled))?;
        }
        if self.stage.unread.get() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    const WRITE: Duration = Duration::from_secs(10);
    const HEAD: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_secs(120);
    const SECOND: Duration = Duration::from_secs(1);

    fn guarded(bytes: usize) -> (StallGuard<DuplexStream>, DuplexStream, Rc<Stage>) {
        let (near, far) = duplex(bytes);
        let stage = Rc::<Stage>::default();
        let patience = Patience { write: WRITE, idle: IDLE, head: HEAD };
        (StallGuard::new(near, patience, stage.clone()), far, stage)
    }

    /// Reads a byte; says whether the other side was given up after just so long.
    async fn given_up_after(near: &mut StallGuard<DuplexStream>, patience: Duration) -> bool {
        let before = timeout(patience - SECOND, near.read_u8()).await;
        assert!(before.is_err(), "too early: {before:?}");
        let after = timeout(SECOND + SECOND, near.read_u8()).await;
        matches!(after, Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_slow_but_reads_is_waited_for() {
        let (mut near, mut far, _) = guarded(4);
        let reader = async {
            let mut read = Vec::new();
            for _ in 0..10 {
                sleep(WRITE - SECOND).await;
                let mut some = [0; 4];
                far.read_exact(&mut some).await.expect("bytes");
                read.extend(some);
            }
            read
        };
        let (written, read) = tokio::join!(near.write_all(&[7; 40]), reader);
        assert!(written.is_ok());
        assert_eq!(read, [7; 40]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_is_given_up() {
        let (mut near, _far, _) = guarded(4);
        let error = near.write_all(&[7; 40]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed() {
        let (mut near, _far, _) = guarded(4);
        assert!(given_up_after(&mut near, IDLE).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_in_drops_is_not_waited_for_longer() {
        let (mut near, mut far, _) = guarded(4);
        let drip = async {
            for _ in 0..15 {
                sleep(2 * SECOND).await;
                far.write_all(b"x").await.expect("room");
            }
        };
        let read = async {
            sleep(2 * SECOND).await;
            let before = timeout(HEAD - SECOND, async { while near.read_u8().await.is_ok() {} });
            assert!(before.await.is_err(), "too early");
            timeout(2 * SECOND, async { while near.read_u8().await.is_ok() {} }).await
        };
        let ((), read) = tokio::join!(drip, read);
        assert!(read.is_ok(), "drops do not help");
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_request_is_served_its_connection_may_be_silent_and_then_idle_again() {
        let (mut near, mut far, stage) = guarded(4);
        for _ in 0..3 {
            far.write_all(b"x").await.expect("room");
            near.read_u8().await.expect("a head");
            let turn = stage.turn();
            assert!(timeout(10 * IDLE, near.read_u8()).await.is_err(), "nothing happens");
            drop(turn);
            assert!(timeout(IDLE - SECOND, near.read_u8()).await.is_err(), "not yet");
        }
        assert!(timeout(2 * SECOND, near.read_u8()).await.is_ok_and(|read| read.is_err()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_an_answer_to_an_unread_request_is_thrown_away_for_a_while() {
        let (mut near, mut far, stage) = guarded(4);
        near.shutdown().await.expect("at once: nothing is unread");
        let turn = stage.turn();
        stage.unread(true);
        drop(turn);
        let closing = async { timeout(LINGER + SECOND, near.shutdown()).await };
        let (closed, written) = tokio::join!(closing, far.write_all(&[7; 1000]));
        assert!(closed.is_ok_and(|shut| shut.is_ok()) && written.is_ok());
        drop(near);
        let (mut near, far, stage) = guarded(4);
        stage.unread(true);
        drop(far);
        timeout(SECOND, near.shutdown()).await.expect("who has left sends nothing").expect("shut");
    }
}
