//! Any bytes as a stream to be translated, cut anywhere: nothing panics, the events are in their
//! order, and neither they nor the message that they make depend on the cuts.

use arbitrary::Unstructured;
use bytes::Bytes;
use sluice_runtime_tokio::protocol::sse;
use sluice_runtime_tokio::translate::{Naming, Stream, Whole};

/// Runs one input: the lengths of pieces are drawn from its end, the rest is the stream.
///
/// # Panics
/// When the cuts make a difference, or events are out of order.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(pieces) = u.int_in_range(0..=6_u8) else { return };
    let mut lengths = Vec::new();
    for _ in 0..pieces {
        lengths.extend(u.int_in_range(0..=200_usize));
    }
    let stream = Bytes::copy_from_slice(u.take_rest());
    let every = vec![1; stream.len()];
    let (events, message) = (events(&stream, &[]), message(&stream, &[]));
    judge(&events);
    let names = sse::events(&events).map(|event| event.name == b"error");
    assert_eq!(names.last().unwrap_or(true), message.is_err());
    for lengths in [lengths, every] {
        assert_eq!(self::events(&stream, &lengths), events);
        assert_eq!(self::message(&stream, &lengths), message);
    }
}

fn naming() -> Naming {
    Naming { model: "mine".into(), nonce: 1 }
}

/// Pieces of these lengths, and one more of what is left.
fn pieces<'a>(stream: &Bytes, lengths: &'a [usize]) -> impl Iterator<Item = Bytes> + 'a {
    let mut rest = stream.clone();
    let mut cuts = lengths.iter().copied();
    std::iter::from_fn(move || {
        let len = cuts.next().unwrap_or(usize::MAX).min(rest.len());
        let more = !rest.is_empty();
        more.then(|| rest.split_to(len))
    })
}

fn events(stream: &Bytes, lengths: &[usize]) -> Vec<u8> {
    let mut translated = Stream::new(naming());
    let mut out: Vec<u8> =
        pieces(stream, lengths).flat_map(|piece| translated.push(piece)).collect();
    out.extend_from_slice(&translated.end());
    out
}

/// The message; what is told when there is none.
fn message(stream: &Bytes, lengths: &[usize]) -> Result<Bytes, String> {
    let mut whole = Whole::new(naming());
    for piece in pieces(stream, lengths) {
        whole.push(piece).map_err(|error| error.message.into_owned())?;
    }
    whole.end().map_err(|error| error.message.into_owned())
}

/// A start, blocks one after the other, an end; an error may come at any place and is the last.
fn judge(events: &[u8]) {
    let (mut started, mut open, mut ended) = (false, false, false);
    for event in sse::events(events) {
        assert!(!ended || event.name == b"message_stop");
        match event.name {
            b"message_start" => assert!(!std::mem::replace(&mut started, true)),
            b"content_block_start" => assert!(started && !std::mem::replace(&mut open, true)),
            b"content_block_delta" => assert!(open),
            b"content_block_stop" => assert!(std::mem::take(&mut open)),
            b"message_delta" | b"error" => {
                assert!(event.name == b"error" || started && !open);
                ended = true;
            }
            b"message_stop" => assert!(ended),
            name => panic!("{name:?}"),
        }
    }
    assert!(ended, "a stream ends with its end");
}
