//! Texts that a model writes: token after token, each drawn from, or the best of, what it says comes next.

use tidemill_engine::data::DataSpec;
use tidemill_engine::data::random::unit_at;
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::Batch;
use tidemill_engine::nn::argmax;
use tidemill_engine::{Continued, Decoding};

use crate::Trained;

/// How a token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits: less is more careful, and 0 takes the most probable token.
    pub temperature: f64,
    /// Only the most probable tokens, so many.
    pub top_k: Option<usize>,
    /// Only the most probable tokens, until they have this share of the probability (Holtzman et al. 2020).
    pub top_p: Option<f64>,
    /// Of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    /// The most probable token.
    fn default() -> Sampling {
        Sampling { temperature: 0.0, top_k: None, top_p: None, seed: 0 }
    }
}

impl Sampling {
    /// Reads `temperature=0.8,top_k=50,top_p=0.95,seed=1`; the temperature is 1 where it is not said.
    ///
    /// # Errors
    /// Names what it cannot read.
    pub fn parse(text: &str) -> Result<Sampling> {
        let mut sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        let wrong = |part: &str, what: &str| Error::Usage(format!("--sample {part}: {what}"));
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(wrong(part, "expected key=value, such as temperature=0.8"));
            };
            let number: f64 =
                value.trim().parse().map_err(|_| wrong(part, "the value is no number"))?;
            let whole = || {
                let fits = number >= 0.0 && number.fract() == 0.0;
                fits.then_some(number as u64).ok_or_else(|| wrong(part, "must be a whole number"))
            };
            match key.trim() {
                "temperature" if number >= 0.0 && number.is_finite() => {
                    sampling.temperature = number;
                }
                "temperature" => return Err(wrong(part, "must be 0 or more")),
                "top_k" if number >= 1.0 => sampling.top_k = Some(whole()? as usize),
                "top_k" => return Err(wrong(part, "must be at least 1")),
                "top_p" if number > 0.0 && number <= 1.0 => sampling.top_p = Some(number),
                "top_p" => return Err(wrong(part, "must be above 0 and at most 1")),
                "seed" => sampling.seed = whole()?,
                other => {
                    let what =
                        format!("unknown key {other}; known are temperature, top_k, top_p, seed");
                    return Err(wrong(part, &what));
                }
            }
        }
        Ok(sampling)
    }

    /// The token for a draw in [0, 1).
    fn choose(&self, log_probabilities: &[f32], draw: f64) -> usize {
        if self.temperature == 0.0 || self.top_k == Some(1) {
            return argmax(log_probabilities);
        }
        // The most probable first; of equals, the smaller number.
        let mut order: Vec<usize> = (0..log_probabilities.len()).collect();
        order.sort_by(|&a, &b| {
            log_probabilities[b].total_cmp(&log_probabilities[a]).then(a.cmp(&b))
        });
        let most = self.top_k.unwrap_or(usize::MAX).min(order.len());
        let first = order.first().map_or(0.0, |&i| f64::from(log_probabilities[i]));
        let weight =
            |&i: &usize| ((f64::from(log_probabilities[i]) - first) / self.temperature).exp();
        let all: f64 = order.iter().map(weight).sum();
        let mut kept = Vec::new();
        let mut sum = 0.0;
        for i in &order[..most] {
            sum += weight(i);
            kept.push((*i, sum));
            if self.top_p.is_some_and(|p| sum >= p * all) {
                break;
            }
        }
        let at = draw * sum;
        kept.iter().find(|(_, upto)| *upto > at).or(kept.last()).map_or(0, |(i, _)| *i)
    }
}

impl Trained {
    /// Continues a text by at most `tokens` tokens, or up to the token that ends a text; gives the text and what it writes
    /// as it comes, in pieces that are whole characters.
    ///
    /// # Errors
    /// If the model writes no texts, or the text has no token that it knows.
    pub fn generate(
        &mut self,
        prompt: &str,
        tokens: usize,
        sampling: &Sampling,
        each: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let tokenizer = self.writes()?;
        let special = tokenizer.special();
        // Where one text was learned as a whole, no window of it began with that token.
        let begins = matches!(&self.file.recipe.batch.data, Some(DataSpec::Text(text)) if text.texts.is_some());
        let begin = special.begin.filter(|_| begins || prompt.is_empty());
        let mut ids: Vec<i32> = begin.into_iter().collect();
        let unknown = tokenizer.encode(prompt, &mut ids);
        if unknown > 0 && special.unknown.is_none() {
            return Err(Error::Usage(format!(
                "--text: {unknown} of its characters are not in the vocabulary of the model"
            )));
        }
        if ids.is_empty() {
            let what =
                "--text: is empty, and the model's vocabulary has no token that begins a text";
            return Err(Error::Usage(what.into()));
        }
        each(prompt)?;
        let mut written = Written { start: ids.len(), shown: 0 };
        let mut decoding = None;
        for place in 0..tokens as u64 {
            let log = self.next_log(&ids, &mut decoding)?;
            let next = sampling.choose(log, unit_at(sampling.seed, place)) as i32;
            if Some(next) == special.end {
                break;
            }
            ids.push(next);
            written.show(&tokenizer, &ids, false, each)?;
        }
        written.show(&tokenizer, &ids, true, each)
    }

