//! Finding where a JSON value ends without reading it.
//!
//! Of what is skipped only strings and the depth of nesting are followed: a body is mostly a long
//! conversation, and whether that is sound is for the upstream to say. No recursion: depth is a
//! number, so that a body of brackets costs no stack.

use super::masks::{BLOCK, SHORT, brackets, first_special, has_quote, quotes};

/// Behind the closing quote of the string whose text begins at `from`, and whether it has escapes.
pub(super) fn string_end(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    let first = from + special(&bytes[from..])?;
    if bytes[first] == b'"' {
        return Some((first + 1, false));
    }
    let mut escapes = Escapes::default();
    let end = blocks(&bytes[first..], |block| {
        let quote = escapes.quotes(block);
        (quote != 0).then(|| quote.trailing_zeros() as usize + 1)
    });
    end.map(|end| (first + end, true))
}

/// Where the first quote or backslash is.
#[inline]
fn special(text: &[u8]) -> Option<usize> {
    // Most strings are short names and ids, without any escape.
    let Some(short) = text.first_chunk::<SHORT>() else {
        return memchr::memchr2(b'"', b'\\', text);
    };
    let rest = || Some(SHORT + memchr::memchr2(b'"', b'\\', &text[SHORT..])?);
    first_special(short).or_else(rest)
}

/// Behind the bracket that closes the object or array in which `from` stands, outside any string.
/// That brackets within are closed by their own kind is not looked at.
pub(super) fn nest_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut nest = Nest { strings: Strings::default(), depth: 1 };
    blocks(&bytes[from..], |block| nest.next(block)).map(|end| from + end)
}

/// What `each` finds in the first block in which it finds anything, as a place in `bytes`. The last
/// block is filled up with zeros.
#[inline]
fn blocks(bytes: &[u8], mut each: impl FnMut(&[u8; BLOCK]) -> Option<usize>) -> Option<usize> {
    let (whole, rest) = bytes.as_chunks::<BLOCK>();
    for (index, block) in whole.iter().enumerate() {
        if let Some(at) = each(block) {
            return Some(index * BLOCK + at);
        }
    }
    if rest.is_empty() {
        return None;
    }
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    each(&last).map(|at| whole.len() * BLOCK + at)
}

struct Nest {
    strings: Strings,
    /// Brackets that are open, at least one.
    depth: usize,
}

impl Nest {
    /// Behind the bracket in the next block that closes the last one that is open.
    #[inline]
    fn next(&mut self, block: &[u8; BLOCK]) -> Option<usize> {
        let outside = !self.strings.next(block);
        if outside == 0 {
            return None;
        }
        let (open, close) = brackets(block);
        let (open, close) = (open & outside, close & outside);
        if open | close == 0 {
            return None;
        }
        if close.count_ones() as usize >= self.depth
            && let Some(end) = self.last(open, close)
        {
            return Some(end);
        }
        self.depth = self.depth + open.count_ones() as usize - close.count_ones() as usize;
        None
    }

    fn last(&self, open: u64, mut close: u64) -> Option<usize> {
        let mut closed = 0;
        while close != 0 {
            let at = close.trailing_zeros();
            let opened = (open & ((1 << at) - 1)).count_ones() as usize;
            closed += 1;
            if self.depth + opened == closed {
                return Some(at as usize + 1);
            }
            close &= close - 1;
        }
        None
    }
}

/// Which bytes stand in strings, block by block.
#[derive(Default)]
struct Strings {
    escapes: Escapes,
    /// All ones if the last block ended within a string.
    within: u64,
}

impl Strings {
    /// The bytes of the next block from an opening quote up to its closing one.
    #[inline]
    fn next(&mut self, block: &[u8; BLOCK]) -> u64 {
        let quote = self.escapes.quotes(block);
        if quote == 0 {
            // Text within a string, for the most part.
            return self.within;
        }
        let inside = parity(quote) ^ self.within;
        self.within = (inside as i64 >> 63) as u64;
        inside
    }
}

