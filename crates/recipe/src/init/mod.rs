//! A commented recipe for data that is there: what `tidemill init` writes.
//!
//! The data is looked at, not guessed at from its name alone: image folders are listed and some images
//! decoded, tables are read once. The recipe trains or learns as it is written; its comments say what
//! was found and what to change.
//!
//! # Layout
//!
//! - [`Init`] is what is asked for, [`Drafted`] the answer; [`init`] writes the recipe
//! - `images`, `texts`, `arrays`, `idx`, `table`: one kind of data each, from its path to a `Draft`
//! - `tree`: how files lie in folders of classes; `columns`: what the values of a table's columns look
//!   like
//! - `text`: the text of a recipe

mod arrays;
mod columns;
mod idx;
mod images;
mod table;
mod text;
mod texts;
mod tree;

use std::path::{Path, PathBuf};

use tidemill_engine::data::images::is_shards;
use tidemill_engine::error::{Error, Result};
use tidemill_stream::{Format, FormatSpec};

use crate::{DATA_VARIABLE, RecipeFile};

/// What a recipe is asked for.
#[derive(Clone, Debug, Default)]
pub struct Init {
    /// The data: a folder or archive of images, a folder of texts, IDX files or a folder of them,
    /// arrays that NumPy saved, or a table.
    pub data: Vec<PathBuf>,
    /// The column of a table that is to be predicted, by its name or its place (0 is the first, -1 the last); found by its name,
    /// or the last one, if not given.
    pub label: Option<String>,
    /// The columns of the classes, where any number of them is true of a row and each has a column of 0 and 1; in place of `label`.
    pub labels: Vec<String>,
    /// The character between the names of classes in the label, where any number of classes is true of a row of a table.
    pub label_separator: Option<char>,
    /// How the rows of a table are written, as far as that is given: `delimiter`, `decimal`, `thousands`, `encoding`, `header`,
    /// `skip_rows`, `quote` and `units`. The rest is found.
    pub written: FormatSpec,
    /// Whether the recipe is for training in batches alone. A large table of classes then has more hats and larger layers; it is
    /// said where that changes nothing.
    pub batch: bool,
    /// The recipe's file.
    pub out: PathBuf,
    /// Whether a file that is there may be replaced.
    pub force: bool,
}

impl Init {
    /// An option that only a table has.
    fn of_tables(&self) -> Option<&'static str> {
        let written = &self.written;
        let given = [
            ("--label", self.label.is_some()),
            ("--labels", !self.labels.is_empty()),
            ("--label-separator", self.label_separator.is_some()),
            ("--delimiter", written.delimiter.is_some()),
            ("--decimal", written.decimal.is_some()),
            ("--thousands", written.thousands.is_some()),
            ("--encoding", written.encoding.is_some()),
            ("--header", written.header.is_some()),
            ("--skip-rows", written.skip_rows.is_some()),
            ("--quote", written.quote.is_some()),
            ("--units", !written.units.is_empty()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(option, _)| option)
    }
}

/// A recipe that was written.
#[derive(Clone, Debug)]
pub struct Drafted {
    /// What was found, in sentences.
    pub found: Vec<String>,
    /// Commands to go on with.
    pub next: Vec<String>,
}

/// What one kind of data gives.
struct Draft {
    found: Vec<String>,
    /// The recipe below its first comment.
    body: String,
    next: Vec<String>,
    /// Why there is no other recipe for training in batches alone; none where it is one, or could be.
    one_for_both: Option<String>,
}

/// Why there is none of other data than tables.
fn no_table() -> Option<String> {
    Some("it is for tables, of which a stream needs smaller layers than batches do".to_owned())
}

/// `runs/NAME`, or with a number the first such folder that is not there.
fn free_run(name: &str) -> String {
    let mut numbered = (2..).map(|i| format!("runs/{name}-{i}"));
    let mut run = format!("runs/{name}");
    while Path::new(&run).exists() {
        run = numbered.next().unwrap_or_default();
    }
    run
}

