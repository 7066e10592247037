//! `tidemill predict`

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use tidemill_engine::Error;
use tidemill_online::asked::{Asked, AskedEvent};
use tidemill_train::{Prediction, Trained, Weights};

use crate::failure::{Failure, Result};
use crate::print::tell;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of the run.
    run: PathBuf,
    /// Image files and folders of images, or one table, or one IDX file.
    #[arg(long, num_args = 1.., required = true, value_name = "FILES")]
    data: Vec<PathBuf>,
    /// Use the weights of the best epoch instead of the last.
    #[arg(long)]
    best: bool,
    /// Print JSON lines instead of CSV.
    #[arg(long)]
    json: bool,
    /// Also print the probability of every class.
    #[arg(long)]
    all: bool,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    if Asked::is_linear(&arguments.run)? {
        return linear(arguments);
    }
    let weights = if arguments.best { Weights::Best } else { Weights::Latest };
    let mut model = Trained::open(&arguments.run, weights, arguments.threads.map(usize::from))?;
    let names = model.class_names.clone();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut problem = None;
    let mut first = true;
    let result = model.predict(&arguments.data, &mut |prediction| {
        let written = if arguments.json {
            writeln!(out, "{}", json_line(&prediction, &names, arguments.all))
        } else {
            let header =
                std::mem::take(&mut first).then(|| header(&prediction, &names, arguments.all));
            header
                .map_or(Ok(()), |line| writeln!(out, "{line}"))
                .and_then(|()| writeln!(out, "{}", csv_line(&prediction, arguments.all)))
        };
        written.map_err(|e| {
            problem = Some(e.kind());
            Error::Run(format!("cannot write the predictions: {e}"))
        })
    });
    match (result, problem) {
        // Whoever read the output has seen enough.
        (_, Some(io::ErrorKind::BrokenPipe)) => Ok(ExitCode::SUCCESS),
        (Err(error), _) => {
            // What was predicted before the error is not lost.
            out.flush()?;
            Err(Failure::from(error))
        }
        (Ok(skipped), _) => {
            out.flush()?;
            if let Some(what) = skipped {
                tell!("note: {what}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The same for a hashed linear model.
fn linear(arguments: &Arguments) -> Result {
    let model = Asked::open(&arguments.run)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut first = true;
    let mut gone = false;
    let result = model.predict(&arguments.data, &mut |event| {
        let AskedEvent { source, class, probability, output } = event;
        let prediction = Prediction { source, class, probability, outputs: vec![output as f32] };
        let written = if arguments.json {
            writeln!(out, "{}", json_line(&prediction, &[], arguments.all))
        } else {
            let header =
                std::mem::take(&mut first).then(|| header(&prediction, &[], arguments.all));
            let header = header.map_or(Ok(()), |line| writeln!(out, "{line}"));
            header.and_then(|()| writeln!(out, "{}", csv_line(&prediction, arguments.all)))
        };
        written.map_err(|e| {
            gone = e.kind() == io::ErrorKind::BrokenPipe;
            Error::Run(format!("cannot write the predictions: {e}"))
        })
    });
    if gone {
        return Ok(ExitCode::SUCCESS);
    }
    out.flush()?;
    result?;
    Ok(ExitCode::SUCCESS)
}

/// What the model's outputs are called.
fn output_names(prediction: &Prediction, names: &[String]) -> Vec<String> {
    let name = |i: usize| names.get(i).cloned().unwrap_or_else(|| format!("output_{i}"));
    match (&prediction.class, prediction.outputs.len()) {
        (Some(_), 1) => vec![names.get(1).cloned().unwrap_or_else(|| "1".into())],
        (_, n) => (0..n).map(name).collect(),
    }
}

fn header(prediction: &Prediction, names: &[String], all: bool) -> String {
    let mut fields = vec!["file".to_string()];
    if prediction.class.is_some() {
        fields.extend(["class".to_string(), "probability".to_string()]);
    }
    if all || prediction.class.is_none() {
        fields.extend(output_names(prediction, names));
    }
    join(&fields)
}

fn csv_line(prediction: &Prediction, all: bool) -> String {
    let mut fields = vec![prediction.source.clone()];
    if let Some(class) = &prediction.class {
        fields.extend([class.clone(), format!("{:.6}", prediction.probability)]);
    }
    if all || prediction.class.is_none() {
        fields.extend(prediction.outputs.iter().map(|v| v.to_string()));
    }
    join(&fields)
}

/// A line of CSV; fields with separators or quotes are quoted.
fn join(fields: &[String]) -> String {
    let quote = |field: &String| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.clone(),
    };
    fields.iter().map(quote).collect::<Vec<_>>().join(",")
}

fn json_line(prediction: &Prediction, names: &[String], all: bool) -> Value {
    let mut line = Map::new();
    line.insert("file".into(), json!(prediction.source));
    if let Some(class) = &prediction.class {
        line.insert("class".into(), json!(class));
        line.insert("probability".into(), json!(prediction.probability));
    }
    if all || prediction.class.is_none() {
        let outputs = output_names(prediction, names).into_iter().zip(&prediction.outputs);
        let outputs: Map<String, Value> = outputs.map(|(n, v)| (n, json!(v))).collect();
        line.insert("outputs".into(), Value::Object(outputs));
    }
    Value::Object(line)
}
