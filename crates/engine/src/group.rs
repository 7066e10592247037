//! The workers of a run, and what they say to each other.
//!
//! A [`Group`] only passes messages between two of its workers; how sums are made of them is in
//! [`crate::parallel`]. [`Local`] is a group of threads.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::error::{Error, Result};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// What a worker runs: its version, recipe, data, instructions. Text.
    Hello = 1,
    /// The whole state. Number: the age of the optimizer's slots.
    State,
    /// A step begins. Number: the position of its batch; value: the learning rate.
    Step,
    /// The sums of a worker's shards, as far as they concern the receiver. Number: the generation. Text to worker 0:
    /// what was measured of each shard.
    Sums,
    /// A part of the sum of all shards. Number: the generation.
    Sum,
    /// From worker 0: the run continues with fewer workers. Number: the generation that begins; values: their numbers.
    /// To worker 0: another worker is lost. Number: which.
    Regroup,
    /// The run is over. Text: why, where that is an error.
    End,
    /// From worker 0, where each worker keeps a part of the optimizer's slots: the others send theirs.
    Gather,
    /// Slots of the worker that sends them.
    Slots,
    /// New values of the parameters that the worker which sends them updates. Number: the generation.
    Weights,
}

impl Kind {
    /// The kind of this number.
    pub fn of(number: u8) -> Option<Kind> {
        use Kind::{End, Gather, Hello, Regroup, Slots, State, Step, Sum, Sums, Weights};
        let all = [Hello, State, Step, Sums, Sum, Regroup, End, Gather, Slots, Weights];
        all.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// What one worker sends to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is about.
    pub kind: Kind,
    /// The training step to which it belongs.
    pub step: u64,
    /// See [`Kind`].
    pub number: u64,
    /// See [`Kind`].
    pub values: Vec<f32>,
    /// See [`Kind`].
    pub text: String,
}

impl Message {
    /// A message with nothing but its kind.
    pub fn new(kind: Kind, step: u64) -> Message {
        Message { kind, step, number: 0, values: Vec::new(), text: String::new() }
    }

    /// The same with values.
    pub fn values(self, values: Vec<f32>) -> Message {
        Message { values, ..self }
    }

    /// The same with a number.
    pub fn number(self, number: u64) -> Message {
        Message { number, ..self }
    }

    /// The same with a text.
    pub fn text(self, text: impl Into<String>) -> Message {
        Message { text: text.into(), ..self }
    }
}

/// Workers that train one model together. Worker 0 leads: it decides what is done, measures, and writes
/// the run's folder.
pub trait Group: Send {
    /// This worker's number, from 0.
    fn rank(&self) -> usize;

    /// The number of workers.
    fn size(&self) -> usize;

    /// Hands a message over; returns before it is received. That the other worker is gone is an error of
    /// [`Group::receive`].
    ///
    /// # Errors
    /// If nothing can be sent at all.
    fn send(&mut self, to: usize, message: Message) -> Result<()>;

    /// The next message from a worker, in the order in which it sent them.
    ///
    /// # Errors
    /// If any worker is lost, reported once for each: it is gone, or has not been heard of for longer than the group
    /// allows.
    fn receive(&mut self, from: usize) -> Result<Message>;

    /// Waits until all that was sent is on its way without this worker's help.
    ///
    /// # Errors
    /// If something cannot be sent.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// The workers that were lost since this was asked last; this worker itself where worker 0 begins a new
    /// generation while another one's message was waited for.
    fn lost(&mut self) -> Vec<usize> {
        Vec::new()
    }

    /// Keeps a message for the next [`Group::receive`], since it belongs to a generation of which this worker has not
    /// heard yet: [`Group::lost`] has this worker itself then.
    fn put_back(&mut self, _from: usize, _message: Message) {}

    /// Removes a worker from the group; its loss is not reported.
    fn leave_out(&mut self, _rank: usize) {}

