//! `tidemill data pack`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::data::images::Pack;
use tidemill_engine::page::number::{count, plural};

use crate::failure::{Failure, Result};
use crate::print::{say, tell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder or archive of images, with a folder for each class.
    data: PathBuf,
    /// What the names of the shards start with: images/train makes images/train-000000.tar and so on.
    #[arg(long, value_name = "PREFIX")]
    out: PathBuf,
    /// Pixels of the shorter side; smaller images stay as they are.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=8192))]
    size: u16,
    /// Quality of the JPEG files that are made, 1 to 100.
    #[arg(long, default_value_t = 92, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Images of a shard.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    per_shard: u32,
    /// Leave out images that cannot be decoded, and say which.
    #[arg(long)]
    skip_broken: bool,
    /// Seed of the order, which mixes the classes.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(crate) fn run(a: &Arguments) -> Result {
    if a.out.is_dir() || a.out.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Failure::usage(format!(
            "--out {}: is a folder; add what the names of the shards start with, such as {}",
            a.out.display(),
            a.out.join("train").display()
        )));
    }
    if let Some(folder) = a.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::failed(format!("{}: cannot be made: {e}", folder.display())))?;
    }
    let pack = Pack {
        size: a.size.into(),
        quality: a.quality,
        per_shard: a.per_shard as usize,
        skip_broken: a.skip_broken,
        seed: a.seed,
    };
    let packed = pack.write(&a.data, &a.out).map_err(|e| match e {
        tidemill_engine::data::Error::Image { .. } => {
            Failure::failed(format!("{e}; --skip-broken leaves such images out"))
        }
        e => e.into(),
    })?;
    for why in packed.left_out.iter().take(20) {
        tell!("left out: {why}");
    }
    if packed.left_out.len() > 20 {
        tell!("left out: {} more", count(packed.left_out.len() as u64 - 20));
    }
    let (prefix, last) = (a.out.display(), packed.shards.len() - 1);
    let name = match last {
        0 => format!("{prefix}-000000.tar"),
        _ => format!("{prefix}-{{000000..{last:06}}}.tar"),
    };
    let left = match packed.left_out.len() {
        0 => String::new(),
        n => format!(", {} left out", count(n as u64)),
    };
    say!(
        "wrote {name}: {}, {} made smaller{left}, {:.1} MB",
        plural(packed.images as u64, "image"),
        count(packed.resized as u64),
        packed.bytes as f64 / 1e6
    )?;
    let names = match packed.numbered.as_slice() {
        [] => String::new(),
        names => format!(", class_names = {names:?}"),
    };
    say!("recipe: data = {{ image_directory = {{ path = \"{name}\"{names} }} }}")?;
    if !names.is_empty() {
        say!(
            "the folders are called as numbers, and the shards have the numbers of the classes: class_names gives them their names"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
