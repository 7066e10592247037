//! A stream of digits that drifts, as JSON lines.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::render_digit;
use crate::{Error, Result};

/// What happens to the digits, one after the other, each for as many events.
pub const PHASES: [&str; 4] = ["as trained", "rotated", "inverted contrast", "swapped labels"];

/// Degrees that the digits of the second phase are turned by.
const ANGLE: f64 = 40.0;

/// Writes `events` digits of `size` x `size`, each as `{"x": [784 grey values], "label": 7}`: first
/// as they are drawn for training, then rotated by 40 degrees, then in inverted contrast, then
/// with labels of which each pair (0 and 1, 2 and 3, ...) is swapped.
///
/// # Errors
/// If the file cannot be written.
pub fn write_stream(path: &Path, seed: u64, events: u64, size: usize) -> Result<()> {
    let fail = |e| Error::write(path, e);
    let mut out = BufWriter::new(std::fs::File::create(path).map_err(fail)?);
    let mut line = String::with_capacity(5 * size * size);
    for i in 0..events {
        // Other digits than those of any folder, classes as they fall.
        let class = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ i) % 1009 % 10;
        let pixels = render_digit(seed ^ STREAM, i, class as u8, size);
        let phase = i * PHASES.len() as u64 / events.max(1);
        let pixels = match phase {
            1 => rotated(&pixels, size, ANGLE),
            2 => pixels.iter().map(|p| 255 - p).collect(),
            _ => pixels,
        };
        let label = if phase == 3 { class ^ 1 } else { class };
        line.clear();
        line.push_str("{\"x\":[");
        for (at, pixel) in pixels.iter().enumerate() {
            if at > 0 {
                line.push(',');
            }
            line.push_str(itoa(*pixel, &mut [0; 3]));
        }
        line.push_str("],\"label\":");
        line.push((b'0' + label as u8) as char);
        line.push_str("}\n");
        out.write_all(line.as_bytes()).map_err(fail)?;
    }
    out.flush().map_err(fail)
}

/// Keeps the stream's digits apart from a folder's of the same seed.
const STREAM: u64 = 0x7374_7265_616d;

fn itoa(n: u8, buffer: &mut [u8; 3]) -> &str {
    let (mut rest, mut at) = (n, 3);
    loop {
        at -= 1;
        buffer[at] = b'0' + rest % 10;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    std::str::from_utf8(&buffer[at..]).unwrap_or("0")
}

/// Turned about its middle, read between pixels (bilinear); black from outside.
fn rotated(pixels: &[u8], size: usize, degrees: f64) -> Vec<u8> {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let middle = (size as f64 - 1.0) / 2.0;
    let pixel = |x: f64, y: f64| {
        let inside = x >= 0.0 && y >= 0.0 && x < size as f64 && y < size as f64;
        if inside { f64::from(pixels[y as usize * size + x as usize]) } else { 0.0 }
    };
    let mut out = Vec::with_capacity(pixels.len());
    for i in 0..pixels.len() {
        let (dx, dy) = ((i % size) as f64 - middle, (i / size) as f64 - middle);
        let (x, y) = (cos * dx + sin * dy + middle, cos * dy - sin * dx + middle);
        let (left, top) = (x.floor(), y.floor());
        let (right, below) = (x - left, y - top);
        let upper = pixel(left, top) * (1.0 - right) + pixel(left + 1.0, top) * right;
        let lower = pixel(left, top + 1.0) * (1.0 - right) + pixel(left + 1.0, top + 1.0) * right;
        out.push((upper * (1.0 - below) + lower * below).round() as u8);
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn turning_by_a_right_angle_moves_pixels() {
        let pixels = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(rotated(&pixels, 3, 0.0), pixels);
        let turned = rotated(&pixels, 3, 90.0);
        assert!(turned == [7, 4, 1, 8, 5, 2, 9, 6, 3] || turned == [3, 6, 9, 2, 5, 8, 1, 4, 7]);
    }

    #[test]
    fn a_stream_is_a_function_of_its_seed() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str, seed| {
            let path = folder.path().join(name);
            write_stream(&path, seed, 40, 12).unwrap();
            std::fs::read_to_string(path).unwrap()
        };
        let (a, b, c) = (text("a", 1), text("b", 1), text("c", 2));
        assert_eq!(a, b);
        assert!(a != c && a.lines().count() == 40);
        assert!(a.lines().all(|l| l.matches(',').count() == 144));
    }
}
