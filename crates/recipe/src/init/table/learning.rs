//! How a table's recipe learns: the layers, and what differs between classes and values.

use tidemill_engine::nn::HATS;

use super::super::text::list;
use super::{Column, Table};

/// Two hidden layers of so many units.
fn hidden(units: [usize; 2]) -> String {
    let [first, second] = units.map(|units| {
        format!(
            "{{ dense = {{ units = {units}, activation = {{ leaky_relu = {{ slope = 0.1 }} }} }} }},\n"
        )
    });
    format!("{first}  {second}")
}

/// Units of the hidden layers.
const UNITS: [usize; 2] = [64, 32];

/// A table of fewer rows is small: a stream of it has few steps.
const SMALL: usize = 2_000;

/// Rows of a large table. Of classes it has more hats, more units, and averaged weights, with which a smaller one is learned by heart.
pub(super) const LARGE: usize = 10_000;
const MANY_KNOTS: usize = 13;
const MANY_UNITS: [usize; 2] = [256, 128];

/// Numbers so far from their mean, in standard deviations, are usual.
const FAR: f64 = 10.0;
/// Farther ones are more likely mistakes.
const FARTHEST: f64 = 1000.0;

/// Passes over a table: a small one needs more of them.
fn epochs(rows: usize, samples: usize) -> usize {
    samples.div_ceil(rows.max(1)).clamp(10, 100)
}

/// Parts of a recipe.
pub(super) struct Learning {
    /// The layers behind those of words and ids.
    pub(super) layers: String,
    pub(super) loss: &'static str,
    pub(super) optimizer: String,
    pub(super) batch_size: usize,
    pub(super) epochs: usize,
    /// Epochs without a better validation loss that end the run.
    pub(super) patience: usize,
    /// Lines of `[online]`.
    pub(super) online: String,
    /// Lines of `[online.features]`.
    pub(super) clip: String,
    /// Hats of each column of numbers.
    pub(super) knots: Option<usize>,
    /// Whether larger layers are better in batches, which `batch` asks for.
    pub(super) is_large: bool,
    /// Why there are no larger layers for batches.
    pub(super) one_for_both: Option<String>,
}

impl Learning {
    /// Of a table with these classes, or with values. Of words alone (`linear`) no hidden layer learns:
    /// it learns single texts by heart.
    /// With `batch` for training in batches alone, where that is another recipe.
    pub(super) fn of(
        table: &Table,
        classes: Option<&[String]>,
        linear: bool,
        batch: bool,
    ) -> Learning {
        let epochs = if linear { 10 } else { epochs(table.columns.rows, 600_000) };
        let mut learning = Learning {
            layers: if linear { String::new() } else { format!("  {}", hidden(UNITS)) },
            loss: match (classes.is_some(), table.spec.set_separator()) {
                (true, None) => "sparse_categorical_crossentropy",
                (true, Some(_)) => "binary_crossentropy",
                (false, _) => "huber",
            },
            optimizer: "# No optimizer: the default needs no tuning.".into(),
            batch_size: 32,
            epochs,
            // Most is gained near the end, when the rate is low.
            patience: (epochs / 3).max(5),
            online: String::new(),
            clip: String::new(),
            knots: (!linear).then_some(HATS),
            is_large: false,
            one_for_both: one_for_both(table, classes.is_some(), linear),
        };
        match classes {
            Some(classes) => {
                let units = classes.len();
                match is_wide(table) {
                    true => learning.take_wide(units),
                    false => {
                        learning.is_large = learning.one_for_both.is_none();
                        if batch && learning.is_large {
                            learning.take_large(table.columns.rows);
                        }
                        learning.layers += &format!(
                            "  {{ dense = {{ units = {units} }} }}, # one output per class\n"
                        );
                    }
                }
                // Numbers from 0 too: a label of a stream that is none of them must not take an output.
                if table.spec.labels.is_empty() {
                    learning.online += &format!("classes = {}\n", list(classes));
                }
            }
            None if linear => {
                learning.layers =
                    "  { dense = { units = 1 } }, # the value; it is standardized while learning\n"
                        .into();
            }
            None => learning.take_values(table),
        }
        learning
    }

    /// Classes of many rows: chosen on adult and covertype beside boosted trees (docs/data.md).
    fn take_large(&mut self, rows: usize) {
        self.layers = format!("  {}", hidden(MANY_UNITS));
        self.knots = Some(MANY_KNOTS);
        self.optimizer = format!("{}\n{}", falling(3e-3), "average = { ema = 0.99 }");
        self.online = "# A quarter of the rate of smaller layers.\nlearning_rate = 5e-4\nnormalized_rate = true\n".into();
        self.batch_size = 128;
        self.epochs = epochs(rows, 480_000);
        self.patience = (self.epochs / 3).max(5);
    }

