//! Initial weights from another run or a file, as far as names and shapes match.

use std::collections::BTreeMap;
use std::path::Path;

use tidemill_engine::checkpoint::{Course, read_weights};
use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::metrics::Meter;
use tidemill_engine::nn::{FromSpec, LayerSummary, Names};
use tidemill_engine::{StateTensor, StateValues};
use tidemill_recipe::data::RunData;
use tidemill_recipe::{DataPaths, RecipeFile};

use crate::names::{self, Named};
use crate::place::Position;
use crate::resume;
use crate::run::empty_meter;
use crate::trained::{Trained, Weights};

/// Tensors that a table names one by one; of more it says how many.
const SHOWN: usize = 20;

/// A run that starts now, with its initial weights.
///
/// # Errors
/// As [`load`].
pub(crate) fn start(
    file: &RecipeFile,
    paths: &DataPaths,
    engine: &mut Engine,
    data: &RunData,
    notice: &mut dyn FnMut(&str),
) -> Result<(Position, Course, Vec<Meter>)> {
    load(file, paths, engine, notice)?;
    let at = Position {
        step: 0,
        online_steps: 0,
        samples: 0,
        data: 0,
        history: Vec::new(),
        wall_seconds: 0.0,
    };
    Ok((at, resume::course(file, data), vec![empty_meter(file, engine, data)]))
}

/// Takes the initial weights from where the recipe says, and says which.
///
/// # Errors
/// If there is no such run or file, or nothing in it fits the model.
fn load(
    file: &RecipeFile,
    paths: &DataPaths,
    engine: &mut Engine,
    notice: &mut dyn FnMut(&str),
) -> Result<()> {
    let Some(spec) = &file.recipe.model.from else { return Ok(()) };
    let wrong = |key: &str, what: &str| file.error_at(&format!("model.from{key}"), what);
    let (given, what) = match (&spec.run, &spec.safetensors) {
        (Some(run), None) => {
            if spec.names != Names::Own {
                return Err(wrong(".names", "has no place beside run, whose names are its own"));
            }
            let path = paths.resolve(run);
            (of_run(&path).map_err(|e| wrong(".run", &format!("cannot be taken: {e}")))?, run)
        }
        (None, Some(name)) => {
            let path = paths.resolve(name);
            let read = read_weights(&path);
            (read.map_err(|e| wrong(".safetensors", &format!("cannot be taken: {e}")))?, name)
        }
        _ => return Err(wrong("", "must have either run or safetensors")),
    };
    let summary = file.recipe.model.summary();
    let layers = summary.map_err(|e| Error::Usage(e.to_string()))?;
    let mut spec = spec.clone();
    if spec.names == Names::Torchvision {
        let Some(vision) = &file.recipe.model.vision else {
            return Err(wrong(".names", "is for a model that model.vision names"));
        };
        let mut rename = vision.torchvision_names().map_err(|e| Error::Usage(e.to_string()))?;
        rename.append(&mut spec.rename);
        spec.rename = rename;
    }
    let taken = take(&spec, &layers, &given, engine).map_err(|what| wrong(".rename", &what))?;
    if taken.taken.is_empty() {
        let why = taken.table(what);
        return Err(wrong(
            "",
            &format!("fits no tensor of the model: names and shapes differ\n{why}"),
        ));
    }
    notice(&taken.table(what));
    Ok(())
}

/// The weights of a run, those of averages where it has some.
fn of_run(path: &Path) -> Result<BTreeMap<String, StateTensor>> {
    let model = Trained::open(path, Weights::Latest, Some(1))?;
    let tensors = model.engine().state().into_tensors().into_iter();
    Ok(tensors.map(|tensor| (tensor.name.clone(), tensor)).collect())
}

/// What was taken and what not.
#[derive(Default)]
struct Taken {
    /// Names of the model's tensors with those of the source.
    taken: Vec<(String, String)>,
    /// Names of the model's tensors that keep their start values, and why.
    kept: Vec<(String, String)>,
    /// Tensors of the source that nothing takes.
    left: Vec<String>,
}

