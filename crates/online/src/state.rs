//! All of a stream's state in a checkpoint, beside the tensors.

use serde::{Deserialize, Serialize};
use tidemill_recipe::stream::{Content, Format, Position};

use super::continual::saved::CONTINUAL;
use super::drift::DriftState;
use super::drift::challenger::take_challenger;
use super::feed::Recent;
use super::guard::Guard;
use super::input::Counts;
use super::journal::JournalMark;
use super::linear::LinearSums;
use super::tuning::InputLength;
use tidemill_engine::checkpoint::{Attachment, Meta};
use tidemill_engine::data::Known;
use tidemill_engine::engine::{State, StateTensor};
use tidemill_engine::error::Result;
use tidemill_engine::prequential::Prequential;

/// What a checkpoint knows of the stream that was being learned from. Together with the tensors it
/// is one state: what follows is a function of it and of the records after `position`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamState {
    /// The address of the source.
    pub source: String,
    /// Where the last event learned from ends.
    pub position: Position,
    /// How records are written; none for a replayed dataset.
    pub format: Option<Format>,
    /// What was learned of columns and labels, in checkpoints of versions that kept it here.
    #[serde(default, skip_serializing)]
    pub known: Option<Known>,
    /// What a linear model has beside its tensors.
    #[serde(default)]
    pub linear: Option<LinearSums>,
    /// The figures so far.
    pub prequential: Prequential,
    /// The guard.
    pub guard: Guard,
    /// What sets the learning rate.
    #[serde(default)]
    pub input_length: Option<InputLength>,
    /// The watch for drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftState>,
    /// What came.
    pub counts: Counts,
    /// Where `dead-letter.jsonl` stands.
    pub dead_letters: JournalMark,
    /// Where the file of predictions stands.
    #[serde(default)]
    pub predictions: JournalMark,
    /// Which of the last records were set aside.
    #[serde(default)]
    pub recent: Recent,
    /// What the files of the stream have held up to the position; none where it has no files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Where `audit.jsonl` stands.
    pub audit: JournalMark,
    /// Where `batches.jsonl` stands.
    pub batches: JournalMark,
    /// Seconds of learning.
    pub wall_seconds: f64,
}

impl StreamState {
    /// What a checkpoint knows of a stream, if it does.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn of(meta: &Meta) -> Result<Option<StreamState>> {
        meta.stream.as_ref().map(Attachment::read).transpose()
    }
}

/// The state to roll back to is stored beside the state itself, under these names.
const GOOD: &str = "good/";

/// Marks a state as the one to roll back to.
pub fn mark_good(state: State) -> State {
    let mark = |t: StateTensor| StateTensor { name: format!("{GOOD}{}", t.name), ..t };
    State::from_tensors(state.into_tensors().into_iter().map(mark).collect())
}

/// The state that was marked.
pub fn unmark_good(state: &State) -> State {
    let unmark = |t: &StateTensor| StateTensor {
        name: t.name.strip_prefix(GOOD).unwrap_or(&t.name).to_owned(),
        ..t.clone()
    };
    State::from_tensors(state.tensors().iter().map(unmark).collect())
}

/// The tensors of a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Split {
    /// Those of the state.
    pub own: Vec<StateTensor>,
    /// Those of replay, anchors and plasticity.
    pub continual: Vec<StateTensor>,
    /// The marked ones to roll back to, of both kinds.
    pub good: Option<State>,
}

/// Tells the tensors of a checkpoint apart; what waits for labels and what
/// belongs to a challenger is none of them.
pub fn split(mut tensors: Vec<StateTensor>) -> Split {
    take_challenger(&mut tensors);
    let (good, rest): (Vec<_>, Vec<_>) = tensors
        .into_iter()
        .filter(|t| t.name != super::join::TENSOR)
        .partition(|t| t.name.starts_with(GOOD));
    let (continual, own) = rest.into_iter().partition(|t| t.name.starts_with(CONTINUAL));
    Split { own, continual, good: (!good.is_empty()).then(|| State::from_tensors(good)) }
}
