//! The workers of a run: threads of this process, each with a model of its own, or other processes.
//!
//! Worker 0 is the run: it opens the folder, measures, writes checkpoints. The others ([`work`]) need
//! the data and nothing else: worker 0 sends them what they run.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill_engine::Engine;
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::data::{Known, Shards, digest};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::Existing;
use tidemill_engine::group::{Group, Kind, Local, Message, end_all, ended, report_lost};
use tidemill_engine::nn::Part;
use tidemill_engine::page::number::{bytes, plural};
use tidemill_engine::parallel::{Follower, Workers};
use tidemill_recipe::data::RunData;
use tidemill_recipe::{DataPaths, OptimizerState, RecipeFile};

use crate::batch::Event;
use crate::open::{Start, open};
use crate::reading::{Reading, loader};
use crate::run::{RunOptions, empty_meter};

/// Who computes the shards of a run's batches.
#[derive(Clone, Debug, Default)]
pub enum WorkerGroup {
    /// This thread alone.
    #[default]
    One,
    /// So many threads, each with a copy of the model.
    Local(usize),
    /// This process and others that join it.
    Joined(Joined),
    /// This process, as worker 0 of a group that is there.
    Given(Given),
    /// Another process, of whose group this one is a worker.
    Other(Part),
}

/// A group that is there, until a run takes it.
#[derive(Clone)]
pub struct Given {
    size: usize,
    group: Arc<Mutex<Kept>>,
}

/// A group that no run has taken yet. If none does, since it cannot start, the others get [`Kind::End`].
struct Kept(Option<Box<dyn Group>>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(group) = &mut self.0 {
            end_all(group.as_mut(), "it cannot start the run");
        }
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Given({})", self.size)
    }
}

impl Given {
    /// Of a group in which this process is worker 0.
    pub fn new(group: Box<dyn Group>) -> Given {
        Given { size: group.size(), group: Arc::new(Mutex::new(Kept(Some(group)))) }
    }
}

/// Processes that train one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Where this process listens for the others, such as `0.0.0.0:7000`.
    pub listen: String,
    /// The number of all processes.
    pub size: usize,
    /// How long the others are waited for.
    pub patience: Duration,
}

impl WorkerGroup {
    /// The number of workers.
    pub fn size(&self) -> usize {
        match self {
            WorkerGroup::One => 1,
            WorkerGroup::Local(size) => (*size).max(1),
            WorkerGroup::Joined(joined) => joined.size.max(1),
            WorkerGroup::Given(given) => given.size.max(1),
            WorkerGroup::Other(part) => part.of,
        }
    }

    /// Which of the workers this process is; of threads, the first one.
    pub(crate) fn part(&self) -> Part {
        match self {
            WorkerGroup::Other(part) => *part,
            _ => Part { number: 0, of: self.size() },
        }
    }

    /// The workers that share this process's threads.
    pub(crate) fn local_size(&self) -> usize {
        match self {
            WorkerGroup::Local(size) => (*size).max(1),
            _ => 1,
        }
    }

    /// Fails where a recipe's batches cannot be shared by so many.
    pub(crate) fn check(&self, file: &RecipeFile) -> Result<()> {
        let (size, shards) = (self.size(), file.recipe.training.shards);
        if size <= shards {
            return Ok(());
        }
        let what = format!(
            "= {shards} is less than the {size} workers: each needs a shard of a batch or more. Set it to {size} or \
             more (8 is good for up to 8 workers); the result depends on it, and not on the number of workers"
        );
        Err(file.error_at("training.shards", &what))
    }

    /// Listens for other processes, so that they can come while the data are opened.
    pub(crate) fn listen(&self) -> Result<Option<TcpListener>> {
        let WorkerGroup::Joined(Joined { listen, .. }) = self else { return Ok(None) };
        let listener = TcpListener::bind(listen.as_str());
        listener.map(Some).map_err(|e| Error::Usage(format!("nothing can listen at {listen}: {e}")))
    }

