//! Sixty-four bytes at a time: where the characters stand that give JSON its structure.
//!
//! A mask has one bit for each byte of a block, the lowest for the first.

use wide::u8x16;

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;

/// Bytes that [`first_special`] looks at.
pub(super) const SHORT: usize = 16;

/// Whether there is a quote at all, which is quicker to tell than where.
#[inline]
pub(super) fn has_quote(block: &[u8; BLOCK]) -> bool {
    let (quarters, _) = block.as_chunks::<16>();
    let quote = u8x16::splat(b'"');
    let hits = quarters.iter().map(|quarter| u8x16::new(*quarter).simd_eq(quote));
    hits.fold(u8x16::ZERO, |all, hits| all | hits).to_bitmask() != 0
}

/// Where the first quote or backslash is.
#[inline]
pub(super) fn first_special(bytes: &[u8; SHORT]) -> Option<usize> {
    let bytes = u8x16::new(*bytes);
    let hits = bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\'));
    let mask = hits.to_bitmask();
    (mask != 0).then(|| mask.trailing_zeros() as usize)
}

/// The quotes and the backslashes.
#[inline]
pub(super) fn quotes(block: &[u8; BLOCK]) -> (u64, u64) {
    (equal(block, 0, b'"'), equal(block, 0, b'\\'))
}

/// The opening and the closing brackets.
#[inline]
pub(super) fn brackets(block: &[u8; BLOCK]) -> (u64, u64) {
    // `{` and `[`, `}` and `]` differ in this bit alone.
    const CURLY: u8 = b'{' ^ b'[';
    (equal(block, CURLY, b'{'), equal(block, CURLY, b'}'))
}

/// Where a byte is `byte`, once the bits of `with` are set in it.
#[inline]
fn equal(block: &[u8; BLOCK], with: u8, byte: u8) -> u64 {
    let (with, byte) = (u8x16::splat(with), u8x16::splat(byte));
    let (quarters, _) = block.as_chunks::<16>();
    let masks = quarters.iter().map(|quarter| {
        let hits = (u8x16::new(*quarter) | with).simd_eq(byte);
        u64::from(hits.to_bitmask())
    });
    masks.rev().fold(0, |all, mask| all << 16 | mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[]\x5a\x5c\x7a\x7c\xdb\xfb".to_vec())]
    }

    fn plain(block: &[u8; BLOCK], of: &[u8]) -> u64 {
        let bits = block.iter().enumerate().map(|(at, byte)| u64::from(of.contains(byte)) << at);
        bits.fold(0, |mask, bit| mask | bit)
    }

    proptest! {
        #[test]
        fn a_mask_has_a_bit_for_every_hit_and_no_other(
            bytes in prop::collection::vec(byte(), BLOCK),
        ) {
            let block: [u8; BLOCK] = bytes.try_into().expect("a block");
            prop_assert_eq!(quotes(&block), (plain(&block, b"\""), plain(&block, b"\\")));
            prop_assert_eq!(brackets(&block), (plain(&block, b"{["), plain(&block, b"}]")));
            prop_assert_eq!(has_quote(&block), block.contains(&b'"'));
            let short = block.first_chunk().expect("a block is longer");
            let special = short.iter().position(|byte| b"\"\\".contains(byte));
            prop_assert_eq!(first_special(short), special);
        }
    }
}
