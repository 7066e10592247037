//! Beam search: what a model that writes one sequence for another finds most probable.
//!
//! A step asks the model what comes after each of the hypotheses of all sentences. They are rows of one batch, whose number is the
//! beam times a power of two, so that few plans are compiled. Where the model's layers allow it, keys and values of earlier tokens
//! are kept between the steps ([`Engine::start_texts`]); else the whole texts are computed each time.

use std::sync::Arc;

use crate::engine::{Continued, Decoding, Engine, EngineError};
use crate::error::{Error, Result};
use tidemill_fields::truth::{BLOCK, none_above};
use tidemill_fields::{Batch, Signature};

/// How hypotheses of different lengths are compared: their log-probability is divided by this.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LengthPenalty {
    /// 1: short texts win.
    None,
    /// `length^alpha`, as fairseq (`--lenpen`) and Marian (`--normalize`).
    Power(f64),
    /// `((5 + length) / 6)^alpha` (Wu et al. 2016, GNMT).
    Gnmt(f64),
}

impl LengthPenalty {
    /// Reads `none`, `power=1.0`, `gnmt=0.6`.
    ///
    /// # Errors
    /// Names what it cannot read.
    pub fn parse(text: &str) -> Result<LengthPenalty> {
        let wrong = || {
            let what = "expected none, power=NUMBER or gnmt=NUMBER";
            Error::Usage(format!("--length-penalty {text}: {what}"))
        };
        let number = |value: &str| {
            let number: Option<f64> = value.parse().ok();
            number.filter(|n| n.is_finite() && *n >= 0.0).ok_or_else(wrong)
        };
        match text.split_once('=') {
            None if text == "none" => Ok(LengthPenalty::None),
            Some(("power", alpha)) => Ok(LengthPenalty::Power(number(alpha)?)),
            Some(("gnmt", alpha)) => Ok(LengthPenalty::Gnmt(number(alpha)?)),
            _ => Err(wrong()),
        }
    }

    /// The score of a hypothesis of so many tokens, its end included.
    fn score(self, log_probability: f64, length: usize) -> f64 {
        match self {
            LengthPenalty::None => log_probability,
            LengthPenalty::Power(alpha) => log_probability / (length as f64).powf(alpha),
            LengthPenalty::Gnmt(alpha) => {
                log_probability / ((5.0 + length as f64) / 6.0).powf(alpha)
            }
        }
    }
}

/// How a text is searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct Beam {
    /// Hypotheses that are kept; 1 takes the most probable token each time.
    pub width: usize,
    /// How texts of different lengths are compared.
    pub penalty: LengthPenalty,
    /// So many tokens in a row come once in a text at most (Paulus et al. 2018), as `no_repeat_ngram_size` of CTranslate2; 0: they
    /// may come again.
    pub no_repeat: usize,
}

impl Default for Beam {
    fn default() -> Beam {
        Beam { width: 5, penalty: LengthPenalty::Power(1.0), no_repeat: 0 }
    }
}

/// One sentence being worked on.
struct Sentence {
    source: Vec<i32>,
    /// The beginnings; the best first.
    alive: Vec<Alive>,
    /// Whole texts with their scores.
    ended: Vec<(Vec<i32>, f64)>,
    /// The most tokens that are written.
    most: usize,
}

/// The beginning of a text.
#[derive(Clone, Debug)]
struct Alive {
    ids: Vec<i32>,
    /// Its log-probability.
    log: f64,
    /// Which of the beginnings before it continues.
    from: usize,
}

/// What a search is about.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// How each text begins, with the token that begins texts; at least one token, fewer than the model writes.
    pub start: &'a [i32],
    /// The token that ends a text.
    pub end: i32,
    /// How many hypotheses are kept, and how they are compared.
    pub beam: &'a Beam,
}

/// A whole text that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its tokens from the start on, without the end.
    pub ids: Vec<i32>,
    /// Its log-probability under the length penalty.
    pub score: f64,
}

impl Engine {
    /// The texts that the model makes of `sources`, for each the best first: as many as the beam is wide, or fewer. One source
    /// or several at once; what is found of one does not depend on the others. The weights are those of now: nothing
    /// that depends on them is kept, also not in `decoding`, which is memory to be used again.
    ///
    /// # Errors
    /// If the model's inputs are not the tokens of two sequences, and for ids and texts that it cannot take.
    pub fn search(
        &mut self,
        decoding: &mut Decoding,
        sources: &[&[i32]],
        search: &Search<'_>,
    ) -> Result<Vec<Vec<Found>>> {
        let times: Vec<usize> =
            self.signature().inputs().iter().filter_map(|field| field.time()).collect();
        let &[_, longest] = times.as_slice() else {
            return Err(EngineError("the model makes no texts of other texts".into()).into());
        };
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let sentence = |source: &&[i32]| Sentence {
            // As long as twice the source and some more: a model that knows little never ends.
            most: (2 * source.len() + 10).max(search.start.len() + 1).min(longest),
            source: source.to_vec(),
            alive: vec![Alive { ids: search.start.to_vec(), log: 0.0, from: 0 }],
            ended: Vec::new(),
        };
        let mut sentences: Vec<Sentence> = sources.iter().map(sentence).collect();
        match self.decodes() {
            true => by_steps(self, decoding, &mut sentences, search)?,
            false => by_whole_texts(self, &mut sentences, search)?,
        }
        Ok(sentences.into_iter().map(Sentence::found).collect())
    }
}

