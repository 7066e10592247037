//! `metrics.csv`: a row for each epoch, for spreadsheets and pandas.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use tidemill_engine::checkpoint::{EpochFigures, files};
use tidemill_engine::error::{Error, Result};

/// The columns that each row has.
const FIXED: [&str; 5] = ["epoch", "step", "samples", "learning_rate", "wall_seconds"];

/// The table as it is in its file.
pub(super) struct Table {
    path: PathBuf,
    /// Names of the figures: `train.loss`, ..., then `validation.loss`, ...
    columns: Vec<String>,
    history: Vec<EpochFigures>,
}

impl Table {
    /// Writes the rows of the epochs so far.
    pub(super) fn open(run: &Path, history: &[EpochFigures]) -> Result<Table> {
        let path = run.join("metrics.csv");
        let table = Table { path, columns: columns(history), history: history.to_vec() };
        table.rewrite()?;
        Ok(table)
    }

    /// Adds a row. One with figures that none before had, such as those of the first validation, adds columns.
    pub(super) fn epoch(&mut self, figures: &EpochFigures) -> Result<()> {
        self.history.push(figures.clone());
        let columns = columns(&self.history);
        if columns != self.columns {
            self.columns = columns;
            return self.rewrite();
        }
        let open = OpenOptions::new().append(true).open(&self.path);
        let mut file = open.map_err(|e| Error::write(&self.path, e))?;
        file.write_all(self.row(figures).as_bytes()).map_err(|e| Error::write(&self.path, e))
    }

    fn rewrite(&self) -> Result<()> {
        let names: Vec<&str> =
            FIXED.into_iter().chain(self.columns.iter().map(String::as_str)).collect();
        let rows: String = self.history.iter().map(|epoch| self.row(epoch)).collect();
        files::write_atomic(&self.path, format!("{}\n{rows}", names.join(",")).as_bytes())
    }

    fn row(&self, epoch: &EpochFigures) -> String {
        let EpochFigures { epoch: number, step, samples, learning_rate, wall_seconds, .. } = epoch;
        let mut row = format!("{number},{step},{samples},{learning_rate},{wall_seconds:.3}");
        for column in &self.columns {
            row.push(',');
            let value = figures(epoch).find(|(name, _)| name == column);
            // What was not measured is an empty field.
            row.push_str(&value.map_or_else(String::new, |(_, value)| value.to_string()));
        }
        row + "\n"
    }
}

/// Figures with their names in columns. A name with a comma is one of a library's own; none of ours has one.
fn figures(epoch: &EpochFigures) -> impl Iterator<Item = (String, f64)> {
    let sides = [("train", &epoch.train), ("validation", &epoch.validation)];
    sides.into_iter().flat_map(|(side, figures)| {
        figures
            .iter()
            .map(move |(name, &value)| (format!("{side}.{}", name.replace([',', '"'], "_")), value))
    })
}

fn columns(history: &[EpochFigures]) -> Vec<String> {
    let mut names: Vec<String> = history.iter().flat_map(figures).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    names
}