    /// A worker, for people.
    fn name(&self, rank: usize) -> String {
        format!("worker {rank}")
    }
}

/// The next message from a worker, which has to be of a kind and of a step. Messages of earlier generations
/// are passed over.
///
/// # Errors
/// As [`Group::receive`], for another message, and if the other worker has ended with an error.
pub fn expect(
    group: &mut dyn Group,
    from: usize,
    kind: Kind,
    [step, generation]: [u64; 2],
) -> Result<Message> {
    loop {
        let message = group.receive(from)?;
        let in_step = matches!(message.kind, Kind::Sums | Kind::Sum | Kind::Weights);
        if in_step && message.number < generation {
            continue;
        }
        // Worker 0 has begun a new generation, or another one knows already that it has; or it ends with what was learned before
        // this step.
        let begins = matches!(message.kind, Kind::Regroup | Kind::Gather);
        if begins || in_step && message.number > generation {
            group.put_back(from, message);
            return Err(Error::Run("worker 0 begins the step again".into()));
        }
        if message.kind == Kind::End {
            return Err(ended(group, from, &message.text));
        }
        if message.kind == kind && message.step == step {
            return Ok(message);
        }
        return Err(Error::Run(format!(
            "{} sent {:?} of step {}, and {kind:?} of step {step} was expected; do all workers run the \
             same version?",
            group.name(from),
            message.kind,
            message.step,
        )));
    }
}

/// After an error of a worker that follows: tells worker 0 which others are lost, if that is the reason, so that it
/// continues the run without them.
///
/// # Errors
/// The error itself where it has another reason, or worker 0 is lost.
pub fn report_lost(group: &mut dyn Group, error: Error) -> Result<()> {
    let (lost, rank) = (group.lost(), group.rank());
    if lost.contains(&0) {
        return Err(Error::Run(format!(
            "{error}. It leads the run, which has ended with it; `tidemill train --resume` continues from its last \
             checkpoint"
        )));
    }
    if lost.is_empty() {
        return Err(error);
    }
    for other in lost.into_iter().filter(|&other| other != rank) {
        group.send(0, Message::new(Kind::Regroup, 0).number(other as u64))?;
    }
    Ok(())
}

/// Tells all other workers that this one ends, and why where that is an error.
pub fn end_all(group: &mut dyn Group, why: &str) {
    let rank = group.rank();
    for other in (0..group.size()).filter(|&other| other != rank) {
        // One that is gone does not need the message.
        drop(group.send(other, Message::new(Kind::End, 0).text(why)));
    }
}

/// The error where another worker has ended.
pub fn ended(group: &dyn Group, from: usize, why: &str) -> Error {
    let name = group.name(from);
    match why {
        "" => Error::Run(format!("{name} has ended")),
        why => Error::Run(format!("{name} has ended: {why}")),
    }
}

/// Workers that are threads of one process.
pub struct Local {
    rank: usize,
    to: Vec<Sender<Message>>,
    from: Vec<Receiver<Message>>,
    /// Who sent it, and whether [`Group::lost`] has been asked since.
    kept: Option<(usize, Message)>,
    interrupted: bool,
}

/// How long a thread may compute before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(3600);

impl Local {
    /// A group of `size` workers, one value for each.
    pub fn group(size: usize) -> Vec<Local> {
        let mut senders: Vec<Vec<Sender<Message>>> = (0..size).map(|_| Vec::new()).collect();
        let mut receivers: Vec<Vec<Receiver<Message>>> = (0..size).map(|_| Vec::new()).collect();
        for senders in &mut senders {
            for receivers in &mut receivers {
                let (sender, receiver) = channel();
                senders.push(sender);
                receivers.push(receiver);
            }
        }
        let ends = senders.into_iter().zip(receivers).enumerate();
        let local = |(rank, (to, from))| Local { rank, to, from, kept: None, interrupted: false };
        ends.map(local).collect()
    }
}

impl Group for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn send(&mut self, to: usize, message: Message) -> Result<()> {
        // One that is gone may have said why, which is found out when its next message is asked for.
        drop(self.to[to].send(message));
        Ok(())
    }

    fn put_back(&mut self, from: usize, message: Message) {
        self.kept = Some((from, message));
        self.interrupted = true;
    }

    fn lost(&mut self) -> Vec<usize> {
        match std::mem::take(&mut self.interrupted) {
            true => vec![self.rank],
            false => Vec::new(),
        }
    }

    fn receive(&mut self, from: usize) -> Result<Message> {
        if let Some((_, message)) = self.kept.take_if(|(sender, _)| *sender == from) {
            return Ok(message);
        }
        self.from[from].recv_timeout(PATIENCE).map_err(|e| match e {
            RecvTimeoutError::Disconnected => ended(self, from, ""),
            RecvTimeoutError::Timeout => Error::Run(format!("{} is stuck", self.name(from))),
        })
    }
}
