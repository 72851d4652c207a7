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
    /// Before this place in `held` no blank line ends.
    searched: usize,
}

/// An event grew beyond [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Splitter {
    /// Takes in a chunk and gives out the whole events that it completes, as the bytes that came;
    /// possibly none. They are copied only if an event began in an earlier chunk.
    ///
    /// # Errors
    /// An event without end, see [`EVENT_BYTES_MAX`].
    pub fn push(&mut self, mut chunk: Bytes) -> Result<Bytes, TooLong> {
        if self.held.is_empty() {
            let whole = chunk.split_to(whole_end(&chunk, 0));
            self.hold(BytesMut::from(&chunk[..]))?;
            return Ok(whole);
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(&chunk);
        let whole = held.split_to(whole_end(&held, self.searched)).freeze();
        self.hold(held)?;
        Ok(whole)
    }

    /// What is left of an event that never ended.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.held
    }

    fn hold(&mut self, rest: BytesMut) -> Result<(), TooLong> {
        // A carriage return at the end may be half of a line's end.
        self.searched = rest.len() - usize::from(rest.ends_with(b"\r"));
        // An empty rest would keep alive the buffer that it was split from.
        self.held = if rest.is_empty() { BytesMut::new() } else { rest };
        if self.held.len() > EVENT_BYTES_MAX { Err(TooLong) } else { Ok(()) }
    }
}

/// Where the last whole event in `bytes` ends; 0 if there is none. No blank line ends before
/// `searched`. Looked for from behind: a chunk mostly ends where an event does.
fn whole_end(bytes: &[u8], searched: usize) -> usize {
    let mut end = bytes.len() - usize::from(bytes.ends_with(b"\r"));
    while let Some(at) = memchr::memrchr2(b'\n', b'\r', &bytes[searched..end]) {
        let last = searched + at;
        let pair = bytes[last] == b'\n' && last > 0 && bytes[last - 1] == b'\r';
        let first = last - usize::from(pair);
        // A line that ends where it begins, behind another's end or at the very beginning, is blank.
        if first == 0 || matches!(bytes[first - 1], b'\n' | b'\r') {
            return last + 1;
        }
        end = first;
    }
    0
}

/// The first line, without its end, and what follows that.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr2(b'\n', b'\r', bytes)?;
    let (line, end) = bytes.split_at(at);
    let rest = if end.starts_with(b"\r\n") { &end[2..] } else { &end[1..] };
    Some((line, rest))
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
            if rest.len() == bytes.len() {
                return None; // A line without end is no event yet.
            }
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
    while let Some((line, next)) = line(rest) {
        rest = next;
        if line.is_empty() {
            break;
        }
        if let Some(value) = field(line, b"data") {
            match &mut data {
                None => data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    data.to_mut().push(b'\n');
                    data.to_mut().extend_from_slice(value);
                }
            }
        } else if let Some(value) = field(line, b"event") {
            name = value;
        }
    }
    let raw = &bytes[..bytes.len() - rest.len()];
    if name.is_empty() && data.is_none() {
        return (None, rest);
    }
    (Some(Event { name, data: data.unwrap_or_default(), raw }), rest)
}

/// The value of a line, if it is a field of this name.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        b"" => Some(b""),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// An event as bytes. `name` and `data` hold no line end.
#[must_use]
pub fn event(name: &str, data: &str) -> Bytes {
    debug_assert!(!name.contains(['\r', '\n']) && !data.contains(['\r', '\n']));
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// An event without a name as bytes. `data` holds no line end.
#[must_use]
pub fn unnamed(data: &str) -> Bytes {
    debug_assert!(!data.contains(['\r', '\n']));
    Bytes::from(format!("data: {data}\n\n"))
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
            "data",
            "database: ",
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
    fn every_kind_of_line_end_makes_a_blank_line() {
        for (bytes, end) in [
            ("a\n\nb", 3),
            ("a\r\n\r\nb", 5),
            ("a\r\rb", 3),
            ("a\n\r\nb", 4),
            ("a\r\n\nb", 4),
            ("a\r\r\nb", 4),
            ("a\n\rb", 3),
            ("a\n\r", 0),
            ("a\r\nb", 0),
            ("a\n\nb\n", 3),
            ("\nb", 1),
            ("\r\nb", 2),
            ("\r", 0),
        ] {
            let (whole, rest) = split(bytes.as_bytes(), &[]);
            assert_eq!((whole.len(), rest.len()), (end, bytes.len() - end), "{bytes:?}");
        }
    }

    #[test]
    fn whole_events_are_passed_on_as_the_bytes_that_came() {
        let mut splitter = Splitter::default();
        let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
        let whole = splitter.push(chunk.clone()).expect("short");
        assert_eq!((whole.as_ptr(), whole.len()), (chunk.as_ptr(), chunk.len()));
    }

    #[test]
    fn a_line_without_end_is_no_event() {
        assert_eq!(owned(b"data: 1\n\ndata: 2"), [(b"".to_vec(), b"1".to_vec())]);
        assert_eq!(owned(b"{}"), []);
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
