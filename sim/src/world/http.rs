//! As much HTTP/1.1 as clients and upstreams of the simulation speak, written apart from the
//! gateway's so that the two judge each other.

/// The head of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The first line.
    pub(super) first: String,
    /// Names in lower case, with their values.
    headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a header.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let same = move |(known, _): &&(String, String)| known == name;
        self.headers.iter().filter(same).map(|(_, value)| value.as_str())
    }
}

/// A message as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Not all of it, but what there is makes sense; the body so far, if it has begun.
    Partial(Option<(Head, Vec<u8>)>),
    /// All of it, and how many bytes it took.
    Whole(Head, Vec<u8>, usize),
}

/// Reads a message from its beginning.
///
/// # Errors
/// What makes no sense.
pub(super) fn read(bytes: &[u8]) -> Result<Message, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(Message::Partial(None)) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is no text")?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("header {line:?}"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let head = Head { first, headers };
    let rest = &bytes[end + 4..];
    if head.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        if head.get("content-length").is_some() {
            return Err("both a length and chunks".to_owned());
        }
        return chunked(head, rest, end + 4);
    }
    let length = head.get("content-length").unwrap_or("0");
    let length: usize = length.parse().map_err(|_| format!("content-length {length:?}"))?;
    if rest.len() < length {
        return Ok(Message::Partial(Some((head, rest.to_vec()))));
    }
    Ok(Message::Whole(head, rest[..length].to_vec(), end + 4 + length))
}

fn chunked(head: Head, rest: &[u8], before: usize) -> Result<Message, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    while let Some(line) = find(&rest[at..], b"\r\n") {
        let size = std::str::from_utf8(&rest[at..at + line]).unwrap_or("?");
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| format!("chunk {size:?}"))?;
        let from = at + line + 2;
        let Some(chunk) = rest.get(from..from + size + 2) else {
            // What has come of a chunk is of the body.
            body.extend_from_slice(&rest[from.min(rest.len())..rest.len().min(from + size)]);
            break;
        };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk that does not end where it should".to_owned());
        }
        body.extend_from_slice(&chunk[..size]);
        at = from + size + 2;
        if size == 0 {
            return Ok(Message::Whole(head, body, before + at));
        }
    }
    Ok(Message::Partial(Some((head, body))))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_at_whatever_byte_it_is_cut() {
        let all = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nmore";
        let end = all.len() - 4;
        for cut in 0..end {
            assert!(matches!(read(&all[..cut]), Ok(Message::Partial(_))), "cut at {cut}");
        }
        let Ok(Message::Whole(head, body, taken)) = read(all) else { panic!("it is whole") };
        assert_eq!(
            (head.first.as_str(), body.as_slice(), taken),
            ("HTTP/1.1 200 OK", &b"abcde"[..], end)
        );
        let sized = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
        assert!(matches!(read(sized), Ok(Message::Whole(_, body, 40)) if body == b"hi"));
    }

    #[test]
    fn nonsense_is_found() {
        assert!(read(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n").is_err());
        assert!(read(b"A\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").is_err());
        assert!(read(b"A\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc").is_err());
    }
}
