//! Parts of a run as files for other programs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tidemill_engine::StateValues;
use tidemill_engine::checkpoint::files::{start_of, write_atomic};
use tidemill_engine::checkpoint::write_tensors;
use tidemill_engine::data::idx;
use tidemill_engine::data::memory::Features;
use tidemill_engine::data::normalize::Affine;
use tidemill_engine::data::text::read_tokenizer;
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::data::{DataSpec, InputSpec, Normalize};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::RunFolder;
use tidemill_engine::nn::Names;
use tidemill_recipe::DataPaths;
use tidemill_recipe::data::input_of;

use crate::names;
use crate::onnx;
use crate::trained::Trained;

/// The tokenizer of a run, by its folder, or the one in a file: a `tokenizer.json` or a `.model` of SentencePiece.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn tokenizer_of(path: &Path) -> Result<Arc<Tokenizer>> {
    if path.is_file() {
        return Ok(Arc::new(read_tokenizer(path)?));
    }
    let checkpoint = RunFolder::open(path)?.checkpoints(1).latest()?.ok_or_else(|| {
        Error::Usage(format!("{}: has no checkpoint; train it first", path.display()))
    })?;
    checkpoint.tokenizer()?.ok_or_else(|| {
        Error::Usage(format!("{}: its model reads no tokens of a tokenizer", path.display()))
    })
}

/// Writes a tokenizer: to a file named `.json` as Hugging Face's `tokenizers` read it, to one named `.model` as
/// SentencePiece reads it. The file is replaced at once.
///
/// # Errors
/// If the name is another, SentencePiece has no such tokenizer, or the file cannot be written, or is there and no tokenizer.
pub fn write_tokenizer(tokenizer: &Tokenizer, path: &Path) -> Result<()> {
    let usage = |what: String| Error::Usage(format!("{}: {what}", path.display()));
    let bytes = match path.extension().and_then(|e| e.to_str()) {
        Some("json") => tokenizer.to_json().into_bytes(),
        Some("model") => tokenizer.to_sentencepiece().map_err(|e| usage(e.to_string()))?,
        _ => {
            return Err(usage(
                "the name of a tokenizer's file ends in .json (of Hugging Face) or .model (of \
                 SentencePiece)"
                    .into(),
            ));
        }
    };
    if path.exists() && read_tokenizer(path).is_err() {
        return Err(usage("exists and is no tokenizer, so that it is not replaced; name another file, or remove it".into()));
    }
    write_atomic(path, &bytes)
}

