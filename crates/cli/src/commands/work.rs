//! `tidemill work`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tidemill_train::{WorkOptions, work};

use crate::failure::Result;
use crate::print::tell;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the run's `tidemill train --workers N --listen ADDRESS` listens.
    #[arg(long, value_name = "HOST:PORT")]
    join: String,
    /// Number of threads [default: all cores]. Give it where several of them are on one machine.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Seconds for which the run is looked for.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    patience: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let options = WorkOptions {
        address: &arguments.join,
        place: None,
        file: None,
        patience: Duration::from_secs(arguments.patience),
        threads: arguments.threads.map(usize::from),
        // Ctrl-C ends this process at once, and the run continues with the others.
        interrupt: Arc::default(),
    };
    work(options, &mut |text| tell!("{text}"))?;
    tell!("the run is over");
    Ok(ExitCode::SUCCESS)
}
