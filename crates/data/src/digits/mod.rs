//! Renders digit images.
use crate::Result;
use std::path::Path;
/// The grey values of one digit image, `size` x `size`.
pub fn render_digit(_seed: u64, _index: u64, _class: u8, size: usize) -> Vec<u8> {
    vec![0; size * size]
}
/// Writes `OUT/{train,test}/<digit>/NNNNN.png`.
pub fn write_folder(
    _out: &Path,
    _seed: u64,
    _train_per_class: usize,
    _test_per_class: usize,
    _size: usize,
) -> Result<()> {
    Ok(())
}