/// Looks at the data and writes a recipe for it.
///
/// # Errors
/// If the data is of no known kind or cannot be read, if it has nothing to predict, or if the recipe's
/// file exists and may not be replaced.
pub fn init(wanted: &Init) -> Result<Drafted> {
    let out = &wanted.out;
    let is_out = |data: &&PathBuf| matches!((data.canonicalize(), out.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if let Some(data) = wanted.data.iter().find(is_out) {
        return Err(Error::Usage(format!(
            "{}: is the data that the recipe is for, which the recipe would replace; name another file with --out",
            data.display()
        )));
    }
    if out.exists() && !wanted.force {
        return Err(Error::Usage(format!(
            "{}: exists already; name another file with --out, or replace it with --force",
            out.display()
        )));
    }
    let data = wanted.data.iter().map(|path| Data::find(path, out)).collect::<Result<Vec<_>>>()?;
    let Some(first) = data.first() else {
        return Err(Error::Usage("name the data that the recipe is for".into()));
    };
    if let (Some(option), Kind::Images | Kind::Idx | Kind::Arrays | Kind::Texts) =
        (wanted.of_tables(), kind(&first.path))
    {
        let what = kind(&first.path).name();
        return Err(Error::Usage(format!("{option} is for tables, and {} is {what}", first.name)));
    }
    let draft = match kind(&first.path) {
        Kind::Idx => idx::draft(&data, out)?,
        Kind::Arrays => arrays::draft(&data, out)?,
        kind if data.len() > 1 => {
            let what = "only IDX and .npy files come in pairs; name one folder, archive or table";
            return Err(Error::Usage(format!("{}: is {}; {what}", first.name, kind.name())));
        }
        Kind::Images => images::draft(first, out)?,
        Kind::Texts => texts::draft(first, out)?,
        Kind::Tables => {
            let what = "is a folder of tables; name one of them";
            return Err(Error::Usage(format!("{}: {what}", first.name)));
        }
        Kind::Table => table::draft(first, wanted, out)?,
    };
    let mut found = draft.found;
    if let (true, Some(why)) = (wanted.batch, draft.one_for_both) {
        found.push(format!("--batch changes nothing here: {why}."));
    }
    let head = text::head(&found, &draft.next);
    let text = format!("{head}\n{}", draft.body);
    // What cannot be read back is a mistake of this module.
    RecipeFile::parse(&text, out, &[])?;
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
    }
    std::fs::write(out, text).map_err(|e| Error::write(out, e))?;
    Ok(Drafted { found, next: draft.next })
}

/// Where some data is, and what the recipe calls it.
#[derive(Clone, Debug)]
struct Data {
    path: PathBuf,
    name: String,
}

impl Data {
    /// The data at `given`, or there below `$TIDEMILL_DATA`, as recipes look it up.
    fn find(given: &Path, out: &Path) -> Result<Data> {
        let text = given.display().to_string();
        if given.exists() || is_shards(given) {
            let beside =
                out.parent().is_none_or(|p| p.as_os_str().is_empty() || p == Path::new("."));
            let name = match beside || given.is_absolute() {
                true => text,
                false => std::path::absolute(given)
                    .map_err(|e| Error::read(given, e))?
                    .display()
                    .to_string(),
            };
            return Ok(Data { path: given.to_owned(), name });
        }
        let root = std::env::var_os(DATA_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
        match root.map(|root| root.join(given)).filter(|path| path.exists() || is_shards(path)) {
            Some(path) => Ok(Data { path, name: text }),
            None => Err(Error::Usage(format!("{text}: there is no such file or folder"))),
        }
    }
}

/// The kinds of data that there are recipes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Images,
    Idx,
    Arrays,
    Texts,
    Table,
    Tables,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Images => "a folder or archive of images",
            Kind::Idx => "IDX data",
            Kind::Arrays => "arrays of NumPy",
            Kind::Texts => "a folder of texts",
            Kind::Table => "a table",
            Kind::Tables => "a folder of tables",
        }
    }
}

/// The kind of the data at a path, by names alone.
fn kind(path: &Path) -> Kind {
    if path.is_dir() {
        let files = some_files(path);
        let any = |is: &dyn Fn(&PathBuf) -> bool| files.iter().any(is);
        let table = |file: &PathBuf| Format::by_name(&file.to_string_lossy()).is_some();
        return match () {
            () if any(&|file| idx::is_idx(file)) => Kind::Idx,
            () if any(&|file| images::is_image(file)) || files.is_empty() => Kind::Images,
            () if any(&table) => Kind::Tables,
            () => Kind::Texts,
        };
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match () {
        () if idx::is_idx(path) => Kind::Idx,
        () if arrays::is_numpy(path) => Kind::Arrays,
        () if [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end)) => Kind::Images,
        () => Kind::Table,
    }
}

/// A few files below a folder: of a tree, those of one branch. Files beside folders are notes about
/// them.
fn some_files(folder: &Path) -> Vec<PathBuf> {
    const ENOUGH: usize = 50;
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    entries.retain(|e| !e.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')));
    entries.sort();
    let (mut files, folders): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.is_file());
    let mut inside = folders.iter().map(|folder| some_files(folder));
    if let Some(inside) = inside.find(|files| !files.is_empty()) {
        return inside;
    }
    files.truncate(ENOUGH);
    files
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
