//! What of an upstream's error an operator's log may hold.

/// Names whose values are secrets, wherever they stand.
const SECRETS: [&str; 7] =
    ["access_token", "refresh_token", "client_secret", "api_key", "authorization", "bearer", "key"];
const HIDDEN: &str = "***";

/// The beginning of a body, at most so many bytes of it, without the values of what is named like a
/// secret.
#[must_use]
pub fn of(body: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(bytes_max)]);
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((before, after)) = next_secret(rest) {
        out.push_str(before);
        out.push_str(HIDDEN);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What stands before the first value of a secret, with its name, and what stands after it.
fn next_secret(text: &str) -> Option<(&str, &str)> {
    let lower = text.to_ascii_lowercase();
    let mut from = 0;
    loop {
        let found = SECRETS.iter().filter_map(|name| {
            let at = lower[from..].find(name)? + from;
            Some((at, at + name.len()))
        });
        let (at, end) = found.min_by_key(|(at, end)| (*at, usize::MAX - end))?;
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let whole = at == 0 || !word(text.as_bytes()[at - 1]);
        let gap = text[end..].find(|c: char| !"\"\\':= ".contains(c)).unwrap_or(text.len() - end);
        if whole && gap > 0 {
            let value = end + gap;
            let ends = |c: char| c.is_whitespace() || "\"\\'&,;}".contains(c);
            let length = text[value..].find(ends).unwrap_or(text.len() - value);
            if length > 0 && !SECRETS.contains(&&lower[value..value + length]) {
                return Some((&text[..value], &text[value + length..]));
            }
        }
        from = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_like_a_secret_is_hidden_and_the_rest_is_cut() {
        let of = |text: &str| of(text.as_bytes(), 200);
        assert_eq!(of("see https://h/x?key=abc&alt=sse"), "see https://h/x?key=***&alt=sse");
        assert_eq!(
            of("{\"access_token\": \"abc\", \"n\": 1}"),
            "{\"access_token\": \"***\", \"n\": 1}"
        );
        assert_eq!(of("Authorization: Bearer abc.def"), "Authorization: Bearer ***");
        assert_eq!(of("monkey=1 keys=2 the key is bad"), "monkey=1 keys=2 the key *** bad");
        assert_eq!(of("client_secret=a refresh_token=b"), "client_secret=*** refresh_token=***");
        assert_eq!(of("plain words"), "plain words");
        assert_eq!(super::of(b"0123456789", 4), "0123");
        assert_eq!(super::of("ä".as_bytes(), 1), "\u{fffd}");
        assert_eq!(of("key"), "key");
    }
}
