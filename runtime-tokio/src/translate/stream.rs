//! The bytes of an upstream's answer as those of ours: a stream as a stream or as one message, a
//! plain answer as one message.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::answer::{Answer, Naming};
use super::claude::Message;
use super::emit::{Built, Sink, Wire};
use super::fault::{self, Document};
use crate::protocol::error::ApiError;
use crate::protocol::sse::{self, Splitter};

/// The most bytes of a stream that is put together into one message.
pub const WHOLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A stream of Gemini's on its way to a client that wants one of the Messages API. What comes of it
/// does not depend on how its bytes were cut.
#[derive(Debug)]
pub struct Stream {
    splitter: Splitter,
    answer: Answer<Wire>,
}

impl Stream {
    /// The beginning of a stream.
    #[must_use]
    pub fn new(naming: Naming) -> Self {
        Self { splitter: Splitter::default(), answer: Answer::new(naming, Wire::default()) }
    }

    /// Takes in a piece, and gives out the events that it completes, which may be none. Of what
    /// follows an `error` event nothing is read.
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        if !self.answer.is_over() {
            let taken = push(&mut self.splitter, &mut self.answer, piece);
            self.or_fail(taken);
        }
        self.given_out()
    }

    /// The upstream is done: gives out the end, which is an `error` event if the upstream's answer
    /// has none.
    pub fn end(&mut self) -> Bytes {
        if !self.answer.is_over() {
            let ended = end(&self.splitter, &mut self.answer);
            self.or_fail(ended);
        }
        self.given_out()
    }

    /// Whether the model has ended, so that nothing but the tokens used can follow.
    #[must_use]
    pub const fn is_finishing(&self) -> bool {
        self.answer.is_finishing()
    }

    fn or_fail(&mut self, result: Result<(), ApiError>) {
        if let Err(error) = result {
            self.answer.fail(&error);
        }
    }

    fn given_out(&mut self) -> Bytes {
        std::mem::take(&mut self.answer.sink_mut().0).into()
    }
}

/// A stream of Gemini's on its way to a client that wants one message.
#[derive(Debug)]
pub struct Whole {
    splitter: Splitter,
    answer: Answer<Built>,
    taken: Result<(), ApiError>,
    bytes: usize,
}

impl Whole {
    /// The beginning of a stream.
    #[must_use]
    pub fn new(naming: Naming) -> Self {
        let answer = Answer::new(naming, Built::default());
        Self { splitter: Splitter::default(), answer, taken: Ok(()), bytes: 0 }
    }

    /// Takes in a piece.
    ///
    /// # Errors
    /// The stream is of no use: it says that the upstream failed, cannot be read or is too large.
    /// Nothing can come of it then.
    pub fn push(&mut self, piece: Bytes) -> Result<(), ApiError> {
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.taken.is_ok() {
            self.taken = if self.bytes > WHOLE_BYTES_MAX {
                Err(fault::too_large())
            } else {
                push(&mut self.splitter, &mut self.answer, piece)
            };
        }
        self.taken.clone()
    }

    /// Whether the model has ended, so that nothing but the tokens used can follow.
    #[must_use]
    pub const fn is_finishing(&self) -> bool {
        self.answer.is_finishing()
    }

    /// The upstream is done: gives out the message.
    ///
    /// # Errors
    /// As for [`Self::push`], or the stream broke off.
    pub fn end(mut self) -> Result<Bytes, ApiError> {
        self.taken?;
        end(&self.splitter, &mut self.answer)?;
        Ok(written(&self.answer.into_sink().into_message()))
    }
}

/// A plain answer of Gemini's as one of the Messages API; also the chunks of a stream in an array.
///
/// # Errors
/// An answer that says that the upstream failed, cannot be read or has no end.
pub fn whole(body: &[u8], naming: Naming) -> Result<Bytes, ApiError> {
    let mut answer = Answer::new(naming, Built::default());
    documents(&mut answer, body)?;
    answer.end()?;
    Ok(written(&answer.into_sink().into_message()))
}

fn push<S: Sink>(
    splitter: &mut Splitter,
    answer: &mut Answer<S>,
    piece: Bytes,
) -> Result<(), ApiError> {
    let whole = splitter.push(piece).map_err(|_| fault::too_large())?;
    sse::events(&whole).try_for_each(|event| documents(answer, &event.data))
}

fn end<S: Sink>(splitter: &Splitter, answer: &mut Answer<S>) -> Result<(), ApiError> {
    // A last event that has all but its blank line is whole; one that is cut within is no JSON.
    let rest = [splitter.rest(), b"\n\n"].concat();
    sse::events(&rest)
        .try_for_each(|event| documents(answer, &event.data))
        .map_err(|_| fault::broke_off())?;
    answer.end()
}

/// Takes in the documents of an event or of a body: one, several behind each other, as an upstream
/// makes them that forgets the blank line between events, or an array of them.
fn documents<S: Sink>(answer: &mut Answer<S>, data: &[u8]) -> Result<(), ApiError> {
    for raw in serde_json::Deserializer::from_slice(data).into_iter::<&RawValue>() {
        let raw = raw.map_err(|_| fault::undecodable())?;
        match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
            Ok(all) => all.into_iter().try_for_each(|raw| document(answer, raw))?,
            Err(_) => document(answer, raw)?,
        }
    }
    Ok(())
}

fn document<S: Sink>(answer: &mut Answer<S>, raw: &RawValue) -> Result<(), ApiError> {
    match Document::read(raw).ok_or_else(fault::undecodable)? {
        Document::Chunk(chunk) => {
            let chunk = serde_json::from_str(chunk.get()).map_err(|_| fault::undecodable())?;
            answer.take(chunk)
        }
        Document::Error(error) => Err(error),
    }
}

fn written(message: &Message<'_>) -> Bytes {
    serde_json::to_vec(message).expect("a message always has a JSON form").into()
}
