//! One file for each command: its arguments, and what it prints.

mod access;
pub(crate) mod advise;
mod beam;
pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod connected_digits;
pub(crate) mod data;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod find_rate;
mod folds;
pub(crate) mod importance;
pub(crate) mod init;
pub(crate) mod learn;
pub(crate) mod manual;
pub(crate) mod predict;
pub(crate) mod prove;
pub(crate) mod quickstart;
mod quickstart_speech;
mod quickstart_text;
pub(crate) mod runs;
pub(crate) mod search;
pub(crate) mod train;
mod transcribe;
pub(crate) mod work;
