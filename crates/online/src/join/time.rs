//! Event time: microseconds, or the count of records.

use tidemill_recipe::stream::{BadEvent, Value};

/// Units in a second.
pub(super) const SECOND: f64 = 1e6;

/// A time as it came; `None` if it is missing.
pub(crate) fn units(value: Value<'_>) -> Result<Option<i64>, BadEvent> {
    match value {
        Value::Missing => Ok(None),
        // Milliseconds, microseconds and nanoseconds since 1970 are distinguished by their size: as seconds
        // they would be after the year 5000.
        Value::Number(time) if time.abs() < 9e18 => {
            let in_second = match time.abs() {
                0.0..1e11 => 1.0,
                1e11..1e14 => 1e3,
                1e14..1e17 => 1e6,
                _ => 1e9,
            };
            Ok(Some((time / in_second * SECOND).round() as i64))
        }
        Value::Number(seconds) => {
            Err(BadEvent::new(format!("time {seconds} is no number of seconds since 1970")))
        }
        Value::Text(text) => rfc3339(text).map(Some).ok_or_else(|| {
            let short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
            BadEvent::new(format!(
                "time `{short}` is neither a number of seconds nor a time such as \
                 2026-01-31T12:00:00Z"
            ))
        }),
    }
}

/// `2026-01-31T12:00:00.25+01:00`, in microseconds of the Unix epoch; without an offset it is UTC.
fn rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let separators = [(4, b"-" as &[u8]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")];
    if bytes.len() < 19 || separators.iter().any(|(at, set)| !set.contains(&bytes[*at])) {
        return None;
    }
    let part = |from: usize, to: usize| digits(bytes.get(from..to)?);
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let known = (1..=12).contains(&month) && (1..=31).contains(&day);
    // 60 is a leap second.
    if !known || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &bytes[19..];
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        let kept = len.min(6);
        micros = digits(&fraction[..kept])? * 10_i64.pow(6 - kept as u32);
        rest = &fraction[len..];
    }
    let offset = match rest {
        b"Z" | b"z" | b"" => 0,
        [sign @ (b'+' | b'-'), h @ .., b':', m1, m2] if h.len() == 2 => {
            let minutes = digits(h)? * 60 + digits(&[*m1, *m2])?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    let digit = |n: i64, b: &u8| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0'));
    if bytes.is_empty() { None } else { bytes.iter().try_fold(0, digit) }
}

/// Days since 1970-01-01 of the Gregorian calendar (Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_are_one_time() {
        let is = |text, seconds: f64| {
            let want = units(Value::Number(seconds)).unwrap();
            assert_eq!(units(Value::Text(text)).unwrap(), want, "{text}");
        };
        is("1970-01-01T00:00:00Z", 0.0);
        is("2000-03-01T00:00:00Z", 951_868_800.0);
        is("2026-11-24 01:50:00.25Z", 1_795_485_000.25);
        is("2026-11-24T02:50:00.250000999+01:00", 1_795_485_000.25);
        is("1969-12-31T23:59:59Z", -1.0);
        is("2000-03-01 00:00:00", 951_868_800.0);
        for (time, seconds) in [(1.7e12, 1.7e9), (1.7e15, 1.7e9), (1.7e18, 1.7e9), (1.7e9, 1.7e9)] {
            let want = units(Value::Number(seconds)).unwrap();
            assert_eq!(units(Value::Number(time)).unwrap(), want, "{time}");
        }
        for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00é1:00"] {
            assert!(units(Value::Text(bad)).is_err(), "{bad}");
        }
        assert!(units(Value::Number(f64::NAN)).is_err());
        assert!(units(Value::Number(1e300)).is_err());
        assert_eq!(units(Value::Missing).unwrap(), None);
    }
}
