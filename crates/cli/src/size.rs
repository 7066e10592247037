//! Sizes as people write them: `512MB`, `1.5GiB`, `80000000`.

/// The bytes of a size.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("must be a size such as 512MB or 1.5GiB, found `{text}`");
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        assert_eq!(parse("512MB"), Ok(512_000_000));
        assert_eq!(parse("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(parse("80000000"), Ok(80_000_000));
        assert_eq!(parse("64 k"), Ok(64_000));
        assert!(parse("many").is_err() && parse("12 parsecs").is_err() && parse("").is_err());
    }
}
