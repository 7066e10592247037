//! `tidemill quickstart --speech`

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use tidemill_engine::data::sound::tones::{keys, write_keys};
use tidemill_engine::page::number::{count, duration};
use tidemill_train::{Trained, Weights};

use super::quickstart::train_in;
use crate::failure::{Failure, INTERRUPTED, Result};
use crate::print::{say, tell};

/// A model of a size that learns the keys in half a minute.
const RECIPE: &str = r#"# Written by `tidemill quickstart --speech`. Change it, then: tidemill train recipe.toml

[model]
ctc_encoder = { units = 64, layers = 3, kernel = 5 }

[audio]
features = { fbank = { bins = 40, sample_rate = 8000 } }
stack    = 2   # 2 frames of 10 ms are a position
seconds  = 6.0

[text]
tokenizer = { words = {} }

[training]
loss      = "ctc"
optimizer = { adamw = { learning_rate = { cosine = { start = 3e-3, warmup_steps = 50 } } } }

[batch]
data       = { audio = { path = "train.csv" } }
validation = { audio = { path = "test.csv" } }
batch_size = 32
epochs     = 12
"#;

const TRAIN: u64 = 1000;
const TEST: u64 = 200;
/// Samples that come at a time: 20 ms.
const PIECE: usize = 160;

pub(crate) fn run(out: &Path) -> Result {
    let out = &out.join("telephone");
    let start = Instant::now();
    write_keys(out, 0, TRAIN, TEST).map_err(|e| Failure::failed(e.to_string()))?;
    tell!(
        "{} strings of telephone keys written as sounds with noise: {} ({})",
        count(TRAIN + TEST),
        out.display(),
        duration(start.elapsed().as_secs_f64())
    );
    let doing = format!("training a model to write down {} of them", count(TRAIN));
    let Some(run) = train_in(out, RECIPE, &doing)? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let mut model = Trained::open(&run, Weights::Latest, None)?;
    let mut transcription = model.transcription()?;
    say!("\nsounds that it has not heard, written down while they come, 20 ms at a time")?;
    let mut right = 0;
    for i in 0..TEST {
        let (text, samples) = keys(0, 1, i);
        let mut found = String::new();
        let mut each = |heard: &tidemill_train::Heard| {
            if heard.is_final {
                found.clone_from(&heard.text);
            }
            Ok(())
        };
        for piece in samples.chunks(PIECE) {
            model.hear(&mut transcription, piece, &mut each)?;
        }
        model.heard_all(&mut transcription, &mut each)?;
        right += usize::from(found == text);
        if i < 4 {
            let verdict = if found == text { "" } else { "  (wrong)" };
            say!("  {}\n    {found}{verdict}", out.join(format!("test/{i:05}.wav")).display())?;
        }
    }
    say!("  {right} of {TEST} are right to the last key")?;
    say!(
        "\nnext:  tidemill predict {0} --from {1} --stream\n       tidemill eval {0}",
        run.display(),
        out.join("test/00007.wav").display()
    )?;
    Ok(ExitCode::SUCCESS)
}
