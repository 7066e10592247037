//! Values of a recipe's keys to be tried, one set of them for each trial.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tidemill_engine::checkpoint::files;
use tidemill_engine::data::random::unit_at;
use tidemill_engine::error::{Error, Result};

/// A key and the values that are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Over {
    /// The key, such as `training.optimizer.adam.learning_rate`.
    pub key: String,
    /// Its values.
    pub values: Values,
}

/// What is tried.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Each of these.
    Each(Vec<String>),
    /// Numbers of a range, drawn evenly, or evenly by their logarithms.
    Range {
        /// The least.
        low: f64,
        /// The greatest.
        high: f64,
        /// Whether logarithms are drawn.
        log: bool,
        /// Whether only whole numbers are.
        whole: bool,
    },
}

impl Over {
    /// `KEY=A,B,C`, `KEY=LOW..HIGH` or `KEY=log:LOW..HIGH`.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Over> {
        let wrong = |what: &str| Error::Usage(format!("--over {text}: {what}"));
        let (key, values) = text.split_once('=').ok_or_else(|| {
            wrong("must be a key and values, such as batch.batch_size=32,64 or batch.batch_size=16..256")
        })?;
        let (key, values) = (key.trim().to_owned(), values.trim());
        let (log, range) = match values.strip_prefix("log:") {
            Some(range) => (true, range),
            None => (false, values),
        };
        let ends = range.split_once("..").and_then(|(low, high)| {
            Some((low.trim().parse::<f64>().ok()?, high.trim().parse::<f64>().ok()?))
        });
        let whole = !range.contains(['e', 'E']) && !range.replace("..", "").contains('.');
        match ends {
            Some((low, high)) if !(low < high && (high - low).is_finite()) => {
                Err(wrong("the range must begin below its end"))
            }
            Some((low, _)) if log && low <= 0.0 => Err(wrong("a log: range must begin above 0")),
            Some((low, high)) => Ok(Over { key, values: Values::Range { low, high, log, whole } }),
            None if log => Err(wrong("log: must be followed by a range, such as log:1e-4..1e-1")),
            None => {
                let each = split(values);
                match each.iter().any(String::is_empty) {
                    true => Err(wrong("a value is empty")),
                    false => Ok(Over { key, values: Values::Each(each) }),
                }
            }
        }
    }
}

/// What is between commas that are not within brackets or quotes.
fn split(values: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0, false);
    for c in values.chars() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

/// Whether a key is there twice.
///
/// # Errors
/// If one is: only its last value would have an effect.
pub fn check_keys(over: &[Over]) -> Result<()> {
    let twice = over.iter().enumerate().find(|(i, o)| over[..*i].iter().any(|p| p.key == o.key));
    match twice {
        Some((_, Over { key, .. })) => {
            Err(Error::Usage(format!("--over {key}: is given twice; name all its values at once")))
        }
        None => Ok(()),
    }
}

/// All combinations of the values, each as `KEY=VALUE`; the last key changes first.
///
/// # Errors
/// If a key has a range, which has no end of values.
pub fn grid(over: &[Over]) -> Result<Vec<Vec<String>>> {
    let mut all = vec![Vec::new()];
    for Over { key, values } in over {
        let Values::Each(each) = values else {
            return Err(Error::Usage(format!(
                "--over {key}: has a range, of which values are drawn: say how many with --random N"
            )));
        };
        let with = |set: &Vec<String>| {
            let set = set.clone();
            each.iter().map(move |value| [set.clone(), vec![format!("{key}={value}")]].concat())
        };
        all = all.iter().flat_map(with).collect();
    }
    Ok(all)
}

/// So many sets of values drawn at random, each as `KEY=VALUE`; the same for the same seed, and the first ones of a larger number.
pub fn random(over: &[Over], count: usize, seed: u64) -> Vec<Vec<String>> {
    let (base, mut drawn) = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1), 0);
    let mut next = move || {
        drawn += 1;
        unit_at(base, drawn - 1)
    };
    let mut draw = |Over { key, values }: &Over| match values {
        Values::Each(each) => {
            let at = (next() * each.len() as f64) as usize;
            format!("{key}={}", each[at.min(each.len() - 1)])
        }
        Values::Range { low, high, log, whole } => {
            let (low, high) = (*low, if *whole { high + 1.0 } else { *high });
            let value = match log {
                true => (low.ln() + next() * (high.ln() - low.ln())).exp(),
                false => low + next() * (high - low),
            };
            match whole {
                true => format!("{key}={}", value.floor().min(high - 1.0)),
                // Four digits: nobody needs more, and people read them.
                false => format!("{key}={}", round(value)),
            }
        }
    };
    (0..count).map(|_| over.iter().map(&mut draw).collect()).collect()
}

fn round(value: f64) -> String {
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    match rounded != 0.0 && !(1e-3..1e6).contains(&rounded.abs()) {
        true => format!("{rounded:e}"),
        // A float in TOML has a point.
        false => format!("{rounded:?}"),
    }
}

/// The epochs at which trials are compared, and how many of them go further: successive halving (Jamieson and Talwalkar 2016) with
/// the best of each `eta` trials.
pub fn rungs(trials: usize, epochs: u64, eta: usize) -> Vec<(u64, usize)> {
    let mut rungs = vec![epochs];
    let (mut left, mut at) = (trials, epochs);
    let mut counts = vec![trials];
    while left > 1 && at > 1 {
        left = (left / eta).max(1);
        at = (at / eta as u64).max(1);
        counts.push(left);
        rungs.push(at);
        if at == 1 {
            break;
        }
    }
    rungs.reverse();
    rungs.into_iter().zip(counts).collect()
}

