//! `tidemill predict`

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use tidemill_engine::Error;
use tidemill_engine::page::number::count;
use tidemill_online::asked::{Asked, AskedEvent};
use tidemill_recipe::stream::features::shortest;
use tidemill_train::{Extract, Prediction, Sampling, Trained, Translation, Weights};

use super::beam::SearchOptions;
use super::transcribe::{self, Asked as Sound};
use crate::failure::{Failure, Result};
use crate::print::{say, tell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of the run.
    run: PathBuf,
    /// Image files and folders of images, or one table, or one IDX file; text files for a model that translates,
    /// a file of documents for one that summarizes them; sounds and folders of sounds.
    #[arg(long, num_args = 1.., required_unless_present_any = ["text", "from"], value_name = "FILES")]
    data: Vec<PathBuf>,
    /// A sound that is transcribed while it comes: - for standard input (a WAV, such as from `arecord -f S16_LE -r 16000`, or samples as
    /// --format says), or a file. Prints the text of each utterance.
    #[arg(long, conflicts_with_all = ["data", "text", "all", "keep"], value_name = "SOURCE")]
    from: Option<String>,
    /// Also print what is said so far whenever that changes: on one line of a terminal, elsewhere as JSON lines.
    #[arg(long, requires = "from")]
    stream: bool,
    /// How samples without a header are stored: s16le, f32le, with the rate, such as s16le:16000.
    #[arg(long, requires = "from", value_name = "FORMAT")]
    format: Option<String>,
    /// A text that the model continues or translates.
    #[arg(long, conflicts_with_all = ["data", "all", "keep"], value_name = "TEXT")]
    text: Option<String>,
    /// The most tokens that a text is continued by [default: 200].
    #[arg(long, requires = "text", value_name = "NUMBER")]
    tokens: Option<usize>,
    #[command(flatten)]
    search: SearchOptions,
    /// Translations of each text that are printed, the best first [default: 1].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    n_best: Option<u16>,
    /// How each translation begins.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Draw tokens by their probability, such as temperature=0.8,top_k=50,top_p=0.95,seed=1 [default: always the
    /// most probable one].
    #[arg(long, requires = "text", value_name = "OPTIONS")]
    sample: Option<String>,
    /// Use the weights of the best epoch instead of the last.
    #[arg(long)]
    best: bool,
    /// Use the weights of the checkpoint of this step.
    #[arg(long, value_name = "STEP", conflicts_with = "best")]
    checkpoint: Option<u64>,
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
    if Asked::is_linear(&arguments.run)? {
        return linear(arguments);
    }
    let weights = Weights::asked_for(arguments.best, arguments.checkpoint);
    let mut model = Trained::open(&arguments.run, weights, arguments.threads.map(usize::from))?;
    let names = model.output_classes();
    tell!("note: {}", model.weights_in_words());
    if let Some(source) = &arguments.from {
        let format = arguments.format.as_deref();
        return transcribe::transcribe(
            &mut model,
            &Sound { source, format, stream: arguments.stream, json: arguments.json },
        );
    }
    if model.translates() {
        return translate(&mut model, arguments);
    }
    if let Some(what) = arguments.of_translations() {
        return Err(Failure::usage(format!("{what} is for models that translate")));
    }
    if let Some(text) = &arguments.text {
        return write_text(&mut model, text, arguments);
    }
    if model.extracts() {
        return summarize(&mut model, arguments);
    }
    if let Some(name) = arguments.of_continued_texts() {
        return Err(Failure::usage(format!("{name} is for a text that is continued: give --text")));
    }
    let mut printer = Printer::new(arguments, &names);
    let result = model.predict(&arguments.data, &arguments.keep, &mut |p| printer.print(&p));
    for what in printer.end(result)? {
        tell!("note: {what}");
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// An option that only a translation has.
    fn of_translations(&self) -> Option<&'static str> {
        let own = [("--n-best", self.n_best.is_some()), ("--prefix", self.prefix.is_some())];
        self.search.given().or(given(&own))
    }

    /// An option that only a text that is continued has.
    fn of_continued_texts(&self) -> Option<&'static str> {
        given(&[("--tokens", self.tokens.is_some()), ("--sample", self.sample.is_some())])
    }

    /// An option that only predictions of rows and images have.
    fn of_predictions(&self) -> Option<&'static str> {
        given(&[("--all", self.all), ("--keep", !self.keep.is_empty())])
    }
}

