//! Short tables of two columns.

/// Rows of a name and a value, the names padded to one width.
pub(crate) fn table(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let row = |(name, value): &(String, String)| format!("  {name:<width$}  {value}\n");
    rows.iter().map(row).collect()
}