/// Refuses to replace a file of another kind than the one that is written, such as a table; `is_kind` says by the first 9 bytes.
fn check_replaced(path: &Path, kind: &str, is_kind: fn(&[u8]) -> bool) -> Result<()> {
    match start_of(path, 9)? {
        Some(start) if !is_kind(&start) => Err(Error::Usage(format!(
            "{}: exists and is no {kind} file, so that it is not replaced; name another file, or remove it",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// How a model is written as an ONNX file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Whether the output is that of the last layer (`logits`) instead of `probabilities`.
    pub logits: bool,
    /// Whether images are given as the model reads them, floats, instead of as bytes that the file's model scales.
    pub float_input: bool,
}

/// An ONNX file's facts, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxFile {
    /// Its size.
    pub bytes: usize,
    /// What its image input is, where it has one.
    pub input: Option<String>,
}

/// Writes a run's model as an ONNX file of opset 18, which is replaced at once. Inputs have the model's names, and a dim
/// `batch`; sequences have a dim `time`, and an input `<name>.lengths`. The output is what predictions are made of:
/// probabilities, or values in the units of the labels. What the run knows of its data is in the file's metadata.
///
/// # Errors
/// If a layer has no ONNX form, or the file cannot be written, or is there and no ONNX file.
pub fn write_onnx(model: &Trained, path: &Path, options: OnnxOptions) -> Result<OnnxFile> {
    // A `ModelProto` begins with its field 1, the version of the format, a number.
    check_replaced(path, "ONNX", |start| start[0] == 0x08)?;
    let recipe = &model.file.recipe;
    let weights = model.engine().state().into_tensors().into_iter();
    let weights: HashMap<String, Vec<f32>> = weights
        .filter_map(|tensor| match tensor.values {
            StateValues::F32(values) => Some((tensor.name, values)),
            _ => None,
        })
        .collect();
    let mut metadata = metadata(model)?;
    let mut pixels = HashMap::new();
    let mut input = None;
    if let InputSpec::Image { channels, .. } = input_of(&recipe.model) {
        let (affine, bytes) = scaling(model, channels)?;
        match (&affine, bytes && !options.float_input) {
            (Some(affine), true) => {
                let parts = [affine.factors().to_vec(), affine.summands().to_vec()];
                pixels.insert("x".to_owned(), parts);
                input = Some("uint8, the pixels of images, which the model scales".to_owned());
            }
            (affine, _) => {
                if let Some(affine) = affine {
                    let scaled = json(&[affine.factors(), affine.summands()])?;
                    metadata.push(("tidemill.pixels".into(), scaled));
                }
                input = Some("float, the pixels as scaled by the recipe".to_owned());
            }
        }
    }
    let labels = model.known().labels.as_ref().filter(|_| !recipe.task().has_classes());
    let unit = labels.and_then(|labels| labels.scaling()).filter(|scaling| *scaling != (0.0, 1.0));
    let unit = unit.map(|(mean, deviation)| [deviation as f32, mean as f32]);
    let logits = options.logits;
    let content = onnx::Content { weights, pixels, logits, unit, metadata };
    let bytes = onnx::model(&recipe.model, &recipe.training.loss, content)
        .map_err(|e| Error::Usage(format!("the model cannot be written as ONNX: {e}")))?;
    write_atomic(path, &bytes)?;
    Ok(OnnxFile { bytes: bytes.len(), input })
}

/// Writes a run's weights and running statistics as a safetensors file, which is replaced at once: under their own names, or
/// as PyTorch's `load_state_dict` takes them. Gives how many tensors that are.
///
/// # Errors
/// If the file cannot be written, or is there and no safetensors file.
pub fn write_safetensors(model: &Trained, path: &Path, names: Names) -> Result<usize> {
    // The length of the header, and the header, a JSON object.
    check_replaced(path, "safetensors", |start| start.get(8) == Some(&b'{'))?;
    let engine = model.engine();
    let weights: Vec<&str> = engine.weights().map(|(_, name)| name).collect();
    let mut tensors = engine.state().into_tensors();
    tensors.retain(|tensor| weights.contains(&tensor.name.as_str()));
    if names != Names::Own {
        let summary = model.file.recipe.model.summary();
        let layers = summary.map_err(|e| Error::Usage(e.to_string()))?;
        tensors = names::to_torch(&tensors, &layers, model.step);
    }
    // Written beside it first, so that no half of a file is there under its name.
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    write_tensors(part, model.step, &tensors)?;
    std::fs::rename(part, path).map_err(|e| Error::write(path, e))?;
    Ok(tensors.len())
}

/// How the pixels of a run's images become the model's input, and whether they are bytes.
fn scaling(model: &Trained, channels: usize) -> Result<(Option<Affine>, bool)> {
    let compiled = |normalize: &Option<Normalize>, scale: f32| {
        let affine = normalize.clone().unwrap_or_default().compile(channels, scale)?;
        Ok::<_, Error>(Some(affine))
    };
    match model.data_spec()? {
        DataSpec::ImageDirectory(folder) => Ok((compiled(&folder.normalize, 1.0 / 255.0)?, true)),
        DataSpec::Idx(spec) => {
            // Whether they are bytes is known from the file alone.
            let file = DataPaths::new(&model.file.path).resolve(&spec.images);
            let bytes =
                idx::read(&file, Some(1)).is_ok_and(|idx| matches!(idx.values, Features::U8(_)));
            let scale = if bytes { 1.0 / 255.0 } else { 1.0 };
            Ok((compiled(&spec.normalize, scale)?, bytes))
        }
        DataSpec::Numpy(spec) if spec.normalize.is_some() => {
            Ok((compiled(&spec.normalize, 1.0)?, false))
        }
        _ => Ok((None, false)),
    }
}

/// What a run knows of its classes, columns and frames.
fn metadata(model: &Trained) -> Result<Vec<(String, String)>> {
    let known = model.known();
    let mut metadata = vec![("tidemill.step".to_owned(), model.step.to_string())];
    if !model.class_names.is_empty() {
        metadata.push(("tidemill.classes".into(), json(&model.class_names)?));
    }
    if let Some(schema) = &known.schema {
        metadata.push(("tidemill.schema".into(), json(schema)?));
    }
    if let Some(encoder) = &known.encoder {
        metadata.push(("tidemill.columns".into(), json(&encoder.readable())?));
    }
    if let Some(frames) = &known.frames {
        metadata.push(("tidemill.frames".into(), json(frames)?));
    }
    Ok(metadata)
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::Run(format!("what the run knows cannot be written: {e}")))
}