/// The first of the options that is given.
fn given(options: &[(&'static str, bool)]) -> Option<&'static str> {
    options.iter().find(|(_, given)| *given).map(|(name, _)| *name)
}

/// Prints what the model makes of a text, or of each line of files.
fn translate(model: &mut Trained, arguments: &Arguments) -> Result {
    if let Some(name) = arguments.of_continued_texts().or(arguments.of_predictions()) {
        return Err(Failure::usage(format!("{name} is for models that do not translate")));
    }
    let mut texts: Vec<String> = arguments.text.iter().cloned().collect();
    texts.extend(Trained::lines(&arguments.data)?);
    let n_best = arguments.n_best.map_or(1, usize::from);
    let beam = arguments.search.beam(n_best)?;
    let prefix = arguments.prefix.as_deref().unwrap_or("");
    let mut cut = 0;
    // Printed as they come, in the order of the texts.
    for part in texts.chunks(LINES) {
        let lines: Vec<&str> = part.iter().map(String::as_str).collect();
        let found = model.translate(&lines, prefix, &beam)?;
        for (text, Translation { hypotheses, is_cut }) in part.iter().zip(found) {
            cut += u64::from(is_cut);
            let best = hypotheses.iter().take(n_best);
            if arguments.json {
                let all: Vec<Value> =
                    best.map(|h| json!({ "text": h.text, "score": h.score })).collect();
                say!("{}", json!({ "source": text, "translations": all }))?;
            } else if hypotheses.is_empty() {
                say!("")?;
            } else {
                for hypothesis in best {
                    say!("{}", on_one_line(&hypothesis.text))?;
                }
            }
        }
    }
    if cut > 0 {
        let texts = if cut == 1 { "text is" } else { "texts are" };
        tell!(
            "note: {} {texts} longer than the model reads, and their ends are left out",
            count(cut)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the summary of each document of a file, which are sentences of it.
fn summarize(model: &mut Trained, arguments: &Arguments) -> Result {
    if let Some(name) = arguments.of_continued_texts().or(arguments.of_predictions()) {
        return Err(Failure::usage(format!("{name} is for models that do not summarize")));
    }
    let (extracts, notes) = model.extract(&arguments.data)?;
    for Extract { source, sentences } in extracts {
        let texts: Vec<&str> = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
        let summary = texts.join(" ");
        if arguments.json {
            let chosen: Vec<Value> = sentences
                .iter()
                .map(|s| json!({ "index": s.index, "text": s.text, "score": shortest(s.score as f32) }))
                .collect();
            say!("{}", json!({ "file": source, "summary": summary, "sentences": chosen }))?;
        } else {
            // A line for each document.
            say!("{}", on_one_line(&summary))?;
        }
    }
    for what in notes {
        tell!("note: {what}");
    }
    Ok(ExitCode::SUCCESS)
}

/// A text as one line, so that each line that is printed is a text.
fn on_one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Lines that are translated before they are printed.
const LINES: usize = 256;

/// Prints a text and what the model writes after it, as it comes.
fn write_text(model: &mut Trained, text: &str, arguments: &Arguments) -> Result {
    if arguments.json {
        let what = "--json is for predictions and translations";
        return Err(Failure::usage(what));
    }
    let sampling = arguments.sample.as_deref().map(Sampling::parse).transpose()?;
    let mut out = io::stdout().lock();
    let mut closed = false;
    let mut show = |piece: &str| {
        let written = write!(out, "{piece}").and_then(|()| out.flush());
        written.map_err(|e| {
            closed = e.kind() == io::ErrorKind::BrokenPipe;
            Error::Run(format!("cannot write the text: {e}"))
        })
    };
    let sampling = sampling.unwrap_or_default();
    let mut written = model.generate(text, arguments.tokens.unwrap_or(200), &sampling, &mut show);
    if written.is_ok() {
        written = show("\n");
    }
    match (written, closed) {
        (Err(e), false) => Err(Failure::from(e)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The same for a hashed linear model.
fn linear(arguments: &Arguments) -> Result {
    if !arguments.keep.is_empty() {
        let what = "--keep is for networks; a linear model passes on no columns";
        return Err(Failure::from(Error::Usage(what.into())));
    }
    let mut model = Asked::open(&arguments.run, arguments.checkpoint)?;
    tell!("note: {}", model.weights_in_words());
    let names = model.output_classes();
    let mut printer = Printer::new(arguments, &names);
    let result = model.predict(&arguments.data, &mut |event| {
        let AskedEvent { source, class, probability, outputs } = event;
        printer.print(&Prediction { source, class, probability, outputs, ..Prediction::default() })
    });
    printer.end(result)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes predictions as they come.
struct Printer<'a> {
    look: Look<'a>,
    json: bool,
    first: bool,
    out: BufWriter<io::StdoutLock<'static>>,
    problem: Option<io::ErrorKind>,
}

impl<'a> Printer<'a> {
    fn new(arguments: &'a Arguments, names: &'a [Option<String>]) -> Printer<'a> {
        Printer {
            look: Look { names, keep: &arguments.keep, all: arguments.all },
            json: arguments.json,
            first: true,
            out: BufWriter::new(io::stdout().lock()),
            problem: None,
        }
    }

    fn print(&mut self, prediction: &Prediction) -> std::result::Result<(), Error> {
        let Printer { look, out, .. } = self;
        let written = if self.json {
            writeln!(out, "{}", look.json_line(prediction))
        } else {
            let header = std::mem::take(&mut self.first).then(|| look.header(prediction));
            header
                .map_or(Ok(()), |line| writeln!(out, "{line}"))
                .and_then(|()| writeln!(out, "{}", look.csv_line(prediction)))
        };
        written.map_err(|e| {
            self.problem = Some(e.kind());
            Error::Run(format!("cannot write the predictions: {e}"))
        })
    }

    /// What was predicted before an error is not lost; whoever has seen enough of the output may close
    /// it.
    fn end<T: Default>(
        mut self,
        result: std::result::Result<T, Error>,
    ) -> std::result::Result<T, Failure> {
        if self.problem == Some(io::ErrorKind::BrokenPipe) {
            return Ok(T::default());
        }
        self.out.flush()?;
        result.map_err(Failure::from)
    }
}

/// What is printed of a prediction.
struct Look<'a> {
    /// Of the classes; an output that no label has taken has none, and is not shown.
    names: &'a [Option<String>],
    /// Of the columns that are passed on.
    keep: &'a [String],
    /// Whether all outputs are.
    all: bool,
}

impl Look<'_> {
    /// The model's outputs and what they are called.
    fn outputs(&self, prediction: &Prediction) -> Vec<(String, f64)> {
        let outputs = prediction.outputs.iter().enumerate();
        // One output is the probability of the second class.
        let is_one = prediction.class.is_some() && prediction.outputs.len() == 1;
        let name = |i: usize| match self.names.get(if is_one { 1 } else { i }) {
            Some(name) => name.clone(),
            None => Some(format!("output_{i}")),
        };
        outputs.filter_map(|(i, &value)| Some((name(i)?, value))).collect()
    }

    /// Whether all outputs are shown: also where any number of classes may be true, since each has its probability.
    fn shows_outputs(&self, prediction: &Prediction) -> bool {
        self.all || prediction.class.is_none() || prediction.separator.is_some()
    }

    fn header(&self, prediction: &Prediction) -> String {
        let mut fields = vec!["file".to_string()];
        fields.extend_from_slice(self.keep);
        if prediction.text.is_some() {
            fields.push("text".to_string());
            return join(&fields);
        }
        if prediction.class.is_some() {
            fields.extend(["class".to_string(), "probability".to_string()]);
        }
        if self.shows_outputs(prediction) {
            fields.extend(self.outputs(prediction).into_iter().map(|(name, _)| name));
        }
        join(&fields)
    }

    fn csv_line(&self, prediction: &Prediction) -> String {
        let mut fields = vec![prediction.source.clone()];
        fields.extend_from_slice(&prediction.kept);
        if let Some(text) = &prediction.text {
            fields.push(text.clone());
            return join(&fields);
        }
        if let Some(class) = &prediction.class {
            fields.extend([class.clone(), format!("{:.6}", prediction.probability)]);
        }
        if self.shows_outputs(prediction) {
            fields.extend(self.outputs(prediction).iter().map(|(_, v)| v.to_string()));
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
        if let Some(text) = &prediction.text {
            line.insert("text".into(), json!(text));
            return Value::Object(line);
        }
        if let Some(class) = &prediction.class {
            match prediction.separator {
                Some(by) => {
                    let classes: Vec<&str> = class.split_terminator(by).collect();
                    line.insert("classes".into(), json!(classes));
                }
                None => drop(line.insert("class".into(), json!(class))),
            }
            line.insert("probability".into(), json!(shortest(prediction.probability)));
        }
        if self.shows_outputs(prediction) {
            let outputs = self.outputs(prediction).into_iter();
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
