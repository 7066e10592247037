//! Trains or reads a tokenizer, encodes the lines of a text and prints the cost:
//! `cargo run --release -p tidemill-text --example tokenize -- '{"bpe":{"vocabulary":4000}}' TEXT [TOKENIZER [IDS]]`.
//! The specification is JSON here; `{"file":"tokenizer.json"}` is read. TOKENIZER and IDS are written: the
//! `tokenizer.json`, or a `.model` of SentencePiece if it is named so, and the ids of each line.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::time::Instant;

use tidemill_text::{Tokenizer, TokenizerSpec};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [spec, text, outputs @ ..] = arguments.as_slice() else {
        return Err("usage: tokenize SPEC TEXT [TOKENIZER [IDS]]".into());
    };
    let text = fs::read_to_string(text)?;
    let lines: Vec<&str> = text.split('\n').collect();
    let megabytes = text.len() as f64 / 1e6;
    let start = Instant::now();
    let tokenizer = match serde_json::from_str(spec)? {
        TokenizerSpec::File(path) => Tokenizer::from_bytes(&fs::read(path)?)?,
        spec => Tokenizer::train(&spec, &mut lines.iter().copied())?,
    };
    println!("{} ids, ready after {:.2?}", tokenizer.vocabulary(), start.elapsed());
    let mut ids = Vec::new();
    let mut ends = Vec::new();
    for round in ["cold", "warm"] {
        ids.clear();
        ends.clear();
        let start = Instant::now();
        let mut left_out = 0;
        for line in &lines {
            left_out += tokenizer.encode(line, &mut ids);
            ends.push(ids.len());
        }
        let speed = megabytes / start.elapsed().as_secs_f64();
        println!("{round}: {} ids, {left_out} characters left out, {speed:.1} MB/s", ids.len());
    }
    if let Some(path) = outputs.first() {
        match path.ends_with(".model") {
            true => fs::write(path, tokenizer.to_sentencepiece()?)?,
            false => fs::write(path, tokenizer.to_json())?,
        }
    }
    if let Some(path) = outputs.get(1) {
        let mut out = String::new();
        let mut start = 0;
        for end in ends {
            ids[start..end].iter().try_for_each(|id| write!(out, "{id} "))?;
            out.push('\n');
            start = end;
        }
        fs::write(path, out)?;
    }
    Ok(())
}
