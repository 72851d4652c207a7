//! An HTTP/1.1 connection to an upstream, which carries one exchange at a time.
//!
//! Written for what a gateway has thousands of: answers that are waited for. A connection holds no
//! buffer while it waits; all of a worker's read into the same one. It has no task of its own:
//! whoever waits for an answer polls it, and dropping it closes it in the middle of whatever it was
//! doing.

mod chunked;
mod framing;
mod head;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::framing::{Framing, Taken};
use self::head::{HEAD_BYTES_MAX, Head, end_of_head, read_head};

/// What is read at once.
const READ_BYTES_MAX: usize = 64 * 1024;

/// What was read is no HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// Why an exchange has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The connection ended before a byte of an answer had come.
    Unanswered,
    /// It ended in the middle of the answer, or what came is no answer.
    Broken,
}

impl From<Malformed> for Failed {
    fn from(Malformed: Malformed) -> Self {
        Self::Broken
    }
}

/// Where all connections of a worker read into, one after the other.
#[derive(Clone)]
pub(crate) struct Scratch(Rc<RefCell<Box<[u8]>>>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice())))
    }

    /// Reads once and hands on what came; nothing at the stream's end.
    fn poll_read<S: AsyncRead + Unpin, T>(
        &self,
        stream: &mut S,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        let mut scratch = self.0.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    }
}

/// See the module's documentation.
pub(crate) struct Connection<S> {
    stream: S,
    scratch: Scratch,
    unsent: Unsent,
    /// What came with the head and has not been looked at.
    rest: Bytes,
    /// What is to come of the present answer's body.
    framing: Framing,
    /// Another exchange can follow the present one.
    lasting: bool,
}

/// What is still to be written.
struct Unsent {
    head: Bytes,
    body: Bytes,
    /// Nothing, and nothing is held back by the stream.
    flushed: bool,
}

