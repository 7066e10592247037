//! Measures the beam search of a run's model: `decode RUN FILE [BATCH] [BEAM] [THREADS]` translates the lines of a file, so many
//! at a time, and prints the translations; then to stderr the milliseconds and CPU milliseconds of a sentence. With a batch of 1
//! each line is a request of its own, as an online driver's. The first pass, which compiles plans, is reported by itself.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::time::Instant;

use tidemill_train::{Beam, Trained, Weights};

/// Seconds of this process's threads so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // user and system time in hundredths of a second
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, file, rest @ ..] = arguments.as_slice() else {
        return Err("decode RUN FILE [BATCH] [BEAM] [THREADS]".into());
    };
    let number = |i: usize, default: usize| match rest.get(i) {
        Some(text) => text.parse::<usize>(),
        None => Ok(default),
    };
    let (batch, width, threads) = (number(0, 1)?, number(1, 5)?, number(2, 2)?);
    let mut trained = Trained::open(&PathBuf::from(run), Weights::Latest, Some(threads))?;
    let lines = Trained::lines(&[PathBuf::from(file)])?;
    let beam = Beam { width, ..Beam::default() };
    for pass in 0..2 {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let mut times = Vec::new();
        for part in lines.chunks(batch) {
            let texts: Vec<&str> = part.iter().map(String::as_str).collect();
            let begun = Instant::now();
            let found = trained.translate(&texts, "", &beam)?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            for translation in found.iter().filter(|_| pass == 1) {
                println!("{}", translation.hypotheses.first().map_or("", |best| &best.text));
            }
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let each = 1e3 / lines.len() as f64;
        eprintln!(
            "pass {pass}: {:.3} ms a sentence, {:.3} ms of CPU; a request of {batch}: median {:.2} ms, 95 % {:.2} ms, most {:.2} ms",
            start.elapsed().as_secs_f64() * each,
            (cpu_seconds() - cpu) * each,
            at(0.5),
            at(0.95),
            at(1.0)
        );
    }
    Ok(())
}
