//! Short tables of two columns.

/// Rows of a name and a value, the names padded to one width.
pub(crate) fn table(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let row = |(name, value): &(String, String)| format!("  {name:<width$}  {value}\n");
    rows.iter().map(row).collect()
}

/// A value of that metric for people.
pub(crate) fn figure(name: &str, value: f64) -> String {
    match name {
        "loss" | "mae" | "mse" | "r2" | "auc" => format!("{value:.4}"),
        _ => format!("{:.2} %", 100.0 * value),
    }
}

/// `12,345`
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let grouped = digits.as_bytes().rchunks(3).rev();
    grouped.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
}

/// `1 step`, `2,000 steps`
pub(crate) fn plural(n: usize, name: &str) -> String {
    format!("{} {name}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

/// Seconds for people.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds.round() as u64 {
        0..60 => format!("{seconds:.1} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}
