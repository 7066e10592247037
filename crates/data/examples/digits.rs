//! Writes a folder of digit images: `cargo run --example digits -- OUT`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args().nth(1).ok_or("usage: digits OUT")?;
    let written = tidemill_data::digits::write_folder(Path::new(&out), 1, 1000, 200, 28)?;
    println!("{} images in {out}", written.num_images);
    Ok(())
}