/// Each bit: whether the number of ones up to it, with itself, is odd.
#[inline]
fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// Which bytes follow an odd run of backslashes, block by block.
#[derive(Default)]
struct Escapes {
    /// One if the last block's last backslash escapes the next block's first byte.
    carry: u64,
}

impl Escapes {
    /// The quotes of the next block that are not escaped.
    #[inline]
    fn quotes(&mut self, block: &[u8; BLOCK]) -> u64 {
        if block[BLOCK - 1] != b'\\' && !has_quote(block) {
            self.carry = 0;
            return 0;
        }
        let (quote, backslash) = quotes(block);
        quote & !self.next(backslash)
    }

    /// The bytes of the next block that end a run of backslashes and are escaped by it.
    #[inline]
    fn next(&mut self, backslash: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        // A backslash that is escaped itself escapes nothing.
        let run = backslash & !self.carry;
        let begin = run & !(run << 1);
        // Adding a run's first bit to it leaves one bit, right behind its end: by where that stands
        // and where the run began it is known whether the run is odd.
        let (even, _) = run.overflowing_add(begin & EVEN);
        let (odd, carry) = run.overflowing_add(begin & !EVEN);
        let escaped = ((even & !EVEN) | (odd & EVEN)) & !run | self.carry;
        self.carry = u64::from(carry);
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, one byte after the other.
    fn slow_string(bytes: &[u8], from: usize) -> Option<usize> {
        let mut escaped = false;
        for (at, &byte) in bytes.iter().enumerate().skip(from) {
            if byte == b'"' && !escaped {
                return Some(at + 1);
            }
            escaped = byte == b'\\' && !escaped;
        }
        None
    }

    fn slow_nest(bytes: &[u8], from: usize) -> Option<usize> {
        let (mut depth, mut at) = (1, from);
        let mut escaped = false;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' if !escaped => at = slow_string(bytes, at)?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            // Outside of strings no JSON has a backslash; the answer is the same all the same.
            escaped = byte == b'\\' && !escaped;
            if depth == 0 {
                return Some(at);
            }
        }
        None
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec!["\"", "\\", "{", "}", "[", "]", "\\\"", "x"])
                .prop_map(str::to_owned),
            1 => (0usize..130).prop_map(|n| "\\".repeat(n)),
            1 => (0usize..130).prop_map(|n| "é ".repeat(n)),
            1 => (0usize..130).prop_map(|n| "[".repeat(n)),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn blocks_find_what_single_bytes_find(
            bytes in bytes(),
            from in any::<prop::sample::Index>(),
        ) {
            for from in [0, 1, from.index(bytes.len() + 1)] {
                let from = from.min(bytes.len());
                let string = slow_string(&bytes, from);
                let escaped = |end: usize| (end, bytes[from..end].contains(&b'\\'));
                prop_assert_eq!(string_end(&bytes, from), string.map(escaped));
                prop_assert_eq!(nest_end(&bytes, from), slow_nest(&bytes, from));
            }
        }
    }

    #[test]
    fn what_was_escaped_at_a_blocks_end_is_forgotten_behind_a_block_without_a_quote() {
        // An escape to begin with; a backslash at the end of a block; a block of nothing; a quote.
        let text = ["\\x", &"x".repeat(61), "\\", &"x".repeat(BLOCK), "\""].concat();
        assert_eq!(string_end(text.as_bytes(), 0), Some((2 * BLOCK + 1, true)));
        let nested = ["\"", &text[1..], "]"].concat();
        assert_eq!(nest_end(nested.as_bytes(), 0), Some(2 * BLOCK + 2));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = 1_000_000;
        let bytes = ["[".repeat(deep), "]".repeat(deep)].concat();
        assert_eq!(nest_end(bytes.as_bytes(), 1), Some(2 * deep));
        assert_eq!(nest_end(&bytes.as_bytes()[..2 * deep - 1], 1), None);
    }
}