impl Default for Unsent {
    fn default() -> Self {
        Self { head: Bytes::new(), body: Bytes::new(), flushed: true }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(stream: S, scratch: Scratch) -> Self {
        Self {
            stream,
            scratch,
            unsent: Unsent::default(),
            rest: Bytes::new(),
            framing: Framing::Length(0),
            lasting: true,
        }
    }

    /// Whether a request may be sent, as far as is known without waiting.
    pub(crate) fn usable(&mut self) -> bool {
        let over = self.framing.is_end() && self.rest.is_empty();
        // It would be the end of the connection, or something that nobody asked for.
        let cx = &mut Context::from_waker(Waker::noop());
        self.lasting
            && self.unsent.flushed
            && over
            && self.scratch.poll_read(&mut self.stream, cx, |_| ()).is_pending()
    }

    /// Sends a request, of which `head` is the part before the body, and waits for the head of its
    /// answer. That may come before all of the request has been sent.
    pub(crate) async fn send(&mut self, head: Bytes, body: Bytes) -> Result<Response<()>, Failed> {
        self.unsent = Unsent { head, body, flushed: false };
        let (mut came, mut seen) = (BytesMut::new(), 0);
        loop {
            while let Some(end) = end_of_head(&came, seen) {
                seen = 0;
                if let Some(head) = read_head(&came.split_to(end).freeze())? {
                    return Ok(self.answered(head, came.freeze()));
                }
            }
            seen = came.len();
            if seen >= HEAD_BYTES_MAX {
                return Err(Failed::Broken);
            }
            let read = poll_fn(|cx| {
                self.poll_write(cx);
                self.scratch.poll_read(&mut self.stream, cx, |bytes| came.extend_from_slice(bytes))
            });
            let read = read.await;
            if read.is_err() || came.len() == seen {
                return Err(if seen == 0 { Failed::Unanswered } else { Failed::Broken });
            }
        }
    }

    fn answered(&mut self, head: Head, rest: Bytes) -> Response<()> {
        self.rest = rest;
        self.framing = head.framing;
        self.lasting = head.lasting;
        head.response
    }

    /// The next piece of the answer's body; `None` at its proper end.
    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failed>>> {
        while !self.framing.is_end() {
            let rest = std::mem::take(&mut self.rest);
            let taken = if rest.is_empty() {
                ready!(self.poll_body(cx))
            } else {
                self.framing.take(&rest, |n| rest.slice(..n)).map_err(Failed::from)
            };
            match taken {
                Ok(Taken { data, unasked }) => {
                    self.lasting &= !unasked;
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Err(failed) => return Poll::Ready(Some(Err(failed))),
            }
        }
        Poll::Ready(None)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Taken, Failed>> {
        self.poll_write(cx);
        let Self { stream, scratch, framing, .. } = self;
        let read = scratch.poll_read(stream, cx, |bytes| match bytes {
            [] => framing.close(),
            _ => framing.take(bytes, |n| Bytes::copy_from_slice(&bytes[..n])),
        });
        Poll::Ready(Ok(ready!(read).map_err(|_| Failed::Broken)??))
    }

    /// Writes what is unsent, as far as that can be done now. Who cannot be written to any more may
    /// still have said why.
    fn poll_write(&mut self, cx: &mut Context<'_>) {
        if self.unsent.flushed {
            return;
        }
        if let Poll::Ready(Err(_)) = self.unsent.poll_write(&mut self.stream, cx) {
            self.unsent = Unsent::default();
            self.lasting = false;
        }
    }
}

impl Unsent {
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        while !(self.head.is_empty() && self.body.is_empty()) {
            let both = [IoSlice::new(&self.head), IoSlice::new(&self.body)];
            let slices = if self.head.is_empty() { &both[1..] } else { &both[..] };
            let written = ready!(stream.as_mut().poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(self.head.len());
            self.head.advance(of_head);
            self.body.advance(written - of_head);
        }
        ready!(stream.poll_flush(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const REQUEST: &str = "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n";

    /// A connection and its upstream, with so many bytes between them.
    fn connected(between: usize) -> (Connection<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(between);
        (Connection::new(ours, Scratch::new()), theirs)
    }

    async fn ask(connection: &mut Connection<DuplexStream>) -> Result<u16, Failed> {
        let sent = connection.send(Bytes::from(REQUEST), Bytes::from("body")).await;
        sent.map(|head| head.status().as_u16())
    }

    async fn rest(connection: &mut Connection<DuplexStream>) -> Result<Vec<u8>, Failed> {
        let mut all = Vec::new();
        while let Some(chunk) = poll_fn(|cx| connection.poll_chunk(cx)).await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn exchanges_follow_each_other_on_one_connection() {
        let (mut connection, mut upstream) = connected(1024);
        for (answer, body) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\na: b\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
                "",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                "abc",
            ),
        ] {
            assert!(connection.usable());
            upstream.write_all(answer.as_bytes()).await.expect("room");
            ask(&mut connection).await.expect("an answer");
            let mut asked = vec![0; REQUEST.len() + 4];
            upstream.read_exact(&mut asked).await.expect("the request");
            assert_eq!(asked, [REQUEST, "body"].concat().as_bytes());
            assert_eq!(rest(&mut connection).await, Ok(body.into()));
        }
        assert!(connection.usable());
        drop(upstream);
        assert!(!connection.usable(), "closed by the upstream");
    }

    #[tokio::test]
    async fn an_answer_may_come_byte_by_byte() {
        let (mut connection, mut upstream) = connected(1024);
        let drip = async {
            let answer =
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
            for byte in answer {
                upstream.write_all(&[*byte]).await.expect("room");
                tokio::task::yield_now().await;
            }
        };
        let read = async {
            assert_eq!(ask(&mut connection).await, Ok(200));
            assert_eq!(rest(&mut connection).await, Ok(b"abc".to_vec()));
        };
        tokio::join!(biased; drip, read);
        assert!(connection.usable());
    }

    #[tokio::test]
    async fn an_answer_before_the_request_was_sent_counts_and_ends_the_connection() {
        let (mut connection, mut upstream) = connected(8);
        let refuse = async {
            let answer = b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n";
            upstream.write_all(answer).await.expect("read");
        };
        let ((), status) = tokio::join!(refuse, ask(&mut connection));
        assert_eq!((status, rest(&mut connection).await), (Ok(413), Ok(vec![])));
        assert!(!connection.usable(), "most of the request was never read");
    }

    #[tokio::test]
    async fn who_hangs_up_after_an_answer_has_answered() {
        let (mut connection, mut upstream) = connected(1024);
        upstream.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n").await.expect("room");
        drop(upstream);
        assert_eq!(ask(&mut connection).await, Ok(401));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_told_from_none() {
        for (answer, why) in [
            ("", Failed::Unanswered),
            ("HTTP/1.1 200 OK\r\n", Failed::Broken),
            ("nonsense\r\n\r\n", Failed::Broken),
        ] {
            let (mut connection, mut upstream) = connected(1024);
            upstream.write_all(answer.as_bytes()).await.expect("room");
            drop(upstream);
            assert_eq!(ask(&mut connection).await, Err(why), "{answer}");
        }
        for (answer, body) in [
            ("content-length: 3\r\n\r\nab", Err(Failed::Broken)),
            ("transfer-encoding: chunked\r\n\r\n2\r\nab\r\n", Err(Failed::Broken)),
            ("transfer-encoding: chunked\r\n\r\nx\r\n", Err(Failed::Broken)),
            ("\r\nab", Ok(b"ab".to_vec())),
        ] {
            let (mut connection, mut upstream) = connected(1024);
            let answer = format!("HTTP/1.1 200 OK\r\n{answer}");
            upstream.write_all(answer.as_bytes()).await.expect("room");
            drop(upstream);
            assert_eq!(ask(&mut connection).await, Ok(200));
            assert_eq!(rest(&mut connection).await, body, "{answer}");
        }
    }

    #[tokio::test]
    async fn a_head_has_a_longest_length() {
        let (mut connection, mut upstream) = connected(2 * HEAD_BYTES_MAX);
        let head = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(HEAD_BYTES_MAX));
        upstream.write_all(head.as_bytes()).await.expect("room");
        assert_eq!(ask(&mut connection).await, Err(Failed::Broken));
    }

    #[tokio::test]
    async fn nothing_follows_an_answer_that_says_too_much() {
        for (answer, body) in [
            ("content-length: 1\r\n\r\nab", "a"),
            ("content-length: 0\r\n\r\nb", ""),
            ("transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nb", "a"),
            ("content-length: 1\r\nconnection: close\r\n\r\na", "a"),
        ] {
            let (mut connection, mut upstream) = connected(1024);
            let answer = format!("HTTP/1.1 200 OK\r\n{answer}");
            upstream.write_all(answer.as_bytes()).await.expect("room");
            assert_eq!(ask(&mut connection).await, Ok(200));
            assert_eq!(rest(&mut connection).await, Ok(body.into()));
            assert!(!connection.usable(), "{answer}");
        }
        let (mut connection, mut upstream) = connected(1024);
        upstream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("room");
        assert!(!connection.usable(), "an answer to nothing");
    }
}
