//! A record's time as text. Pure.

use time::OffsetDateTime;

use crate::model::Stamp;

/// RFC 3339 in UTC with nine digits of a second: every record has one, so it is put together without
/// a formatter.
pub(super) fn text(stamp: Stamp) -> [u8; 30] {
    const SECOND: u64 = 1_000_000_000;
    let (seconds, nanos) = (stamp.wall_ns / SECOND, stamp.wall_ns % SECOND);
    // 64 bits of nanoseconds end in the year 2554: none is out of range.
    let at = i64::try_from(seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let mut put = |place: std::ops::Range<usize>, number: u64| {
        let mut rest = number;
        for digit in out[place].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    };
    put(0..4, at.year().unsigned_abs().into());
    put(5..7, u8::from(at.month()).into());
    put(8..10, at.day().into());
    put(11..13, at.hour().into());
    put(14..16, at.minute().into());
    put(17..19, at.second().into());
    put(20..29, nanos);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::format_description;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_formatter_writes(wall_ns: u64) {
            let format = format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z"
            );
            let at = OffsetDateTime::from_unix_timestamp_nanos(wall_ns.into()).unwrap();
            let text = text(Stamp { mono_ns: 0, wall_ns });
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), at.format(format).unwrap());
        }
    }
}