    /// Starts the workers beside this one, which is to be their number 0. `engine` is as the run starts.
    pub(crate) fn start(
        &self,
        listener: Option<TcpListener>,
        run: Leader<'_>,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Workers>> {
        if run.engine.part().is_some() {
            let [own, others] = run.engine.slot_bytes().map(bytes);
            watch(Event::Notice(&format!(
                "training.optimizer_state: {own} of the optimizer's slots are kept by this worker, {others} by the others"
            )));
        } else if run.file.recipe.training.optimizer_state == OptimizerState::Sharded {
            watch(Event::Notice(
                "training.optimizer_state has no effect with one worker, which keeps all of it",
            ));
        }
        match (self, listener) {
            (WorkerGroup::Local(size), _) if *size > 1 => {
                let threads = plural(run.engine.threads() as u64, "thread");
                watch(Event::Notice(&format!(
                    "{size} workers share each batch, with {threads} each"
                )));
                run.threads(*size).map(Some)
            }
            (WorkerGroup::Joined(joined), Some(listener)) => {
                let mut tell = |text: &str| watch(Event::Notice(text));
                let at = listener.local_addr().map_or(joined.listen.clone(), |at| at.to_string());
                let others = plural(joined.size as u64 - 1, "other worker");
                tell(&format!("waiting for {others} at {at}"));
                let (size, patience) = (joined.size, joined.patience);
                let group =
                    tidemill_dist::lead(&listener, size, patience, run.interrupt, &mut tell)?;
                run.processes(Box::new(group), watch).map(Some)
            }
            (WorkerGroup::Given(given), _) => {
                let mut kept = given.group.lock().unwrap_or_else(PoisonError::into_inner);
                let taken = || Error::Run("the group of workers has been taken".into());
                let group = kept.0.take().ok_or_else(taken)?;
                match group.size() {
                    1 => Ok(None),
                    _ => run.processes(group, watch).map(Some),
                }
            }
            _ => Ok(None),
        }
    }
}

/// A run that other workers are to take part in.
pub(crate) struct Leader<'a> {
    file: &'a RecipeFile,
    data: &'a RunData,
    engine: &'a Engine,
    reading: Reading,
    interrupt: &'a AtomicBool,
}

impl<'a> Leader<'a> {
    /// A run of this recipe that begins with `engine` as it is.
    pub(crate) fn new(
        file: &'a RecipeFile,
        data: &'a RunData,
        engine: &'a Engine,
        reading: Reading,
        interrupt: &'a AtomicBool,
    ) -> Leader<'a> {
        Leader { file, data, engine, reading, interrupt }
    }

    fn threads(&self, size: usize) -> Result<Workers> {
        let shards = self.engine.shards();
        let mut groups = Local::group(size).into_iter();
        let leader = groups.next();
        for (number, group) in (1..).zip(groups) {
            let (file, data, reading) = (self.file.clone(), self.data.clone(), self.reading);
            let mut engine = match self.engine.part() {
                None => self.engine.clone(),
                Some(part) => self.engine.with_part(Part { number, ..part })?,
            };
            let workers = Workers::new(Box::new(group), shards)?;
            let meter = empty_meter(&file, &engine, &data);
            let follow = move || {
                let remake = |shards: Shards, at: u64| loader(&file, &data, at, &reading, shards);
                // An error is sent to worker 0, which ends the run with it.
                drop(Follower::new(&mut engine, &remake, meter, workers).run());
            };
            let thread = std::thread::Builder::new().name("worker".into()).spawn(follow);
            thread.map_err(|e| Error::Run(format!("no thread can be started: {e}")))?;
        }
        let leader = leader.ok_or_else(|| Error::Run("there is no worker 0".into()))?;
        Workers::new(Box::new(leader), shards)
    }

    fn processes(
        &self,
        mut group: Box<dyn Group>,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<Workers> {
        let size = group.size();
        let setup = serde_json::to_string(&self.setup()).map_err(|e| Error::Run(e.to_string()))?;
        for other in 1..size {
            group.send(other, Message::new(Kind::Hello, 0).text(setup.as_str()))?;
        }
        let mut lost: Vec<usize> = Vec::new();
        for other in 1..size {
            while !lost.contains(&other) {
                match group.receive(other) {
                    Ok(message) if message.kind == Kind::Hello => break,
                    Ok(message) => {
                        let error = ended(group.as_ref(), other, &message.text);
                        end_all(group.as_mut(), &error.to_string());
                        return Err(error);
                    }
                    Err(e) => {
                        let more = group.lost();
                        if more.is_empty() {
                            return Err(e);
                        }
                        lost.extend(more);
                        watch(Event::Notice(&format!("{e}: the run begins without it")));
                    }
                }
            }
        }
        let mut workers = Workers::new(group, self.engine.shards())?;
        match lost.is_empty() {
            true => workers.share_state(self.engine)?,
            false => workers.leave_out(&lost, self.engine)?,
        }
        Ok(workers)
    }

    fn setup(&self) -> Setup {
        Setup {
            recipe: self.file.to_toml(),
            known: self.data.train.known().cloned(),
            tokenizer: self.file.tokenizer().map(|tokenizer| tokenizer.to_json()),
            same: Same::of(self.file, self.data, self.engine),
        }
    }
}

/// What worker 0 tells the others of the run.
#[derive(Serialize, Deserialize)]
struct Setup {
    /// With the data's places on worker 0's machine.
    recipe: String,
    known: Option<Known>,
    tokenizer: Option<String>,
    same: Same,
}

