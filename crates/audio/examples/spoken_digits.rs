//! Writes strings of spoken digits: `digits OUT [RECORDINGS] [MOST DIGITS]`; without recordings they are computed.

use std::path::Path;

use tidemill_audio::digits::{ConnectedDigitsSpec, write_connected_digits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let out = arguments.first().ok_or("digits OUT [RECORDINGS] [MOST DIGITS]")?;
    let from = arguments.get(1).filter(|from| !from.is_empty()).map(Path::new);
    let max_digits = arguments.get(2).map_or(Ok(7), |n| n.parse())?;
    let spec = ConnectedDigitsSpec { max_digits, ..ConnectedDigitsSpec::default() };
    let written = write_connected_digits(from, Path::new(out), &spec)?;
    println!("{} strings, {:.1} minutes", written.strings, written.seconds / 60.0);
    Ok(())
}
