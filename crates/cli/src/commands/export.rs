//! `tidemill export`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::page::number::count;
use tidemill_train::export::{tokenizer_of, write_tokenizer};

use crate::failure::Result;
use crate::print::say;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of the run; or a tokenizer.json or a .model of SentencePiece, which becomes the other one.
    run: PathBuf,
    /// Write the tokenizer to this file: FILE.json for Hugging Face's tokenizers, FILE.model for SentencePiece.
    #[arg(long, value_name = "FILE")]
    tokenizer: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let tokenizer = tokenizer_of(&arguments.run)?;
    write_tokenizer(&tokenizer, &arguments.tokenizer)?;
    let tokens = count(tokenizer.vocabulary() as u64);
    say!("wrote the tokenizer with {tokens} tokens: {}", arguments.tokenizer.display())?;
    Ok(ExitCode::SUCCESS)
}