    /// Classes of rows with nearly as many numbers as there are rows: hidden layers alone learn those rows by
    /// heart, and a step of the default moves all weights by as much.
    fn take_wide(&mut self, classes: usize) {
        let output =
            format!("{{ dense = {{ units = {classes}, kernel_initializer = \"zeros\" }} }}");
        self.layers = with_linear_path(&output, "# one output per class");
        self.optimizer = optimizer("sgd", 0.01, "");
        self.online = "learning_rate = 0.01\n".into();
        self.knots = None;
    }

    /// Values may be sums of columns, which hidden layers learn slowly and never exactly.
    fn take_values(&mut self, table: &Table) {
        let output = "{ dense = { units = 1, kernel_initializer = \"zeros\" } }";
        self.layers = with_linear_path(output, "# the value; it is standardized while learning");
        // An exact rule is found when the rate is lowest, by many steps; a good epoch before must not end the
        // run.
        (self.batch_size, self.patience) = (16, self.epochs);
        let columns = &table.columns;
        let has_rows = columns.inputs.iter().any(|c| c.is_prose() || c.is_entity());
        // What is clipped of a column is lost for a value that follows it.
        let numbers = columns.inputs.iter().filter(|c| c.is_number());
        let reach = numbers.map(Column::reach).fold(0.0, f64::max);
        if columns.rows >= SMALL || has_rows || reach > FAR {
            self.optimizer = falling(0.01);
            self.online = STREAM.into();
            self.clip = clip(reach.clamp(FAR, FARTHEST).ceil() as u32);
            return;
        }
        // Plain steps find a linear rule in few of them. Larger ones than one over the sum of the squared
        // inputs, each of them about 1, would go past it.
        let inputs = (table.schema.columns.len() + table.schema.vector).max(14) as f64;
        let rate = |share: f64| (1e4 * share / inputs).round().max(1.0) / 1e4;
        self.optimizer = optimizer("sgd", rate(1.4), "");
        self.batch_size = 4;
        self.online = format!("learning_rate = {}\n", rate(0.42));
        self.clip = clip(5);
        self.knots = None;
    }
}

/// Why a table has one recipe for batches and streams; none of a large one of classes, which batches learn better with larger layers.
fn one_for_both(table: &Table, has_classes: bool, linear: bool) -> Option<String> {
    let rows = table.columns.rows;
    match () {
        () if !has_classes => {
            Some("it is for labels that are classes, and this one is a number".into())
        }
        () if linear => {
            Some("it is for other columns than prose, and this table has no other".into())
        }
        () if rows < LARGE => {
            Some(format!("it is for tables of {LARGE} rows or more, and this one has {rows}"))
        }
        () if is_wide(table) => Some("it is for tables of more rows for each column".into()),
        () => None,
    }
}

/// Whether a table of numbers alone has few rows for its columns.
fn is_wide(table: &Table) -> bool {
    let inputs = table.schema.columns.len() + table.schema.vector;
    inputs >= 30
        && table.columns.rows < 20 * inputs
        && table.columns.inputs.iter().all(Column::is_number)
}

/// Hidden layers with a linear path beside them, to outputs that are the sum of both.
fn with_linear_path(output: &str, what: &str) -> String {
    format!(
        "  # A linear path beside the hidden layers; both begin at 0.
  {{ residual = {{ shortcut = [{output}], layers = [
  {}  {output},
  ] }} }}, {what}
",
        hidden(UNITS)
    )
}

/// What a stream without tuning has beside its optimizer.
const STREAM: &str =
    "# The rate of streams without tuning.\nlearning_rate = 2e-3\nnormalized_rate = true\n";

/// The optimizer of streams without tuning, at a rate that falls from `rate` to 0 over the run.
fn falling(rate: f64) -> String {
    optimizer("rmsprop", rate, ", rho = 0.999, bias_correction = true, lazy = true")
}

/// An optimizer whose rate falls to 0 over the run.
fn optimizer(name: &str, rate: f64, more: &str) -> String {
    format!(
        "optimizer = {{ {name} = {{ learning_rate = {{ cosine = {{ start = {rate} }} }}{more} }} }}"
    )
}

/// A value that follows a column is lost with what is clipped of it.
fn clip(most: u32) -> String {
    format!("# So far from the mean, in standard deviations, numbers count.\nclip = {most}\n")
}
