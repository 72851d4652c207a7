//! The chunked coding of a body (RFC 9112, 7.1), in whatever pieces it comes.

use bytes::BytesMut;

use super::Malformed;

/// The most bytes of extensions and trailers, which are of no use to anybody, in one body.
const UNUSED_BYTES_MAX: usize = 16 * 1024;

/// Reads one body.
#[derive(Debug)]
pub(super) struct Chunked {
    at: At,
    unused: usize,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The size of a chunk: its value so far, if it has begun.
    Size(Option<u64>),
    /// The end of the line behind a size.
    Extension(u64),
    /// The line feed behind a size.
    SizeEnd(u64),
    /// So many bytes of a chunk.
    Data(u64),
    /// The line end behind a chunk.
    DataReturn,
    DataFeed,
    /// The beginning of a trailer, or of the last line, which is empty.
    Trailer,
    /// The rest of a trailer, and its line feed.
    TrailerRest,
    TrailerFeed,
    /// The line feed of the last line.
    LastFeed,
    /// Nothing: it is whole.
    End,
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self { at: At::Size(None), unused: 0 }
    }

    /// Whether the body is whole.
    pub(super) fn is_end(&self) -> bool {
        self.at == At::End
    }

    /// Takes in what has come, adds the data in it to `data`, and returns how much of it belongs to
    /// the body: all, but for what comes behind its end.
    pub(super) fn decode(&mut self, bytes: &[u8], data: &mut BytesMut) -> Result<usize, Malformed> {
        let mut rest = bytes;
        while let ([byte, behind @ ..], false) = (rest, self.is_end()) {
            if let At::Data(left) = self.at {
                let now = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                data.extend_from_slice(&rest[..now]);
                rest = &rest[now..];
                let left = left - now as u64;
                self.at = if left == 0 { At::DataReturn } else { At::Data(left) };
            } else {
                self.at = self.step(*byte)?;
                rest = behind;
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// What follows this byte of the frame around the data.
    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        let next = match (self.at, byte) {
            (At::Size(Some(size)), b'\r') => At::SizeEnd(size),
            (At::Size(Some(size)), b';' | b' ' | b'\t') => At::Extension(size),
            (At::Size(size), digit) => At::Size(Some(with_digit(size, digit)?)),
            (At::Extension(size), b'\r') => At::SizeEnd(size),
            (At::SizeEnd(0) | At::TrailerFeed, b'\n') => At::Trailer,
            (At::SizeEnd(size), b'\n') => At::Data(size),
            (At::DataReturn, b'\r') => At::DataFeed,
            (At::DataFeed, b'\n') => At::Size(None),
            (At::Trailer, b'\r') => At::LastFeed,
            (At::TrailerRest, b'\r') => At::TrailerFeed,
            (At::LastFeed, b'\n') => At::End,
            (same @ At::Extension(_), _) => self.unused(same, byte)?,
            (At::Trailer | At::TrailerRest, _) => self.unused(At::TrailerRest, byte)?,
            _ => return Err(Malformed),
        };
        Ok(next)
    }

    /// A byte of what nobody reads. A bare line feed would end a line for some readers and not for
    /// others.
    fn unused(&mut self, at: At, byte: u8) -> Result<At, Malformed> {
        self.unused += 1;
        let fits = self.unused <= UNUSED_BYTES_MAX && byte != b'\n';
        if fits { Ok(at) } else { Err(Malformed) }
    }
}

fn with_digit(size: Option<u64>, digit: u8) -> Result<u64, Malformed> {
    let digit = char::from(digit).to_digit(16).ok_or(Malformed)?;
    let size = size.unwrap_or(0).checked_mul(16).ok_or(Malformed)?;
    Ok(size | u64::from(digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All data, and how much was read; pieces end at `cuts`.
    fn decode(bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut chunked, mut data, mut read) = (Chunked::new(), BytesMut::new(), 0);
        let mut from = 0;
        for &to in cuts.iter().chain([&bytes.len()]) {
            read += chunked.decode(&bytes[from..to], &mut data)?;
            from = to;
        }
        Ok((data.to_vec(), read, chunked.is_end()))
    }

    #[test]
    fn data_is_told_from_its_frame() {
        let whole = b"5;a=\"b\"\r\nhello\r\nA \r\n, world!\r\n\r\n0\r\nx: y\r\n\r\nnext";
        let (data, read, end) = decode(whole, &[]).expect("well-formed");
        assert_eq!((&*data, read, end), (&b"hello, world!\r\n"[..10 + 5], whole.len() - 4, true));
        assert_eq!(decode(b"0\r\n\r\n", &[]), Ok((vec![], 5, true)));
        assert_eq!(decode(b"3\r\nab", &[]), Ok((b"ab".to_vec(), 5, false)));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bad in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"1\n",
            b"1\r\nab",
            b"1\r\na\n",
            b"1;x\ny",
            b"0\r\nx\n",
            b"0\r\n\rx",
            b"10000000000000000\r\n",
            b";x\r\n",
        ] {
            assert_eq!(decode(bad, &[]), Err(Malformed), "{}", String::from_utf8_lossy(bad));
        }
        let long = |frame: &str| frame.replace('*', &"x".repeat(UNUSED_BYTES_MAX));
        for (frame, fits) in [("1;*", true), ("1;x*", false), ("0\r\n*", true), ("0\r\nx*", false)]
        {
            assert_eq!(decode(long(frame).as_bytes(), &[]).is_ok(), fits, "{frame}");
        }
        assert!(decode(b"ffffffffffffffff\r\nx", &[]).is_ok());
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_is_read_alike(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "3\r\nabc\r\n", "1;x\r\n;\r\n", "B\r\nabcdefghijk\r\n", "0\r\n", "a: b\r\n", "\r\n", "1\n",
                ]),
                0..8,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = pieces.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|at| at.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(decode(&bytes, &cuts), decode(&bytes, &[]));
        }
    }
}