    /// What comes next after a text, which is a token longer than at the call before, where there was one. Keys and values
    /// of its tokens are kept as long as the model sees all of them; a window that moves gives each token another position.
    fn next_log(&mut self, ids: &[i32], decoding: &mut Option<Decoding>) -> Result<&[f32]> {
        let engine = self.engine_mut();
        let inputs = engine.signature().inputs().to_vec();
        let most = inputs[0].time().unwrap_or(1);
        if let (Some(kept), Some(&token)) = (decoding.as_mut(), ids.last())
            && ids.len() <= most
        {
            let continued = [Continued { sample: 0, rows: vec![(0, token)] }];
            return Ok(engine.continue_texts(kept, &continued)?.row(0, 0));
        }
        let mut batch =
            Batch::new(std::sync::Arc::new(tidemill_engine::fields::Signature::new(inputs, None)));
        batch.resize(1);
        batch.weights[0] = 1.0;
        batch.row_mut(0).set_ids(0, &ids[ids.len().saturating_sub(most)..]).map_err(field_error)?;
        batch.pad();
        if ids.len() < most && engine.decodes() {
            let kept = decoding.insert(Decoding::default());
            return Ok(engine.start_texts(kept, &batch, 1, 1)?.row(0, 0));
        }
        Ok(engine.next(&batch)?)
    }

    /// The tokenizer of a model that says what comes next.
    fn writes(&self) -> Result<std::sync::Arc<Tokenizer>> {
        let is_next = self.file.recipe.model.inputs.is_empty();
        match self.file.tokenizer() {
            Some(tokenizer) if is_next => Ok(tokenizer.clone()),
            Some(_) => Err(Error::Usage("the model translates; it does not continue texts".into())),
            None => Err(Error::Usage(
                "--text is for models of tokens, and this one was trained on other data; name files \
                 with --data"
                    .into(),
            )),
        }
    }
}

fn field_error(e: impl std::fmt::Display) -> Error {
    Error::Run(format!("the text cannot be given to the model: {e}"))
}

/// How much of a text has been shown. Tokens may be parts of characters, so that it is decoded as a whole.
struct Written {
    /// The first token that is shown.
    start: usize,
    /// Bytes shown.
    shown: usize,
}

impl Written {
    fn show(
        &mut self,
        tokenizer: &Tokenizer,
        ids: &[i32],
        is_last: bool,
        each: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let text = tokenizer.decode(&ids[self.start..]);
        // A character whose bytes are not all there yet is decoded as one that stands for none.
        let end = if is_last { text.len() } else { text.trim_end_matches('\u{fffd}').len() };
        match text.get(self.shown..end) {
            Some(new) if !new.is_empty() => {
                self.shown = end;
                each(new)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let read = Sampling::parse("temperature=0.8, top_p=0.95,top_k=5,seed=3").unwrap();
        let want = Sampling { temperature: 0.8, top_k: Some(5), top_p: Some(0.95), seed: 3 };
        assert_eq!(read, want);
        assert_eq!(Sampling::parse("").unwrap().temperature, 1.0);
        for wrong in
            ["temperature", "temperature=-1", "top_p=2", "top_k=0", "top_k=1.5", "x=1", "seed=a"]
        {
            assert!(Sampling::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tokens_are_chosen_by_their_probability() {
        let p = [0.1f32, 0.6, 0.3].map(f32::ln);
        let choose = |text: &str, draw| Sampling::parse(text).unwrap().choose(&p, draw);
        assert_eq!([0.0, 0.59, 0.61, 0.89, 0.91].map(|d| choose("", d)), [1, 1, 2, 2, 0]);
        assert_eq!([0.0, 0.66, 0.67, 0.99].map(|d| choose("top_k=2", d)), [1, 1, 2, 2]);
        assert_eq!([0.0, 0.99].map(|d| choose("top_p=0.5", d)), [1, 1]);
        assert_eq!(choose("temperature=0", 0.99), 1);
        let drawn = (0..10_000).filter(|&i| choose("", unit_at(1, i)) == 1).count();
        assert!((5_800..6_200).contains(&drawn), "{drawn}");
    }
}