/// Searches all sentences at once until each has as many whole texts as the beam is wide, or may not get longer.
fn by_steps(
    engine: &mut Engine,
    decoding: &mut Decoding,
    sentences: &mut [Sentence],
    &Search { beam, end, .. }: &Search<'_>,
) -> Result<()> {
    let inputs = engine.signature().inputs().to_vec();
    let mut batch = Batch::new(Arc::new(Signature::new(inputs, None)));
    batch.resize(sentences.len().next_power_of_two());
    for (i, sentence) in sentences.iter().enumerate() {
        fill(&mut batch, i, &sentence.source, &sentence.alive[0].ids)?;
    }
    batch.pad();
    let mut open: Vec<&mut Sentence> = sentences.iter_mut().collect();
    let mut next = engine.start_texts(decoding, &batch, open.len(), beam.width)?;
    loop {
        let mut continued = Vec::with_capacity(open.len());
        let mut still = Vec::with_capacity(open.len());
        for (place, sentence) in open.into_iter().enumerate() {
            let rows: Vec<&[f32]> =
                (0..sentence.alive.len()).map(|row| next.row(place, row)).collect();
            sentence.advance(&rows, beam, end);
            if !sentence.alive.is_empty() {
                let last = |text: &Alive| (text.from, text.ids[text.ids.len() - 1]);
                let rows = sentence.alive.iter().map(last).collect();
                continued.push(Continued { sample: place, rows });
                still.push(sentence);
            }
        }
        if still.is_empty() {
            return Ok(());
        }
        open = still;
        next = engine.continue_texts(decoding, &continued)?;
    }
}

