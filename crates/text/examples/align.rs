//! Aligns texts: reads JSON lines `["words", hypothesis, reference]` and writes JSON lines
//! `[[[edit, reference start, end, hypothesis start, end], ...], shown]`.
//! `cargo run --release -p tidemill-text --example align < PAIRS`; `fixtures/alignments.py --all` compares with jiwer.

use std::error::Error;
use std::io::{BufRead, Write};

use tidemill_text::score::{Alignment, Unit};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let (unit, hypothesis, reference): (Unit, String, String) = serde_json::from_str(&line?)?;
        let alignment = Alignment::new(&hypothesis, &reference, unit);
        let chunks: Vec<_> = alignment
            .chunks
            .iter()
            .map(|c| {
                let (r, h) = (&c.reference, &c.hypothesis);
                (c.edit, r.start, r.end, h.start, h.end)
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string(&(chunks, alignment.to_string()))?)?;
    }
    Ok(())
}
