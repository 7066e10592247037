//! `tidemill export`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidemill_engine::nn::Names;
use tidemill_engine::page::number::count;
use tidemill_train::export::{
    OnnxOptions, tokenizer_of, write_onnx, write_safetensors, write_tokenizer,
};
use tidemill_train::{Trained, Weights};

use crate::failure::Result;
use crate::print::{say, tell};

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Arguments {
    /// The folder of the run; or a tokenizer.json or a .model of SentencePiece, which becomes the other one.
    run: PathBuf,
    /// Write the tokenizer to this file: FILE.json for Hugging Face's tokenizers, FILE.model for SentencePiece.
    #[arg(long, value_name = "FILE", group = "what")]
    tokenizer: Option<PathBuf>,
    /// Write the model to this file as ONNX (opset 18), which onnxruntime and others run.
    #[arg(long, value_name = "FILE", group = "what")]
    onnx: Option<PathBuf>,
    /// The output of the ONNX model is that of its last layer, instead of probabilities.
    #[arg(long, requires = "onnx")]
    logits: bool,
    /// The ONNX model reads images as floats that the recipe has scaled, instead of as bytes that it scales itself.
    #[arg(long, requires = "onnx")]
    float_input: bool,
    /// Write the weights and running statistics to this file as safetensors.
    #[arg(long, value_name = "FILE", group = "what")]
    safetensors: Option<PathBuf>,
    /// What the tensors of the safetensors file are called: as in checkpoints, or as PyTorch's load_state_dict takes them.
    #[arg(long, value_enum, default_value = "own", requires = "safetensors")]
    names: NamesOption,
    /// Use the weights of the best epoch instead of the last.
    #[arg(long)]
    best: bool,
    /// Use the weights of the checkpoint of this step.
    #[arg(long, value_name = "STEP", conflicts_with = "best")]
    checkpoint: Option<u64>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum NamesOption {
    Own,
    Torch,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    if let Some(file) = &arguments.tokenizer {
        let tokenizer = tokenizer_of(&arguments.run)?;
        write_tokenizer(&tokenizer, file)?;
        let tokens = count(tokenizer.vocabulary() as u64);
        say!("wrote the tokenizer with {tokens} tokens: {}", file.display())?;
    }
    if let Some(file) = &arguments.onnx {
        onnx(arguments, file)?;
    }
    if let Some(file) = &arguments.safetensors {
        let names = match arguments.names {
            NamesOption::Own => Names::Own,
            NamesOption::Torch => Names::Torch,
        };
        let tensors = count(write_safetensors(&model(arguments)?, file, names)? as u64);
        say!("wrote {tensors} tensors: {}", file.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The run's model with the weights that are asked for.
fn model(arguments: &Arguments) -> Result<Trained> {
    let weights = Weights::asked_for(arguments.best, arguments.checkpoint);
    let model = Trained::open(&arguments.run, weights, Some(1))?;
    tell!("note: {}", model.weights_in_words());
    Ok(model)
}

fn onnx(arguments: &Arguments, file: &Path) -> Result<()> {
    let Arguments { logits, float_input, .. } = *arguments;
    let model = model(arguments)?;
    let written = write_onnx(&model, file, OnnxOptions { logits, float_input })?;
    if let Some(input) = written.input {
        tell!("note: the input x is {input}");
    }
    let size = count(written.bytes as u64);
    say!("wrote the model as ONNX, {size} bytes: {}", file.display())?;
    Ok(())
}
