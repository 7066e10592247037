//! `tidemill quickstart --text`

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use tidemill_engine::data::numerals::write_numerals;
use tidemill_engine::data::text::read_utf8;
use tidemill_engine::page::number::{count, duration};
use tidemill_train::{Beam, Trained, Weights};

use super::quickstart::train_in;
use crate::failure::{INTERRUPTED, Result};
use crate::print::{say, tell};

/// A transformer of a size that learns numbers in a minute.
const RECIPE: &str = r#"# Written by `tidemill quickstart --text`. Change it, then: tidemill train recipe.toml

[model]
encoder_decoder = { units = 64, heads = 4, encoder = 2, decoder = 2, length = 64 }

[text]
tokenizer = { bpe = { vocabulary = 400 } } # one for both languages

[training]
loss      = "token_crossentropy"
optimizer = { adamw = { learning_rate = { cosine = { start = 5e-3, warmup_steps = 100 } } } }

[batch]
data         = { parallel = { source = "train.en", target = "train.de" } }
validation   = { parallel = { source = "test.en", target = "test.de" } }
batch_tokens = 1024
epochs       = 12
"#;

const TRAIN: usize = 6000;
const TEST: usize = 300;

pub(crate) fn run(out: &Path) -> Result {
    let out = &out.join("numerals");
    let start = Instant::now();
    write_numerals(out, 0, TRAIN, TEST)?;
    tell!(
        "{} numbers written in English and in German words: {} ({})",
        count((TRAIN + TEST) as u64),
        out.display(),
        duration(start.elapsed().as_secs_f64())
    );
    let doing = format!("training a transformer to translate {} of them", count(TRAIN as u64));
    let Some(run) = train_in(out, RECIPE, &doing)? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let mut model = Trained::open(&run, Weights::Latest, None)?;
    let [source, target] = ["test.en", "test.de"].map(|name| read_utf8(&out.join(name)));
    let (source, target) = (source?, target?);
    let sources: Vec<&str> = source.lines().collect();
    let found = model.translate(&sources, "", &Beam::default())?;
    let best =
        |i: usize| found[i].hypotheses.first().map_or("", |hypothesis| hypothesis.text.as_str());
    let pairs = || sources.iter().zip(target.lines()).enumerate();
    say!("\nnumbers that it has not seen")?;
    for (i, (source, target)) in pairs().take(4) {
        let verdict = if best(i) == target { "" } else { "  (wrong)" };
        say!("  {source}\n    {}{verdict}", best(i))?;
    }
    let right = pairs().filter(|(i, (_, target))| best(*i) == *target).count();
    say!("  {right} of {} are right to the last letter", sources.len())?;
    say!(
        "\nnext:  tidemill predict {} --text \"ninety-nine thousand one\"\n       tidemill eval {}",
        run.display(),
        run.display()
    )?;
    Ok(ExitCode::SUCCESS)
}
