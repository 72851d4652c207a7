//! Any bytes as an upstream's stream, cut anywhere: nothing panics, and what becomes of it does not
//! depend on the cuts.

use arbitrary::Unstructured;
use bytes::Bytes;
use sluice_runtime_tokio::protocol::Protocol;
use sluice_runtime_tokio::protocol::answer::Usage;
use sluice_runtime_tokio::protocol::sse::{self, Splitter};
use sluice_runtime_tokio::upstream::redact::Secrets;
use sluice_runtime_tokio::upstream::relay::{Relay, Step};

/// Runs one input: the lengths of pieces are drawn from its end, the rest is the stream.
///
/// # Panics
/// When the cuts make a difference.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let (Ok(renamed), Ok(pieces)) = (u.arbitrary::<bool>(), u.int_in_range(0..=6_u8)) else {
        return;
    };
    let mut lengths = Vec::new();
    for _ in 0..pieces {
        lengths.extend(u.int_in_range(0..=200_usize));
    }
    let stream = Bytes::copy_from_slice(u.take_rest());
    let every = vec![1; stream.len()];
    let model = renamed.then_some("mine");
    let (split, relayed) = (split(&stream, &[]), relay(model, &stream, &[]));
    assert_eq!([&split.0[..], &split.1].concat(), stream, "no byte is lost");
    for lengths in [lengths, every] {
        assert_eq!(self::split(&stream, &lengths), split);
        assert_eq!(relay(model, &stream, &lengths), relayed);
    }
    let events: usize = sse::events(&split.0).map(|event| event.raw.len()).sum();
    assert!(events <= split.0.len(), "events do not overlap");
}

/// Pieces of these lengths, and one more of what is left.
fn pieces<'a>(stream: &'a Bytes, lengths: &'a [usize]) -> impl Iterator<Item = Bytes> + 'a {
    let mut rest = stream.clone();
    let mut cuts = lengths.iter().copied();
    std::iter::from_fn(move || {
        let len = cuts.next().unwrap_or(usize::MAX).min(rest.len());
        let more = !rest.is_empty();
        more.then(|| rest.split_to(len))
    })
}

/// Whole events, and the rest.
fn split(stream: &Bytes, lengths: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let mut splitter = Splitter::default();
    let mut whole = Vec::new();
    for piece in pieces(stream, lengths) {
        whole.extend_from_slice(&splitter.push(piece).expect("no input is that long"));
    }
    (whole, splitter.rest().to_vec())
}

/// The bytes that the client is sent, how the upstream gave up, begun and whole, tokens.
fn relay(
    model: Option<&str>,
    stream: &Bytes,
    lengths: &[usize],
) -> (Vec<u8>, Option<Step>, [bool; 2], Usage) {
    let mut relay = Relay::new(Protocol::Anthropic, model.map(str::to_owned), Secrets::default());
    let (mut sent, mut end) = (Vec::new(), None);
    for piece in pieces(stream, lengths) {
        match relay.push(piece) {
            Step::Send(bytes) | Step::Start(bytes) => sent.extend_from_slice(&bytes),
            Step::Broken(bytes) => {
                sent.extend_from_slice(&bytes);
                end = Some(Step::Broken(Bytes::new()));
            }
            failed @ Step::Failed(..) => end = Some(failed),
        }
        if end.is_some() {
            break;
        }
    }
    (sent, end, [relay.started(), relay.stopped()], relay.usage())
}
