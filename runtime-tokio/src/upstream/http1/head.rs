//! The head of an answer, and what it says about the body behind it (RFC 9112).

use std::mem::MaybeUninit;

use bytes::Bytes;
use httparse::ParserConfig;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{Response, StatusCode};

use super::Malformed;
use super::framing::Framing;

/// The most bytes of a head.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most headers.
const HEADERS_MAX: usize = 100;

/// A head that has been read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// The connection can carry another exchange behind this one.
    pub(super) lasting: bool,
}

/// Where a head ends, if its end is here. What comes before `seen` has been looked at.
pub(super) fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    // An end may have begun before.
    let from = seen.saturating_sub(3);
    let mut feeds = memchr::memchr_iter(b'\n', &bytes[from..]);
    feeds.find_map(|at| match &bytes[from + at + 1..] {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

/// Reads a whole head; `None` if it is an interim one (RFC 9110, 15.2).
pub(super) fn read_head(bytes: &Bytes) -> Result<Option<Head>, Malformed> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let read = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut headers);
    let complete = read.map_err(|_| Malformed)?.is_complete();
    let status = parsed.code.filter(|_| complete).ok_or(Malformed)?;
    let status = StatusCode::from_u16(status).map_err(|_| Malformed)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed); // Nobody asked for that.
    }
    if status.is_informational() {
        return Ok(None);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    let map = response.headers_mut();
    map.reserve(parsed.headers.len());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed)?;
        let value = bytes.slice_ref(header.value);
        map.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| Malformed)?);
    }
    let both = map.contains_key(TRANSFER_ENCODING) && map.contains_key(CONTENT_LENGTH);
    // Who says both may mean either: nothing behind this body could be trusted.
    let lasting = parsed.version == Some(1) && !says_close(map) && !both;
    let framing = framing(status, map)?;
    let lasting = lasting && !matches!(framing, Framing::UntilClose);
    Ok(Some(Head { response, framing, lasting }))
}

fn says_close(headers: &HeaderMap) -> bool {
    tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("close"))
}

/// The members of a header that is a list.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

fn framing(status: StatusCode, headers: &HeaderMap) -> Result<Framing, Malformed> {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Framing::Length(0));
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        let mut codings = tokens(headers, &TRANSFER_ENCODING);
        return match (codings.next(), codings.next()) {
            (Some(only), None) if only.eq_ignore_ascii_case("chunked") => Ok(Framing::chunked()),
            // Another coding was not offered.
            _ => Err(Malformed),
        };
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).into_iter().map(length);
    let Some(first) = lengths.next() else { return Ok(Framing::UntilClose) };
    let first = first?;
    if lengths.all(|other| other == Ok(first)) {
        Ok(Framing::Length(first))
    } else {
        Err(Malformed)
    }
}

fn length(value: &HeaderValue) -> Result<u64, Malformed> {
    let digits = value.to_str().map_err(|_| Malformed)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed); // A sign would be taken by the parser.
    }
    digits.parse().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, Malformed> {
        read_head(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn says(headers: &str) -> (String, bool) {
        let head = read(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).expect("a head");
        let head = head.expect("not an interim one");
        let framing = match head.framing {
            Framing::Length(n) => n.to_string(),
            Framing::Chunked(_) => "chunked".to_owned(),
            Framing::UntilClose => "close".to_owned(),
        };
        (framing, head.lasting)
    }

    #[test]
    fn a_head_says_how_its_body_ends_and_whether_another_may_follow() {
        let told = |framing: &str, lasting| (framing.to_owned(), lasting);
        assert_eq!(says("content-length: 7\r\n"), told("7", true));
        assert_eq!(says("content-length: 7\r\nContent-Length: 7\r\n"), told("7", true));
        assert_eq!(says("Transfer-Encoding: Chunked\r\n"), told("chunked", true));
        assert_eq!(says(""), told("close", false));
        assert_eq!(says("content-length: 7\r\nconnection: x, Close\r\n"), told("7", false));
        let both = "content-length: 7\r\ntransfer-encoding: chunked\r\n";
        assert_eq!(says(both), told("chunked", false));
        let old = read("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n").expect("a head");
        assert!(!old.expect("not an interim one").lasting);
        for bare in ["204 No Content", "304 Not Modified"] {
            let head = read(&format!("HTTP/1.1 {bare}\r\ncontent-length: 9\r\n\r\n"));
            let head = head.expect("a head").expect("not an interim one");
            assert!(matches!(head.framing, Framing::Length(0)), "{bare}");
        }
        assert!(read("HTTP/1.1 100 Continue\r\n\r\n").expect("a head").is_none());
    }

    #[test]
    fn a_head_that_could_be_read_in_two_ways_is_refused() {
        for headers in [
            "content-length: 7\r\ncontent-length: 8\r\n",
            "content-length: +7\r\n",
            "content-length: 7, 7\r\n",
            "content-length: \r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: identity\r\n",
            "a b: c\r\n",
            " folded\r\n",
        ] {
            assert!(read(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).is_err(), "{headers}");
        }
        for head in ["HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 101 Up\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n"] {
            assert!(read(head).is_err(), "{head}");
        }
        assert!(read(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101))).is_err());
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_comes() {
        for head in ["a\r\nb\r\n\r\n", "a\nb\n\n", "a\r\nb\n\r\n"] {
            let bytes = [head, "body\r\n\r\n"].concat().into_bytes();
            for seen in 0..head.len() {
                assert_eq!(end_of_head(&bytes[..head.len() - 1], seen), None);
                assert_eq!(end_of_head(&bytes, seen), Some(head.len()), "{head:?} {seen}");
            }
        }
    }
}
