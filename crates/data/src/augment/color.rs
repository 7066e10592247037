//! Changing values: brightness, contrast, colours. What depends on a value alone is a table of 256.
//!
//! All are those of torchvision's `v2.functional` on 8-bit images, to the bit but for means of many pixels.

use crate::RawImage;

/// A value for each of 256.
type Table = [u8; 256];

fn table(of: impl Fn(usize) -> u8) -> Table {
    table_of(of)
}

fn table_of<T>(of: impl Fn(usize) -> T) -> [T; 256] {
    std::array::from_fn(of)
}

/// The value of a blend, as torchvision rounds it: cut off.
#[inline]
fn cut(value: f32) -> u8 {
    value.clamp(0.0, 255.0) as u8
}

fn look_up(image: &mut RawImage, table: &Table) {
    image.pixels.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

/// Grey as torchvision has it, with other factors than Pillow's.
#[inline]
fn luma(p: [u8; 3]) -> f32 {
    let [r, g, b] = p.map(f32::from);
    r * 0.2989 + g * 0.587 + b * 0.114
}

/// Each value times `factor`.
pub fn brightness(image: &mut RawImage, factor: f64) {
    let factor = factor as f32;
    look_up(image, &table(|v| cut(v as f32 * factor)));
}

/// `factor` of the image, the rest the mean of its grey.
pub fn contrast(image: &mut RawImage, factor: f64) {
    let sum: u64 = match image.channels {
        3 => image.pixels.as_chunks::<3>().0.iter().map(|&p| luma(p) as u64).sum(),
        _ => image.pixels.iter().map(|&v| u64::from(v)).sum(),
    };
    let mean = (sum as f64 / (image.height * image.width).max(1) as f64) as f32;
    let (factor, rest) = (factor as f32, (1.0 - factor) as f32 * mean);
    look_up(image, &table(|v| cut(v as f32 * factor + rest)));
}

/// `factor` of the image, the rest its grey.
pub fn saturation(image: &mut RawImage, factor: f64) {
    if image.channels != 3 {
        return;
    }
    let (factor, rest) = (factor as f32, f64::from((1.0 - factor) as f32));
    // In f64, as a multiply-add rounds but once.
    let own = table_of(|v| f64::from(v as f32 * factor));
    for p in image.pixels.as_chunks_mut::<3>().0 {
        let grey = f64::from(luma(*p).floor()) * rest;
        *p = p.map(|v| cut((own[usize::from(v)] + grey) as f32));
    }
}

/// The hue turned by `turn`, a share of a whole turn.
pub fn hue(image: &mut RawImage, turn: f64) {
    if image.channels != 3 {
        return;
    }
    for p in image.pixels.as_chunks_mut::<3>().0 {
        *p = turned(*p, turn as f32);
    }
}

/// By way of hue, saturation and value, in the order in which torchvision computes them.
fn turned(p: [u8; 3], turn: f32) -> [u8; 3] {
    let [r, g, b] = p.map(|v| f32::from(v) * (1.0 / 255.0));
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let range = high - low;
    let (s, divisor) = if range == 0.0 { (0.0, 1.0) } else { (range / high, range) };
    let [rc, gc, bc] = [r, g, b].map(|v| (high - v) / divisor);
    let h = match () {
        () if high == r => bc - gc,
        () if high == g => rc + 2.0 - bc,
        () => gc + 4.0 - rc,
    };
    let h = (h * (1.0 / 6.0) + 1.0) % 1.0;
    let h = (h + turn).rem_euclid(1.0) * 6.0;
    let sector = h.floor();
    let f = h - sector;
    let sxf = s * f;
    let unit = |v: f32| v.clamp(0.0, 1.0);
    let (q, t, p) =
        (unit((1.0 - sxf) * high), unit((sxf + (1.0 - s)) * high), unit((1.0 - s) * high));
    let rgb = match sector as i32 % 6 {
        0 => [high, t, p],
        1 => [q, high, p],
        2 => [p, high, t],
        3 => [p, q, high],
        4 => [t, p, high],
        _ => [high, p, q],
    };
    rgb.map(|v| (v * 255.999) as u8)
}

/// All channels the grey of the image.
pub fn grayscale(image: &mut RawImage) {
    if image.channels != 3 {
        return;
    }
    for p in image.pixels.as_chunks_mut::<3>().0 {
        *p = [luma(*p) as u8; 3];
    }
}

/// Only the highest `bits` of each value.
pub fn posterize(image: &mut RawImage, bits: u32) {
    let mask = (0xff00_u32 >> bits.min(8)) as u8;
    image.pixels.iter_mut().for_each(|v| *v &= mask);
}

/// Values from `threshold` on become their complement.
pub fn solarize(image: &mut RawImage, threshold: f32) {
    look_up(image, &table(|v| if v as f32 >= threshold { 255 - v as u8 } else { v as u8 }));
}

/// The complement of each value.
pub fn invert(image: &mut RawImage) {
    image.pixels.iter_mut().for_each(|v| *v = !*v);
}

/// A table for each channel by its histogram; none leaves it as it is.
fn by_channel(image: &mut RawImage, of: impl Fn(&[u32; 256]) -> Option<Table>) {
    let c = image.channels.max(1);
    for channel in 0..c {
        let mut histogram = [0u32; 256];
        for v in image.pixels[channel..].iter().step_by(c) {
            histogram[usize::from(*v)] += 1;
        }
        let Some(table) = of(&histogram) else { continue };
        for v in image.pixels[channel..].iter_mut().step_by(c) {
            *v = table[usize::from(*v)];
        }
    }
}

/// Each channel from its least and greatest value to 0 and 255.
pub fn autocontrast(image: &mut RawImage) {
    by_channel(image, |histogram| {
        let low = histogram.iter().position(|&n| n > 0)?;
        let high = histogram.iter().rposition(|&n| n > 0)?;
        let scale = (high - low) as f32 * (1.0 / 255.0);
        (high > low).then(|| table(|v| cut(v.saturating_sub(low) as f32 / scale)))
    });
}

/// Each channel with all values about equally often.
pub fn equalize(image: &mut RawImage) {
    by_channel(image, |histogram| {
        let total: u32 = histogram.iter().sum();
        let last = histogram.iter().rposition(|&n| n > 0)?;
        let step = (total - histogram[last]) / 255;
        if step == 0 {
            return None;
        }
        let mut below = 0;
        let mut values = [0; 256];
        // Of a value, by how many are smaller.
        for (value, count) in values[1..].iter_mut().zip(histogram) {
            below += count;
            *value = ((below + step / 2) / step).min(255) as u8;
        }
        Some(values)
    });
}
