//! `tidemill predict`

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use tidemill_engine::Error;
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
    /// Columns of the table to print beside the predictions, such as an id: --keep id,name.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    keep: Vec<String>,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let weights = if arguments.best { Weights::Best } else { Weights::Latest };
    let mut model = Trained::open(&arguments.run, weights, arguments.threads.map(usize::from))?;
    let names = model.class_names.clone();
    tell!("note: {}", model.weights_in_words());
    let look = Look { names: &names, keep: &arguments.keep, all: arguments.all };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut problem = None;
    let mut first = true;
    let result = model.predict(&arguments.data, &arguments.keep, &mut |prediction| {
        let written = if arguments.json {
            writeln!(out, "{}", look.json_line(&prediction))
        } else {
            let header = std::mem::take(&mut first).then(|| look.header(&prediction));
            header
                .map_or(Ok(()), |line| writeln!(out, "{line}"))
                .and_then(|()| writeln!(out, "{}", look.csv_line(&prediction)))
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

/// What is printed of a prediction.
struct Look<'a> {
    /// Of the classes.
    names: &'a [String],
    /// Of the columns that are passed on.
    keep: &'a [String],
    /// Whether all outputs are.
    all: bool,
}

impl Look<'_> {
    /// What the model's outputs are called.
    fn output_names(&self, prediction: &Prediction) -> Vec<String> {
        let name = |i: usize| self.names.get(i).cloned().unwrap_or_else(|| format!("output_{i}"));
        match (&prediction.class, prediction.outputs.len()) {
            (Some(_), 1) => vec![self.names.get(1).cloned().unwrap_or_else(|| "1".into())],
            (_, n) => (0..n).map(name).collect(),
        }
    }

    fn header(&self, prediction: &Prediction) -> String {
        let mut fields = vec!["file".to_string()];
        fields.extend_from_slice(self.keep);
        if prediction.class.is_some() {
            fields.extend(["class".to_string(), "probability".to_string()]);
        }
        if self.all || prediction.class.is_none() {
            fields.extend(self.output_names(prediction));
        }
        join(&fields)
    }

    fn csv_line(&self, prediction: &Prediction) -> String {
        let mut fields = vec![prediction.source.clone()];
        fields.extend_from_slice(&prediction.kept);
        if let Some(class) = &prediction.class {
            fields.extend([class.clone(), format!("{:.6}", prediction.probability)]);
        }
        if self.all || prediction.class.is_none() {
            fields.extend(prediction.outputs.iter().map(|v| v.to_string()));
        }
        join(&fields)
    }

    fn json_line(&self, prediction: &Prediction) -> Value {
        let mut line = Map::new();
        line.insert("file".into(), json!(prediction.source));
        if !self.keep.is_empty() {
            let kept = self.keep.iter().cloned().zip(prediction.kept.iter().map(|v| json!(v)));
            line.insert("kept".into(), Value::Object(kept.collect()));
        }
        if let Some(class) = &prediction.class {
            line.insert("class".into(), json!(class));
            line.insert("probability".into(), json!(prediction.probability));
        }
        if self.all || prediction.class.is_none() {
            let outputs = self.output_names(prediction).into_iter().zip(&prediction.outputs);
            let outputs: Map<String, Value> = outputs.map(|(n, v)| (n, json!(v))).collect();
            line.insert("outputs".into(), Value::Object(outputs));
        }
        Value::Object(line)
    }
}

/// A line of CSV; fields with separators or quotes are quoted.
fn join(fields: &[String]) -> String {
    let quote = |field: &String| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.clone(),
    };
    fields.iter().map(quote).collect::<Vec<_>>().join(",")
}