fn take(
    spec: &FromSpec,
    layers: &[LayerSummary],
    given: &BTreeMap<String, StateTensor>,
    engine: &mut Engine,
) -> std::result::Result<Taken, String> {
    let renamed = |name: &str| rename(&spec.rename, name);
    let given_by_user = spec.rename.iter().filter(|_| spec.names != Names::Torchvision);
    for (ours, theirs) in given_by_user {
        let is_there = given.keys().any(|name| starts(name, theirs).is_some());
        if !is_there {
            return Err(format!(
                "names \"{theirs}\" for \"{ours}\", and the source has no such tensor"
            ));
        }
    }
    let places: Vec<(usize, String)> =
        engine.weights().map(|(place, name)| (place, name.to_owned())).collect();
    let (mut taken, mut used) = (Taken::default(), Vec::new());
    for (place, name) in places {
        let shape = engine.tensor_shape(place).to_vec();
        let parts: Vec<(Option<Named>, String, Vec<usize>)> = match spec.names {
            Names::Own => vec![(None, renamed(&name), shape.clone())],
            Names::Torch | Names::Torchvision => names::torch(&name, layers)
                .into_iter()
                .map(|named| (renamed(&named.name), named))
                .map(|(theirs, named)| {
                    let shape = named.shape(&shape);
                    (Some(named), theirs, shape)
                })
                .collect(),
        };
        let mut fault = None;
        for (_, theirs, shape) in &parts {
            fault = fault.or(match given.get(theirs) {
                None => Some(format!("the source has no {theirs}")),
                Some(tensor) if without_ones(&tensor.shape) != without_ones(shape) => {
                    Some(format!("{theirs} is {:?}, and {shape:?} is wanted", tensor.shape))
                }
                Some(tensor) if !matches!(tensor.values, StateValues::F32(_)) => {
                    Some(format!("{theirs} is {}, and F32 is wanted", tensor.dtype()))
                }
                Some(_) => None,
            });
        }
        if let Some(why) = fault {
            taken.kept.push((name, why));
            continue;
        }
        for (named, theirs, _) in parts {
            let Some(StateValues::F32(values)) = given.get(&theirs).map(|t| &t.values) else {
                continue;
            };
            match named {
                Some(named) => {
                    let mut here = engine.values(place).map_err(|e| e.0)?.into_owned();
                    named.put(values, &mut here, &shape);
                    engine.set_values(place, &here).map_err(|e| e.0)?;
                }
                None => engine.set_values(place, values).map_err(|e| e.0)?,
            }
            taken.taken.push((name.clone(), theirs.clone()));
            used.push(theirs);
        }
    }
    // Counts of steps say nothing here, nor do an optimizer's slots.
    let is_slot = |name: &str| {
        name.rsplit_once('.').is_some_and(|(of, _)| given.contains_key(of))
            || name.ends_with(".num_batches_tracked")
    };
    let left = given.keys().filter(|name| !used.contains(name) && !is_slot(name));
    taken.left = left.cloned().collect();
    Ok(taken)
}

/// Dims without those of 1 at either end: a convolution of single pixels is a dense layer, and a table of positions may be
/// there for a batch of one.
fn without_ones(mut shape: &[usize]) -> &[usize] {
    while let [rest @ .., 1] | [1, rest @ ..] = shape {
        shape = rest;
    }
    shape
}

/// The rest of a name below a path, if it is there.
fn starts<'n>(name: &'n str, path: &str) -> Option<&'n str> {
    let rest = name.strip_prefix(path)?;
    (rest.is_empty() || rest.starts_with('.')).then_some(rest)
}

/// A name with its longest path that has another one replaced by that.
fn rename(paths: &BTreeMap<String, String>, name: &str) -> String {
    let fits = paths.iter().filter_map(|(ours, theirs)| Some((ours, theirs, starts(name, ours)?)));
    match fits.max_by_key(|(ours, ..)| ours.len()) {
        Some((_, theirs, rest)) => format!("{theirs}{rest}"),
        None => name.to_owned(),
    }
}

impl Taken {
    /// A table for people.
    fn table(&self, from: &str) -> String {
        let mut lines = vec![format!(
            "initial weights from {from}: {} tensors are taken, {} keep their random start, {} of the source are left",
            self.taken.len(),
            self.kept.len(),
            self.left.len()
        )];
        let mut list = |what: &str, rows: Vec<String>| {
            let more = rows.len().saturating_sub(SHOWN);
            lines.extend(rows.into_iter().take(SHOWN).map(|row| format!("  {what:<8} {row}")));
            if more > 0 {
                lines.push(format!("  {what:<8} and {more} more"));
            }
        };
        let pair = |(ours, theirs): &(String, String)| match ours == theirs {
            true => ours.clone(),
            false => format!("{ours} <- {theirs}"),
        };
        list("taken", self.taken.iter().map(pair).collect());
        list("not", self.kept.iter().map(|(name, why)| format!("{name}: {why}")).collect());
        list("left", self.left.clone());
        lines.join("\n")
    }
}
