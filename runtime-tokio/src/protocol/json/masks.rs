//! Sixty-four bytes at a time: where the characters stand that give JSON its structure.
//!
//! A mask has one bit for each byte of a block, the lowest for the first. Written so that the
//! compiler makes vector code of it on every target. The processor's own instruction for masks would
//! save a quarter of a skip's time, but calling it takes `unsafe` or a crate that hides it.

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;

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
    // Each row of eight bytes marks its hits in a bit of its own, so that all rows fit in one.
    let mut hits = [0; BLOCK];
    for at in 0..BLOCK {
        hits[at] = if block[at] | with == byte { ROW[at] } else { 0 };
    }
    let (rows, _) = hits.as_chunks::<8>();
    transposed(rows.iter().fold(0, |all, row| all | u64::from_le_bytes(*row)))
}

/// The bit of the row in which each byte of a block stands.
const ROW: [u8; BLOCK] = {
    let mut row = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        row[at] = 1 << (at / 8);
        at += 1;
    }
    row
};

/// A square of eight by eight bits with its rows as columns: halves swapped in ever larger squares.
#[inline]
const fn transposed(mut bits: u64) -> u64 {
    let mut at = 0;
    while at < 3 {
        let (shift, upper) =
            [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
                [at];
        let differ = (bits ^ (bits >> shift)) & upper;
        bits ^= differ ^ (differ << shift);
        at += 1;
    }
    bits
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
        }
    }
}
