//! What replay, anchors and upkeep of plasticity are worth, on MNIST:
//!
//! ```text
//! cargo run --release -p tidemill-online --example continual -- permuted [methods] [tasks] [events]
//! cargo run --release -p tidemill-online --example continual -- split [methods]
//! cargo run --release -p tidemill-online --example continual -- anchor [methods]
//! ```
//!
//! One line of JSON for each method; `methods` are names divided by commas, all of them if left out
//! or `all`. The data lies in `../shared/data` or `$TIDEMILL_DATA`.

mod anchor;
mod digits;
mod permuted;
mod split;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let word = |i: usize| args.get(i).map_or("", String::as_str);
    let number = |i: usize, default: usize| word(i).parse().unwrap_or(default);
    let done = match word(0) {
        "permuted" => permuted::run(word(1), number(2, 100), number(3, 60_000)),
        "split" => split::run(word(1)),
        "anchor" => anchor::run(word(1)),
        _ => Err("name one of: permuted, split, anchor".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
