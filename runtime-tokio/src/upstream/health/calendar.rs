//! Points in time as upstreams write them, and the day by which one of them counts.

use sluice_engine::Time;

const DAY_SECS: u64 = 86_400;
const HOUR_SECS: u64 = 3_600;
/// A day's quota is there again so long after midnight, to be sure.
const AFTER_MIDNIGHT_SECS: u64 = 300;

/// Days from the Unix epoch to a date of the Gregorian calendar, from March 1970 on.
const fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

/// The year of a day since the Unix epoch.
const fn year_of(days: u64) -> u64 {
    let mut year = 1970 + days / 366;
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    year
}

/// Reads `2025-01-31T23:59:59Z` (RFC 3339), with a fraction and an offset or without.
pub(super) fn rfc3339(text: &str) -> Option<Time> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let separator =
        |at: usize, wanted: &[u8]| wanted.contains(text.as_bytes().get(at)?).then_some(());
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    for (at, wanted) in [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")] {
        separator(at, wanted)?;
    }
    separator(10, b"Tt ")?;
    let sane = (1971..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    let rest = text.get(19..)?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    if !sane {
        return None;
    }
    let secs =
        days_from_civil(year, month, day) * DAY_SECS + hour * HOUR_SECS + minute * 60 + second;
    let secs = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => secs,
        ("+", offset) => secs - offset_secs(offset)?,
        ("-", offset) => secs + offset_secs(offset)?,
        _ => return None,
    };
    Some(Time(secs * 1_000_000))
}

fn offset_secs(offset: &str) -> Option<u64> {
    let (hours, minutes) = offset.split_once(':')?;
    let two = |digits: &str| digits.parse::<u64>().ok().filter(|n| digits.len() == 2 && *n < 60);
    Some(two(hours)? * HOUR_SECS + two(minutes)? * 60)
}

/// When a quota for a day is there again that is counted by the days of the American west coast.
pub(super) fn next_pacific_day(now: Time) -> Time {
    let now = now.0 / 1_000_000;
    let behind = pacific_behind_secs(now);
    let local = now.saturating_sub(behind + AFTER_MIDNIGHT_SECS);
    let next = (local / DAY_SECS + 1) * DAY_SECS + AFTER_MIDNIGHT_SECS;
    // The clocks may be set between now and then.
    Time((next + pacific_behind_secs(next + behind)) * 1_000_000)
}

/// How far the clocks there are behind UTC: less from the second Sunday in March, at two, to the first
/// Sunday in November, at two.
fn pacific_behind_secs(now: u64) -> u64 {
    const STANDARD: u64 = 8 * HOUR_SECS;
    const SUMMER: u64 = 7 * HOUR_SECS;
    let year = year_of(now / DAY_SECS);
    let begins = sunday(year, 3, 8) * DAY_SECS + 2 * HOUR_SECS + STANDARD;
    let ends = sunday(year, 11, 1) * DAY_SECS + 2 * HOUR_SECS + SUMMER;
    if (begins..ends).contains(&now) { SUMMER } else { STANDARD }
}

/// The first Sunday from this day on.
const fn sunday(year: u64, month: u64, day: u64) -> u64 {
    let day = days_from_civil(year, month, day);
    // The epoch was a Thursday.
    let weekday = (day + 4) % 7;
    day + (7 - weekday) % 7
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(text: &str) -> Option<u64> {
        rfc3339(text).map(|Time(us)| us / 1_000_000)
    }

    #[test]
    fn a_point_in_time_is_read_with_its_zone() {
        for (text, want) in [
            ("2025-01-01T00:00:00Z", Some(1_735_689_600)),
            ("2024-02-29T12:34:56.789Z", Some(1_709_210_096)),
            ("2025-01-01T01:30:00+01:30", Some(1_735_689_600)),
            ("2024-12-31T16:00:00-08:00", Some(1_735_689_600)),
            ("2025-13-01T00:00:00Z", None),
            ("2025-01-01T00:00:00", None),
            ("2025-01-01 00:00Z", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(secs(text), want, "{text}");
        }
    }

    #[test]
    fn a_day_of_the_west_coast_begins_when_its_clocks_say_so() {
        for (now, want) in [
            ("2025-01-15T20:00:00Z", "2025-01-16T08:05:00Z"),
            ("2025-01-16T08:04:00Z", "2025-01-16T08:05:00Z"),
            ("2025-01-16T08:06:00Z", "2025-01-17T08:05:00Z"),
            ("2025-07-15T20:00:00Z", "2025-07-16T07:05:00Z"),
            // Clocks were set on 9 March and on 2 November.
            ("2025-03-09T09:00:00Z", "2025-03-10T07:05:00Z"),
            ("2025-11-02T08:00:00Z", "2025-11-03T08:05:00Z"),
        ] {
            let now = rfc3339(now).expect("a time");
            assert_eq!(next_pacific_day(now), rfc3339(want).expect("a time"), "{want}");
        }
    }
}
