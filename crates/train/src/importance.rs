//! How much a run's model owes to each column of a table: how much worse it predicts when the column's values are given to other
//! rows by chance (permutation importance; Breiman 2001, as in scikit-learn's `permutation_importance`).

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tidemill_engine::data::order::{EpochOrder, Order};
use tidemill_engine::data::{Dataset, Info, LabelKind, Row};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::evaluate::{EvaluateOptions, evaluate};
use tidemill_engine::metrics::Metric;
use tidemill_engine::page::bars::{Bar, Bars};
use tidemill_recipe::evaluate_options;

use crate::Trained;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Importance {
    /// The metric.
    pub metric: String,
    /// Its value on the data as they are.
    pub value: f64,
    /// The number of samples.
    pub samples: usize,
    /// How often each column was shuffled.
    pub repeats: u64,
    /// The random seed of the shuffles.
    pub seed: u64,
    /// The columns, the most important first.
    pub columns: Vec<ColumnImportance>,
}

/// How much worse the metric is without what one column says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnImportance {
    /// The column.
    pub column: String,
    /// The mean over the shuffles: how much less the metric is, or how much more where it is an error.
    pub mean: f64,
    /// Their standard deviation.
    pub standard_deviation: f64,
    /// Each of them.
    pub each: Vec<f64>,
}

impl Importance {
    /// A bar for each column, as an SVG picture.
    pub fn picture(&self) -> String {
        let bar = |column: &ColumnImportance| Bar {
            name: column.column.clone(),
            value: column.mean,
            spread: column.standard_deviation,
        };
        let bars: Vec<Bar> = self.columns.iter().map(bar).collect();
        let metric = &self.metric;
        let title = format!("How much worse {metric} is when a column is shuffled");
        Bars { title: &title, scale: Metric::scale(metric), bars: &bars }.picture()
    }
}

/// How it is measured.
#[derive(Clone, Debug)]
pub struct ImportanceOptions {
    /// The metric; by default the first that the recipe measures.
    pub metric: Option<Metric>,
    /// How often each column is shuffled.
    pub repeats: u64,
    /// The random seed of the shuffles.
    pub seed: u64,
}

impl Trained {
    /// Measures the columns' importance on `data`, or on the recipe's validation data. `progress` is given how many passes over the
    /// data are done, and how many there are.
    ///
    /// # Errors
    /// If the data are no table with labels, or the metric is none of the model's task.
    pub fn importance(
        &mut self,
        data: &[PathBuf],
        options: &ImportanceOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Importance> {
        let spec = self.measured(data)?;
        let set = self.open_spec(&spec)?;
        let columns = columns(set.as_ref()).ok_or_else(|| {
            Error::Usage(format!(
                "{}: importance shuffles the columns of a table, and the run's data are none",
                spec.path()
            ))
        })?;
        if set.label_kind() == LabelKind::None {
            let path = spec.path();
            return Err(Error::Usage(format!("{path}: has no labels to compare predictions with")));
        }
        let usual = evaluate_options(&self.file);
        let metric = match options.metric {
            Some(metric) if !metric.fits(usual.task) => {
                let name = metric.name();
                return Err(Error::Usage(format!(
                    "--metric {name}: is not defined for this model's outputs"
                )));
            }
            Some(metric) => metric,
            None => usual.metrics.first().copied().ok_or_else(|| {
                Error::Usage("the recipe measures no metric; name one with --metric".into())
            })?,
        };
        let measure = EvaluateOptions { metrics: vec![metric], mistakes: 0, ..usual };
        let (name, total) = (metric.name(), 1 + options.repeats * columns.len() as u64);
        let mut done = 0;
        let mut value_on = |engine: &mut _, set: &Arc<dyn Dataset>| -> Result<f64> {
            let figures = evaluate(engine, set, &measure)?.figures;
            done += 1;
            progress(done, total);
            figures.get(&name).copied().ok_or_else(|| {
                let path = spec.path();
                Error::Usage(format!(
                    "{path}: {name} is not defined on these data; name another --metric"
                ))
            })
        };
        let value = value_on(self.engine_mut(), &set)?;
        let sign = if Metric::greater_is_better(&name) { 1.0 } else { -1.0 };
        let mut all = Vec::with_capacity(columns.len());
        for (i, column) in columns.into_iter().enumerate() {
            let mut each = Vec::with_capacity(options.repeats as usize);
            for repeat in 0..options.repeats {
                // An order of its own for each column and repeat.
                let epoch = i as u64 * options.repeats + repeat;
                let order = Order::Shuffled { seed: options.seed }.epoch(epoch, set.len());
                let shuffled = Shuffled { data: set.clone(), column: column.clone(), order };
                let shuffled: Arc<dyn Dataset> = Arc::new(shuffled);
                each.push(sign * (value - value_on(self.engine_mut(), &shuffled)?));
            }
            let n = each.len() as f64;
            let mean = each.iter().sum::<f64>() / n;
            let variance = each.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            let standard_deviation = variance.sqrt();
            all.push(ColumnImportance { column: column.name, mean, standard_deviation, each });
        }
        // Stable: equal ones stay in the order of the table.
        all.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        let (repeats, seed) = (options.repeats, options.seed);
        Ok(Importance { metric: name, value, samples: set.len(), repeats, seed, columns: all })
    }
}

/// What a column of a table is in a sample.
#[derive(Clone, Debug, PartialEq)]
struct ColumnOf {
    name: String,
    field: usize,
    /// Its numbers in that field; none where the field is all its own.
    numbers: Option<Vec<Range<usize>>>,
}

/// The columns of a table; none where the data are something else.
fn columns(data: &dyn Dataset) -> Option<Vec<ColumnOf>> {
    let encoder = data.known()?.encoder.as_ref()?;
    let fields = data.info().signature.inputs();
    let mut all = Vec::new();
    for (field, own) in fields.iter().enumerate() {
        // The encoder's field has as many numbers as it makes; others are a column each.
        if own.most() == encoder.width() && own.time().is_none() {
            let column = |(name, ranges)| ColumnOf { name, field, numbers: Some(ranges) };
            all.extend(encoder.inputs_of_columns().into_iter().map(column));
        } else {
            all.push(ColumnOf { name: own.name.clone(), field, numbers: None });
        }
    }
    Some(all)
}

/// A table in which the values of one column are those of other rows.
struct Shuffled {
    data: Arc<dyn Dataset>,
    column: ColumnOf,
    order: EpochOrder,
}

impl Dataset for Shuffled {
    fn info(&self) -> &Info {
        self.data.info()
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> tidemill_engine::data::Result<()> {
        self.data.fill(index, row)?;
        let other = self.data.read(self.order.index(index))?;
        let ColumnOf { field, numbers, .. } = &self.column;
        let from = &other.columns[*field];
        match numbers {
            Some(ranges) => {
                let to = row.f32(*field)?;
                for range in ranges {
                    to[range.clone()].copy_from_slice(&from.f32()[range.clone()]);
                }
            }
            None => {
                let length = from.lengths.first().map_or(from.i32().len(), |&n| n.max(0) as usize);
                row.set_ids(*field, &from.i32()[..length])?;
            }
        }
        Ok(())
    }

    fn describe(&self, index: usize) -> String {
        self.data.describe(index)
    }

    fn known(&self) -> Option<&tidemill_engine::data::Known> {
        self.data.known()
    }
}
