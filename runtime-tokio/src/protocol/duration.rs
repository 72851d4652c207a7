//! Spans as upstreams write them.

use sluice_engine::Span;

/// Reads such as `1h2m3.5s`, `6m0s` or `120ms`: whole numbers or decimals, each with its unit, rounded up
/// to a microsecond.
#[must_use]
pub fn span(text: &str) -> Option<Span> {
    const UNITS: [(&str, u64); 7] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (mut rest, mut nanos) = (text.trim(), 0u128);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let (_, unit) = UNITS.iter().find(|(known, _)| *known == name)?;
        nanos = nanos.checked_add(scaled(number, *unit)?)?;
        rest = after;
    }
    u64::try_from(nanos.div_ceil(1_000)).ok().map(Span)
}

/// A decimal number of units, as a whole number, rounded up.
fn scaled(number: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // More digits say nothing that could be told apart.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let denominator = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let whole = u128::from(whole.parse::<u64>().ok()?) * u128::from(unit);
    whole.checked_add((parts * u128::from(unit)).div_ceil(denominator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_sum_of_numbers_with_units() {
        for (text, ms) in [
            ("1s", Some(1_000)),
            ("6m0s", Some(360_000)),
            ("1h2m3.5s", Some(3_723_500)),
            ("120ms", Some(120)),
            (" 12.3s ", Some(12_300)),
            ("0s", Some(0)),
            ("3", None),
            ("s", None),
            ("1.2.3s", None),
            ("-1s", None),
            ("1x", None),
            ("", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(span(text), ms.map(Span::from_ms), "{text}");
        }
        assert_eq!(span("1ns"), Some(Span(1)), "rounded up");
        assert_eq!(span("18446744073709551615h"), None);
    }
}
