//! Server-sent events: cutting a byte stream into whole events, and writing one.
//!
//! The cut falls after blank lines only, however the bytes were split on their way, so that a
//! stream that breaks off never leaves a client with half an event in its hands.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

/// The most bytes of one event that has not ended.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Cuts a byte stream after blank lines.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The beginning of an event whose blank line has not come.
    held: BytesMut,
    /// Where in `held` the line begins that has not ended.
    line: usize,
    /// Before this place in `held` there is no end of that line.
    searched: usize,
}

/// An event grew beyond [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Splitter {
    /// Takes in a chunk and gives out the whole events that it completes, as the bytes that came;
    /// possibly none.
    ///
    /// # Errors
    /// An event without end, see [`EVENT_BYTES_MAX`].
    pub fn push(&mut self, chunk: Bytes) -> Result<Bytes, TooLong> {
        if self.held.is_empty() {
            let end = self.scan(&chunk);
            self.held.extend_from_slice(&chunk[end..]);
            self.forget(end);
            return self.within(chunk.slice(..end));
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(&chunk);
        let end = self.scan(&held);
        let whole = held.split_to(end).freeze();
        self.held = held;
        self.forget(end);
        self.within(whole)
    }

    /// What is left of an event that never ended.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.held
    }

    const fn forget(&mut self, len: usize) {
        self.line -= len;
        self.searched -= len;
    }

    fn within(&self, whole: Bytes) -> Result<Bytes, TooLong> {
        if self.held.len() > EVENT_BYTES_MAX { Err(TooLong) } else { Ok(whole) }
    }

    /// Where the last whole event in `bytes` ends; 0 if there is none.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut end = 0;
        while let Some(at) = line_end(&bytes[self.searched..]).map(|at| at + self.searched) {
            // A carriage return at the end may be half of a line's end.
            if bytes[at] == b'\r' && at + 1 == bytes.len() {
                self.searched = at;
                return end;
            }
            let next = if bytes[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 };
            if at == self.line {
                end = next;
            }
            self.line = next;
            self.searched = next;
        }
        self.searched = bytes.len();
        end
    }
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&b| b == b'\n' || b == b'\r')
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event` field; empty if there was none.
    pub name: &'a [u8],
    /// The `data` fields, joined by line feeds.
    pub data: Cow<'a, [u8]>,
    /// The event's bytes, with its blank line.
    pub raw: &'a [u8],
}

/// The events in a run of whole ones, in order; comments alone make none.
pub fn events(mut bytes: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        while !bytes.is_empty() {
            let (event, rest) = first_event(bytes);
            bytes = rest;
            if event.is_some() {
                return event;
            }
        }
        None
    })
}

fn first_event(bytes: &[u8]) -> (Option<Event<'_>>, &[u8]) {
    let mut name: &[u8] = b"";
    let mut data: Option<Cow<'_, [u8]>> = None;
    let mut rest = bytes;
    while let Some(at) = line_end(rest) {
        let line = &rest[..at];
        rest = if rest[at..].starts_with(b"\r\n") { &rest[at + 2..] } else { &rest[at + 1..] };
        if line.is_empty() {
            break;
        }
        match field(line) {
            (b"event", value) => name = value,
            (b"data", value) => match &mut data {
                None => data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    data.to_mut().push(b'\n');
                    data.to_mut().extend_from_slice(value);
                }
            },
            (_, _) => {}
        }
    }
    let raw = &bytes[..bytes.len() - rest.len()];
    if name.is_empty() && data.is_none() {
        return (None, rest);
    }
    (Some(Event { name, data: data.unwrap_or_default(), raw }), rest)
}

fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&b| b == b':') {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

/// An event as bytes. `name` and `data` hold no line end.
#[must_use]
pub fn event(name: &str, data: &str) -> Bytes {
    debug_assert!(!name.contains(['\r', '\n']) && !data.contains(['\r', '\n']));
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owned(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        events(bytes).map(|e| (e.name.to_vec(), e.data.into_owned())).collect()
    }

    fn split(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<u8>) {
        let mut splitter = Splitter::default();
        let mut whole = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            let chunk = Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]);
            whole.extend_from_slice(&splitter.push(chunk).expect("short"));
        }
        (whole, splitter.rest().to_vec())
    }

    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "event: ",
            "data: ",
            "data:",
            ": note",
            "x",
            "{\"a\":1}",
            "\n",
            "\n",
            "\r\n",
            "\r",
            "\n\n",
            "é",
        ])
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_events(
            pieces in prop::collection::vec(piece(), 0..40),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let bytes = pieces.concat().into_bytes();
            let (whole, rest) = split(&bytes, &[]);
            let every: Vec<usize> = (0..=bytes.len()).collect();
            for cuts in [&cuts, &every] {
                let (cut_whole, cut_rest) = split(&bytes, cuts);
                prop_assert_eq!(&cut_whole, &whole);
                prop_assert_eq!(&cut_rest, &rest);
            }
            prop_assert_eq!([whole, rest].concat(), bytes);
        }
    }

    #[test]
    fn whole_events_are_given_out_and_the_rest_is_kept() {
        let bytes = b"event: a\ndata: 1\n\ndata: 2\r\ndata: 3\r\n\r\n: hi\n\nevent: b\ndata: half";
        let (whole, rest) = split(bytes, &[]);
        assert_eq!(rest, b"event: b\ndata: half");
        let expected: [(&[u8], &[u8]); 2] = [(b"a", b"1"), (b"", b"2\n3")];
        let got = owned(&whole);
        let got: Vec<(&[u8], &[u8])> = got.iter().map(|(n, d)| (&n[..], &d[..])).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn raw_bytes_of_all_events_and_comments_are_all_there_is() {
        let bytes = b": c\n\nevent: a\ndata: 1\n\nevent: b\ndata: 2\n\n";
        let raws: Vec<&[u8]> = events(bytes).map(|e| e.raw).collect();
        assert_eq!(raws, [&b"event: a\ndata: 1\n\n"[..], &b"event: b\ndata: 2\n\n"[..]]);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut splitter = Splitter::default();
        let chunk = Bytes::from(vec![b'x'; EVENT_BYTES_MAX / 2 + 1]);
        assert!(splitter.push(chunk.clone()).is_ok());
        assert_eq!(splitter.push(chunk), Err(TooLong));
    }

    #[test]
    fn an_event_is_written_as_it_is_read() {
        let bytes = event("error", "{\"type\":\"error\"}");
        assert_eq!(&bytes[..], b"event: error\ndata: {\"type\":\"error\"}\n\n");
        assert_eq!(owned(&bytes), [(b"error".to_vec(), b"{\"type\":\"error\"}".to_vec())]);
    }
}
