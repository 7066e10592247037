//! Features of raw samples: f32, little-endian, from standard input to standard output.
//!
//!     features '{"fbank": {"bins": 40}}' <samples >features
//!     features '{"fbank": {}}' --time 20 <samples     # least microseconds of so many rounds, on one thread
//!     features '{"fbank": {}}' --cut 160 <samples     # as a stream of so many samples at a time

use std::error::Error;
use std::io::{Read, Write};
use std::time::Instant;

use tidemill_audio::{Features, FrontEndSpec};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let spec: FrontEndSpec = serde_json::from_str(arguments.first().ok_or("which features?")?)?;
    let option = |name: &str| -> Option<usize> {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1)?.parse().ok()
    };
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let samples: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let mut features = Features::new(&spec)?;
    let mut out = Vec::new();
    let mut round = |out: &mut Vec<f32>| {
        out.clear();
        for piece in samples.chunks(option("--cut").unwrap_or(usize::MAX)) {
            features.push(piece, out);
        }
        features.finish(out);
    };
    if let Some(rounds) = option("--time") {
        let times = (0..rounds.max(1)).map(|_| {
            let start = Instant::now();
            round(&mut out);
            start.elapsed().as_secs_f64() * 1e6
        });
        println!("{:.1}", times.fold(f64::INFINITY, f64::min));
        return Ok(());
    }
    round(&mut out);
    let bytes: Vec<u8> = out.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::io::stdout().write_all(&bytes)?;
    Ok(())
}
