//! Learning from corrections of generated texts: a text or a sound comes, what the model makes of it is given back, and what a person
//! makes of that is learned from, whenever it comes.
//!
//! # What happens to a record
//!
//! - Of a text (`{id, source}`) or a sound (`{id, audio}`) the model writes a text, and the hypothesis waits for its correction under its
//!   id.
//! - A correction (`{id, correction}`) is joined with its text by the rules of [`crate::join`], each exactly once. A record
//!   with both is joined at once.
//! - A joined correction is *scored*: its hypothesis is compared with it. Then it is *learned*, in one step with pairs of the training
//!   data and earlier corrections, unless it is garbage: that waits in `quarantine.jsonl` until a record `{release: number}` comes.
//! - Slow weights, a running mean of the fast ones, stand beside them; a test on the losses of the corrections decides
//!   which of both make the texts.
//!
//! What follows is a function of the checkpoint and of the records after it: nothing depends on when a record comes, on the
//! number of threads, or on when a checkpoint was written.
//!
//! # Layout
//!
//! - `record`: what a record says; `source`: a text or a sound; `sounds`: sounds decoded; `pair`: what is learned from as values
//! - `learner`: the two sets of weights, and the step; `kept`: earlier corrections; `stored`: the training data, and what is usual in it
//! - `rejected`: what of the training data corrections contradict; `quarantine`: what is garbage; `figures`: how good hypotheses were
//! - `driver`: the loop over the records; `take`: what becomes of one; `state`: all of it in a checkpoint
//! - `run`: from the recipe to the summary; `page`: the report

mod driver;
mod figures;
mod kept;
mod learner;
mod page;
mod pair;
mod quarantine;
mod record;
mod rejected;
mod run;
mod sounds;
mod source;
mod state;
mod stored;
mod take;

pub(crate) use run::{fits, learn};
