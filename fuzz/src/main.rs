//! Bytes of others, made by libFuzzer: no input may panic, take much memory or long, or break what is promised.
//!
//! One program for all targets, so that it is built once; the variable `FUZZ` names the target.
#![no_main]
#![forbid(unsafe_code)]

mod files;
mod server;
mod streams;

use std::sync::OnceLock;
use std::time::Instant;

use peak_alloc::PeakAlloc;
use tidemill_stream::Format;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// An input may take so much memory.
const MOST_BYTES: usize = 64 << 20;
/// And one of images: small files can be large images, which `images::decode` takes up to 1 GiB. Where images come
/// in events, their sizes are bounded before.
const MOST_IMAGE_BYTES: usize = 3 << 30;
/// And so many seconds.
const MOST_SECONDS: f64 = 20.0;

/// The name of a target, and what it does with the bytes.
type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("csv", |bytes| streams::records(Format::Csv, bytes)),
    ("json", |bytes| streams::records(Format::JsonLines, bytes)),
    ("vw", |bytes| streams::records(Format::Vw, bytes)),
    ("libsvm", |bytes| streams::records(Format::Libsvm, bytes)),
    ("arff", |bytes| streams::records(Format::Arff, bytes)),
    #[cfg(feature = "arrow")]
    ("arrow", streams::arrow),
    ("log", streams::log),
    ("table", files::table),
    ("idx", files::idx),
    ("numpy", files::numpy),
    ("image", files::image),
    ("tar", files::tar),
    ("tokenizer", files::tokenizer),
    ("http", server::connection),
];

fn target() -> Target {
    static NAMED: OnceLock<Target> = OnceLock::new();
    *NAMED.get_or_init(|| {
        let name = std::env::var("FUZZ").unwrap_or_default();
        let found = TARGETS.iter().copied().find(|(target, _)| *target == name);
        found.unwrap_or_else(|| {
            let names: Vec<_> = TARGETS.iter().map(|(target, _)| *target).collect();
            let names = names.join(" ");
            panic!("FUZZ={name}: no such target; there are {names}")
        })
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (name, run) = target();
    MEMORY.reset_peak_usage();
    let (before, start) = (MEMORY.current_usage(), Instant::now());
    run(bytes);
    let peak = MEMORY.peak_usage().saturating_sub(before);
    let most = if matches!(name, "image" | "tar") { MOST_IMAGE_BYTES } else { MOST_BYTES };
    assert!(peak <= most, "{} bytes of input took {} MB", bytes.len(), peak >> 20);
    let seconds = start.elapsed().as_secs_f64();
    assert!(seconds < MOST_SECONDS, "{} bytes of input took {seconds} s", bytes.len());
});

/// A folder for the files of this process.
fn folder() -> &'static std::path::Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            // In memory, where there is such a folder.
            let found = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
            found.expect("a folder for files")
        })
        .path()
}

/// A file with these bytes.
fn file(name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("the folder can be written");
    path
}
