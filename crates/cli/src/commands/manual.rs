//! `tidemill completions` and `tidemill man`

use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::Shell;

use crate::failure::{Failure, Result};
use crate::print::say;

#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(clap::Args)]
pub(crate) struct Man {
    /// The folder to write to, such as ~/.local/share/man/man1.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub(crate) fn completions(arguments: &Completions, mut program: clap::Command) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "tidemill", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(arguments: &Man, program: clap::Command) -> Result {
    let out = &arguments.out;
    std::fs::create_dir_all(out)
        .and_then(|()| clap_mangen::generate_to(program, out))
        .map_err(|e| Failure::failed(format!("{}: cannot be written: {e}", out.display())))?;
    say!("manual pages written to {}", out.display())?;
    Ok(ExitCode::SUCCESS)
}
