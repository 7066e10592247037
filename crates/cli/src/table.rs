//! Short tables of two columns.

use tidemill_engine::page::number::percent;

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
        _ => percent(value),
    }
}
