//! What transcribing a sound while it comes costs: `streaming RUN SOUND [STREAMS]`.
//!
//! The sound comes 160 ms at a time, to one stream, then to several side by side in one process, each somewhere else in it. Printed are the share of
//! real time (RTF) and the milliseconds of a piece, on one thread.

use std::path::Path;
use std::time::Instant;

use tidemill_engine::data::sound::{ReadOptions, read_file};
use tidemill_train::{Trained, Weights};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(run), Some(sound)) = (arguments.next(), arguments.next()) else {
        return Err("give the folder of a run, and a sound".into());
    };
    let streams: usize = arguments.next().map_or(Ok(50), |n| n.parse())?;
    let mut model = Trained::open(Path::new(&run), Weights::Latest, Some(1))?;
    let rate = model.sample_rate();
    let options = ReadOptions { sample_rate: Some(rate), ..ReadOptions::default() };
    let (samples, _) = read_file(Path::new(&sound), &options)?;
    let piece = rate as usize * 160 / 1000;
    let seconds = samples.len() as f64 / f64::from(rate);
    for count in [1, streams] {
        let mut open = Vec::new();
        for _ in 0..count {
            open.push(model.transcription()?);
        }
        let (mut times, mut texts) = (Vec::new(), 0_usize);
        let pieces: Vec<&[f32]> = samples.chunks(piece).collect();
        // As many pieces in all for one stream as for several.
        for step in 0..pieces.len() / count {
            for (i, transcription) in open.iter_mut().enumerate() {
                let at = (step + i * pieces.len() / count) % pieces.len();
                let start = Instant::now();
                model.hear(transcription, pieces[at], &mut |_| {
                    texts += 1;
                    Ok(())
                })?;
                times.push(start.elapsed().as_secs_f64());
            }
        }
        let busy: f64 = times.iter().sum();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[(times.len() as f64 * share) as usize] * 1e3;
        println!(
            "{count} streams, {seconds:.0} s: RTF {:.5} of one stream, a piece of 160 ms {:.2} ms (median), {:.2} (p95), {:.2} (p99.9); {texts} texts given",
            busy / (times.len() as f64 * 0.16),
            at(0.5),
            at(0.95),
            at(0.999)
        );
    }
    Ok(())
}
