//! Which columns of a CSV file moved, and when. Text counts as missing.
//!
//! ```text
//! zcat elec.csv.gz | cargo run --release -p tidemill-drift --example watch
//! ```

use std::io::{BufRead, Write};
use tidemill_drift::{FeatureDrift, FeatureDriftSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut lines = std::io::stdin().lock().lines();
    let header = lines.next().ok_or("no header on standard input")??;
    let mut out = std::io::stdout().lock();
    let names = header.split(',').map(str::to_owned);
    let mut watch = FeatureDrift::new(FeatureDriftSpec::default(), names)?;
    for (row, line) in lines.enumerate() {
        let line = line?;
        let values = line.split(',').map(|text| text.parse().unwrap_or(f64::NAN));
        for moved in watch.update(values) {
            writeln!(out, "row {row}: {moved}")?;
        }
    }
    Ok(())
}