/// The same, of a model that is asked of whole texts.
fn by_whole_texts(
    engine: &mut Engine,
    sentences: &mut [Sentence],
    &Search { beam, end, .. }: &Search<'_>,
) -> Result<()> {
    let inputs = engine.signature().inputs().to_vec();
    let mut batch = Batch::new(Arc::new(Signature::new(inputs, None)));
    loop {
        let mut open: Vec<&mut Sentence> =
            sentences.iter_mut().filter(|sentence| !sentence.alive.is_empty()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let rows = open.len().next_power_of_two() * beam.width;
        batch.truncate(0);
        batch.resize(rows);
        let hypotheses =
            open.iter().flat_map(|s| s.alive.iter().map(|text| (&s.source, &text.ids)));
        for (i, (source, target)) in hypotheses.enumerate() {
            fill(&mut batch, i, source, target)?;
        }
        batch.pad();
        let log = engine.next(&batch)?;
        let tokens = log.len() / rows.max(1);
        let mut rest = log.chunks(tokens.max(1));
        for sentence in &mut open {
            let rows: Vec<&[f32]> = rest.by_ref().take(sentence.alive.len()).collect();
            sentence.advance(&rows, beam, end);
        }
    }
}

/// Row `i` of a batch: a source and the beginning of its target.
fn fill(batch: &mut Batch, i: usize, source: &[i32], target: &[i32]) -> Result<()> {
    let wrong = |e: tidemill_fields::FieldError| Error::Run(e.to_string());
    let mut row = batch.row_mut(i);
    row.set_ids(0, source).map_err(wrong)?;
    row.set_ids(1, target).map_err(wrong)?;
    row.set_weight(1.0);
    Ok(())
}

impl Sentence {
    /// Its whole texts, the best first.
    fn found(mut self) -> Vec<Found> {
        self.ended.sort_by(|a, b| b.1.total_cmp(&a.1));
        self.ended.into_iter().map(|(ids, score)| Found { ids, score }).collect()
    }

    /// Continues each beginning by each token, and keeps the best.
    fn advance(&mut self, rows: &[&[f32]], beam: &Beam, end: i32) {
        let mut next: Vec<(f64, usize, i32)> = Vec::new();
        for (from, row) in rows.iter().enumerate() {
            let before = self.alive[from].log;
            let again = repeats(&self.alive[from].ids, beam.no_repeat);
            let others = best(row, 2 * beam.width + again.len()).into_iter();
            let others = others.filter(|&token| !again.contains(&(token as i32)));
            for token in others.take(2 * beam.width) {
                next.push((before + f64::from(row[token]), from, token as i32));
            }
        }
        next.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut alive = Vec::with_capacity(beam.width);
        for (place, (log, from, token)) in next.into_iter().enumerate() {
            let ids = &self.alive[from].ids;
            if token == end {
                // One that would not be kept alive is not among the best.
                if place < beam.width {
                    self.ended.push((ids.clone(), beam.penalty.score(log, ids.len())));
                }
            } else if alive.len() < beam.width {
                alive.push(Alive { ids: [ids.as_slice(), &[token]].concat(), log, from });
            }
        }
        let stuck = alive.is_empty() && self.ended.is_empty();
        if !stuck {
            self.alive = alive;
        }
        let length = self.alive.first().map_or(0, |text| text.ids.len());
        if self.ended.len() >= beam.width || length >= self.most || stuck {
            let rest = std::mem::take(&mut self.alive);
            // Nothing has ended: the beginnings are all there is.
            if self.ended.is_empty() {
                let score = |text: Alive| {
                    let score = beam.penalty.score(text.log, text.ids.len());
                    (text.ids, score)
                };
                self.ended = rest.into_iter().map(score).collect();
            }
        }
    }
}

/// The tokens that would end `n` tokens in a row which the text has already.
fn repeats(ids: &[i32], n: usize) -> Vec<i32> {
    let Some(last) = n.checked_sub(1).and_then(|n| ids.len().checked_sub(n)) else {
        return Vec::new();
    };
    ids.windows(n).filter(|row| row[..n - 1] == ids[last..]).map(|row| row[n - 1]).collect()
}

/// The places of the greatest values, the greatest first; of equals, the earlier one.
fn best(row: &[f32], most: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::with_capacity(most + 1);
    for (block, values) in row.chunks(BLOCK).enumerate() {
        let enough = |kept: &[usize]| if kept.len() == most { kept.last().copied() } else { None };
        if enough(&kept).is_some_and(|last| none_above(values, row[last])) {
            continue;
        }
        for (i, &value) in values.iter().enumerate() {
            if enough(&kept).is_some_and(|last| row[last] >= value) {
                continue;
            }
            let at = kept.partition_point(|&other| row[other] >= value);
            kept.insert(at, block * BLOCK + i);
            kept.truncate(most);
        }
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_found() {
        let row = [0.5, 2.0, -1.0, 2.0, 3.0, f32::NEG_INFINITY];
        assert_eq!(best(&row, 3), [4, 1, 3]);
        assert_eq!(best(&row, 9), [4, 1, 3, 0, 2, 5]);
        assert!(best(&[], 2).is_empty());
        // Of equals the earlier one, in whatever block.
        let many: Vec<f32> = (0..1000).map(|i| ((i * 37) % 501) as f32).collect();
        let mut order: Vec<usize> = (0..1000).collect();
        order.sort_by(|&a, &b| many[b].total_cmp(&many[a]).then(a.cmp(&b)));
        assert_eq!(best(&many, 10), order[..10]);
    }

    #[test]
    fn what_would_come_again() {
        let ids = [1, 2, 3, 1, 2];
        assert_eq!(repeats(&ids, 0), [0; 0]);
        assert_eq!(repeats(&ids, 1), ids);
        assert_eq!(repeats(&ids, 2), [3]);
        assert_eq!(repeats(&ids, 3), [3]);
        assert_eq!(repeats(&ids, 4), [0; 0]);
        assert_eq!(repeats(&ids, 9), [0; 0]);
        // Where all that is left would come again, the text ends there.
        let beam = Beam { width: 1, penalty: LengthPenalty::None, no_repeat: 1 };
        let alive = vec![Alive { ids: vec![0, 1], log: -1.0, from: 0 }];
        let mut s = Sentence { source: vec![], alive, ended: vec![], most: 9 };
        s.advance(&[&[-1.0, -1.0]], &beam, 2);
        assert_eq!((s.alive.len(), s.ended.clone()), (0, vec![(vec![0, 1], -1.0)]));
    }

    #[test]
    fn penalties() {
        assert_eq!(LengthPenalty::parse("power=1.0").unwrap().score(-6.0, 3), -2.0);
        assert_eq!(LengthPenalty::parse("none").unwrap().score(-6.0, 3), -6.0);
        let gnmt = LengthPenalty::parse("gnmt=0.6").unwrap().score(-6.0, 7);
        assert!((gnmt + 6.0 / 2f64.powf(0.6)).abs() < 1e-12);
        for wrong in ["", "power", "power=x", "gnmt=-1", "other=1"] {
            assert!(LengthPenalty::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_beam_keeps_what_greed_loses() {
        // The first token is the likelier one, but what follows the second is surer.
        let (a, b, end) = (0, 1, 2);
        let log = |p: [f32; 3]| p.map(f32::ln);
        let run = |width: usize| {
            let beam = Beam { width, penalty: LengthPenalty::None, no_repeat: 0 };
            let mut s = Sentence {
                source: vec![],
                alive: vec![Alive { ids: vec![], log: 0.0, from: 0 }],
                ended: vec![],
                most: 9,
            };
            s.advance(&[&log([0.55, 0.45, 1e-9])], &beam, end);
            for _ in 0..2 {
                let rows: Vec<[f32; 3]> = s
                    .alive
                    .iter()
                    .map(|text| {
                        log(if text.ids[0] == a { [0.3, 0.3, 0.4] } else { [0.05, 0.05, 0.9] })
                    })
                    .collect();
                let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
                s.advance(&rows, &beam, end);
            }
            s.ended.sort_by(|x, y| y.1.total_cmp(&x.1));
            s.ended[0].0.clone()
        };
        assert_eq!((run(1), run(2)), (vec![a], vec![b]));
    }
}