/// What `trials.jsonl` has of a trial.
#[derive(Serialize, Deserialize, PartialEq)]
struct Listed {
    trial: usize,
    set: Vec<String>,
    /// Of what decides the weights in the recipe with these values.
    recipe_sha256: String,
}

/// Writes which trial of a search has which values, and the number of its recipe, into its folder, `trials.jsonl`. A search that is there may have fewer or more
/// trials, which then must be the same.
///
/// # Errors
/// If it is a search over other values, or the file cannot be written.
pub fn list(folder: &Path, sets: &[(Vec<String>, String)]) -> Result<()> {
    let path = folder.join("trials.jsonl");
    let listed = |(i, (set, sha)): (usize, &(Vec<String>, String))| Listed {
        trial: i + 1,
        set: set.clone(),
        recipe_sha256: sha.clone(),
    };
    let all: Vec<Listed> = sets.iter().enumerate().map(listed).collect();
    if let Ok(text) = std::fs::read_to_string(&path) {
        let there: Option<Vec<Listed>> =
            text.lines().map(|line| serde_json::from_str(line).ok()).collect();
        let same = |there: &Vec<Listed>| all.starts_with(there) || there.starts_with(&all);
        if there.as_deref().is_some_and(has_equals) {
            return Err(Error::Usage(format!(
                "{}: holds a search that was begun with trials of the same values, which are left out now, so that their numbers are \
                 others; name another folder with --out to search again",
                folder.display()
            )));
        }
        if !there.as_ref().is_some_and(same) {
            return Err(Error::Usage(format!(
                "{}: holds a search over other values, or of a recipe that has changed; name another folder with --out",
                folder.display()
            )));
        }
        if there.is_some_and(|there| there.len() > all.len()) {
            return Ok(());
        }
    }
    let line = |one: &Listed| serde_json::to_string(one).map(|line| line + "\n");
    let lines: std::result::Result<String, _> = all.iter().map(line).collect();
    let text = lines.map_err(|e| Error::Run(format!("the trials cannot be written: {e}")))?;
    files::write_atomic(&path, text.as_bytes())
}

/// Whether two trials are the same.
fn has_equals(trials: &[Listed]) -> bool {
    let equal = |(i, trial): (usize, &Listed)| {
        trials[..i].iter().any(|other| other.recipe_sha256 == trial.recipe_sha256)
    };
    trials.iter().enumerate().any(equal)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let each = |text: &str| match Over::parse(text).unwrap().values {
            Values::Each(each) => each,
            range => panic!("{range:?}"),
        };
        assert_eq!(each("a.b=1, 2,3"), ["1", "2", "3"]);
        assert_eq!(each("a=[1, 2],[3]"), ["[1, 2]", "[3]"]);
        assert_eq!(each(r#"a="x,y",{ b = 1, c = 2 }"#), [r#""x,y""#, "{ b = 1, c = 2 }"]);
        let range = |low, high, log, whole| Values::Range { low, high, log, whole };
        assert_eq!(Over::parse("a=16..256").unwrap().values, range(16.0, 256.0, false, true));
        assert_eq!(Over::parse("a=log:1e-4..0.1").unwrap().values, range(1e-4, 0.1, true, false));
        for (text, what) in [
            ("a", "must be a key"),
            ("a=1,,2", "is empty"),
            ("a=3..2", "below its end"),
            ("a=log:0..2", "above 0"),
            ("a=log:x", "followed by a range"),
        ] {
            let error = Over::parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_search_with_equal_trials_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let line =
            |i: usize| format!("{{\"trial\":{i},\"set\":[\"a=1\"],\"recipe_sha256\":\"x\"}}\n");
        std::fs::write(folder.path().join("trials.jsonl"), line(1) + &line(2)).unwrap();
        let error =
            list(folder.path(), &[(vec!["a=1".into()], "x".into())]).unwrap_err().to_string();
        assert!(error.contains("trials of the same values") && error.contains("--out"), "{error}");
    }

    #[test]
    fn grids_have_all_combinations() {
        let over = [Over::parse("a=1,2").unwrap(), Over::parse("b=x,y").unwrap()];
        let all = grid(&over).unwrap();
        assert_eq!(all, [["a=1", "b=x"], ["a=1", "b=y"], ["a=2", "b=x"], ["a=2", "b=y"]]);
        assert!(
            grid(&[Over::parse("a=1..2").unwrap()]).unwrap_err().to_string().contains("--random")
        );
    }

    #[test]
    fn draws_stay_within_their_ranges() {
        let over = ["n=1..3", "r=log:1e-5..1e-1", "c=p,q"].map(|text| Over::parse(text).unwrap());
        let drawn = random(&over, 300, 1);
        assert_eq!(random(&over, 10, 1), drawn[..10]);
        let numbers = |i: usize| drawn.iter().map(move |set| set[i][2..].parse::<f64>().unwrap());
        for n in 1..=3 {
            assert!(numbers(0).filter(|&v| v == f64::from(n)).count() > 60);
        }
        assert!(numbers(1).all(|v| (1e-5..=1e-1).contains(&v)));
        assert!((100..200).contains(&numbers(1).filter(|&v| v < 1e-3).count()));
        assert!((100..200).contains(&drawn.iter().filter(|set| set[2] == "c=p").count()));
    }

    #[test]
    fn fewer_and_fewer_trials_get_more_and_more_epochs() {
        assert_eq!(rungs(9, 9, 3), [(1, 9), (3, 3), (9, 1)]);
        assert_eq!(rungs(8, 20, 2), [(2, 8), (5, 4), (10, 2), (20, 1)]);
        assert_eq!(rungs(1, 5, 3), [(5, 1)]);
        assert_eq!(rungs(10, 1, 3), [(1, 10)]);
    }
}
