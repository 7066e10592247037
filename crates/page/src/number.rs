//! Numbers as people read them.

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As it is.
    Plain,
    /// A share, in percent.
    Percent,
}

/// `12,345`
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// A figure for a card; the unit is small.
pub fn value(v: f64, scale: Scale) -> String {
    match scale {
        Scale::Percent => format!("{:.2}<small>&thinsp;%</small>", 100.0 * v),
        Scale::Plain => plain(v),
    }
}

/// Four significant digits.
pub fn plain(v: f64) -> String {
    match v.abs() {
        0.0 => "0".into(),
        a if !(1e-4..1e6).contains(&a) => format!("{v:.2e}"),
        a if a >= 1000.0 => format!("{v:.0}"),
        a if a >= 100.0 => format!("{v:.1}"),
        a if a >= 10.0 => format!("{v:.2}"),
        a if a >= 0.1 => format!("{v:.4}"),
        _ => format!("{v:.5}"),
    }
}

/// A figure in a table: four decimals, or three digits with an exponent where those say nothing.
pub fn figure(v: f64) -> String {
    match v.abs() {
        a if a == 0.0 || (1e-3..1e5).contains(&a) => format!("{v:.4}"),
        a if (1e5..1e9).contains(&a) => format!("{v:.0}"),
        _ => format!("{v:.2e}"),
    }
}

/// `1 epoch`, `2 epochs`
pub fn plural(n: u64, name: &str) -> String {
    format!("{} {name}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `12.3 MB`, with the unit that suits the size.
pub fn bytes(n: u64) -> String {
    match n as f64 {
        b if b < 1e5 => format!("{:.1} KB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

/// `12.34 %`
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A short time: `12 ms`, `1.23 s`, `123 s`.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 0.9995 => format!("{:.0} ms", 1e3 * s),
        s if s < 100.0 => format!("{s:.2} s"),
        s => format!("{s:.0} s"),
    }
}

/// A long time: `4.2 s`, `3 min 5 s`, `2 h 10 min`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// `2026-11-27 21:30 UTC`, of seconds since 1970.
pub fn date(seconds: u64) -> String {
    let (days, minutes) = ((seconds / 86_400) as i64, seconds % 86_400 / 60);
    // Hinnant's `civil_from_days`: years begin in March, so that the leap day is their last.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + 400 * era + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_825_599, "2000-02-29 11:59 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_795_485_059, "2026-11-24 01:50 UTC"),
            (4_102_444_800, "2100-01-01 00:00 UTC"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(
            [0.0, 0.25, -2.0, 1.5e-9, 123_456.7, 2e12].map(figure),
            ["0.0000", "0.2500", "-2.0000", "1.50e-9", "123457", "2.00e12"]
        );
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(duration(83.4), "1 min 23 s");
        assert_eq!(
            (plural(1, "epoch"), plural(2_000, "step")),
            ("1 epoch".into(), "2,000 steps".into())
        );
        assert_eq!([35_520, 1_250_000, 3_000_000_000].map(bytes), ["35.5 KB", "1.2 MB", "3.00 GB"]);
    }
}