/// What has to be the same for all workers of a run.
#[derive(Serialize, Deserialize)]
struct Same {
    recipe: String,
    options: String,
    data: u64,
    /// Kernels for other instructions round differently.
    instructions: String,
}

impl Same {
    fn of(file: &RecipeFile, data: &RunData, engine: &Engine) -> Same {
        Same {
            recipe: file.sha256(),
            options: file.data_options_sha256(),
            data: digest(data.train.as_ref()),
            instructions: engine.instructions().to_owned(),
        }
    }
}

/// How a process takes part in another one's run.
pub struct WorkOptions<'a> {
    /// Where worker 0 listens.
    pub address: &'a str,
    /// The number that this one has to have, and how many there are.
    pub place: Option<[usize; 2]>,
    /// Its own copy of the recipe, whose data it reads; the places of worker 0 where it has none.
    pub file: Option<RecipeFile>,
    /// How long worker 0 is looked for.
    pub patience: Duration,
    /// Threads of a step; all cores by default.
    pub threads: Option<usize>,
    /// Set to true to end it.
    pub interrupt: Arc<AtomicBool>,
}

/// Computes shards for another process's run until that ends.
///
/// # Errors
/// If nobody leads a run there, if this process has other data, another recipe or other instructions, and if the run
/// ends with an error.
pub fn work(options: WorkOptions<'_>, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let WorkOptions { address, place, file, patience, threads, interrupt } = options;
    let group = tidemill_dist::join(address, place, patience, &interrupt, tell)?;
    take_part(Box::new(group), file, threads)
}

/// Computes shards for the run of worker 0 of a group until that ends. `file` is this process's own copy of the recipe, whose data it
/// reads; the places of worker 0 where it has none.
///
/// # Errors
/// As [`work`].
pub fn take_part(
    mut group: Box<dyn Group>,
    file: Option<RecipeFile>,
    threads: Option<usize>,
) -> Result<()> {
    let hello = loop {
        match group.receive(0) {
            Ok(hello) => break hello,
            Err(e) => report_lost(group.as_mut(), e)?,
        }
    };
    if hello.kind != Kind::Hello {
        return Err(ended(group.as_ref(), 0, &hello.text));
    }
    let part = Part { number: group.rank(), of: group.size() };
    let prepared = prepare(&hello.text, file, threads, part);
    let (file, start) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => {
            group.send(0, Message::new(Kind::End, 0).text(e.to_string()))?;
            return Err(e);
        }
    };
    let Start { data, mut engine, reading, .. } = start;
    group.send(0, Message::new(Kind::Hello, 0))?;
    let workers = Workers::new(group, engine.shards())?;
    let meter = empty_meter(&file, &engine, &data);
    let remake = |shards: Shards, at: u64| loader(&file, &data, at, &reading, shards);
    Follower::new(&mut engine, &remake, meter, workers).run()
}

/// The recipe, and the model with its data, as worker 0 has them.
fn prepare(
    setup: &str,
    own: Option<RecipeFile>,
    threads: Option<usize>,
    part: Part,
) -> Result<(RecipeFile, Start)> {
    let Setup { recipe, known, tokenizer, same } = serde_json::from_str(setup)
        .map_err(|e| Error::Run(format!("what worker 0 runs cannot be read: {e}")))?;
    let mut file = match own {
        Some(file) => file,
        None => RecipeFile::parse(&recipe, Path::new("the recipe of worker 0"), &[])?,
    };
    let tokenizer = tokenizer.map(|json| Tokenizer::from_json(&json));
    if let Some(tokenizer) = tokenizer.transpose().map_err(|e| Error::Run(e.to_string()))? {
        file.set_tokenizer(Arc::new(tokenizer))?;
    }
    let options = RunOptions {
        out: Path::new("").to_owned(),
        existing: Existing::Refuse,
        threads,
        memory: None,
        from: None,
        workers: WorkerGroup::Other(part),
        pause_after: None,
        interrupt: Arc::default(),
    };
    let paths = DataPaths::new(&file.path);
    let start = open(&mut file, &paths, known.as_ref(), &options, &mut |_| {})?;
    let other = |what: &str| Err(Error::Run(format!("its {what} than that of worker 0")));
    let here = Same::of(&file, &start.data, &start.engine);
    if (&here.recipe, &here.options) != (&same.recipe, &same.options) {
        return other("recipe is another one");
    }
    if here.data != same.data {
        return other("training data is other data");
    }
    let (here, there) = (here.instructions, same.instructions);
    if here != there {
        return Err(Error::Run(format!(
            "its processor computes with {here} and that of worker 0 with {there}, which rounds \
             differently: set TIDEMILL_ISA to one that all have"
        )));
    }
    Ok((file, start))
}
