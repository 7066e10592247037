//! From planes to the pixels of a region.

use super::head::Head;
use super::scan::Region;
use crate::RawImage;

/// A plane of colours, of which the values of a row of pixels are made.
struct Plane<'a> {
    values: &'a [u8],
    stride: usize,
    /// Pixels for each value, along a row and along a column.
    each: [usize; 2],
    /// The first value of the plane within the image, and values of the image: along a row and along a column.
    first: [usize; 2],
    all: [usize; 2],
}

impl Plane<'_> {
    fn row(&self, y: usize) -> &[u8] {
        // Values beyond the edge of the image are of padding.
        let y = y.min(self.all[1] - 1).saturating_sub(self.first[1]);
        let most = self.values.len() / self.stride - 1;
        let len = self.stride.min(self.all[0] - self.first[0]);
        &self.values[y.min(most) * self.stride..][..len]
    }

    /// The values of row `y` of the image, for all pixels of the plane's columns. Where a value is for two pixels each gets three quarters
    /// of it and one of the neighbour on its side, as in libjpeg.
    #[inline(always)]
    fn raised<'a>(&'a self, y: usize, sums: &mut Vec<u16>, out: &'a mut Vec<u8>) -> &'a [u8] {
        if self.each == [1, 1] {
            return self.row(y);
        }
        let near = self.row(y / self.each[1]);
        let n = near.len();
        sums.clear();
        if self.each[1] == 1 {
            sums.extend(near.iter().map(|&v| 4 * u16::from(v)));
        } else {
            let other = if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { y / 2 + 1 };
            let far = self.row(other);
            sums.extend(near.iter().zip(far).map(|(&a, &b)| 3 * u16::from(a) + u16::from(b)));
        }
        // Of one row the sums are exact, and libjpeg rounds otherwise.
        let (even, odd) = if self.each[1] == 1 { (4, 8) } else { (8, 7) };
        out.resize(2 * n, 0);
        let at = |i: usize| sums[i];
        out[0] = ((4 * at(0) + even) >> 4) as u8;
        out[2 * n - 1] = ((4 * at(n - 1) + odd) >> 4) as u8;
        let (left, right) = (&sums[..n - 1], &sums[1..]);
        for ((pair, &a), &b) in
            out[1..2 * n - 1].as_chunks_mut::<2>().0.iter_mut().zip(left).zip(right)
        {
            *pair = [((3 * a + b + odd) >> 4) as u8, ((3 * b + a + even) >> 4) as u8];
        }
        out
    }
}

/// The pixels of the region's window: grey, or RGB.
#[inline(always)]
pub(super) fn convert(head: &Head, region: &Region, planes: &[Vec<u8>; 3]) -> RawImage {
    let [across, down] = head.unit();
    let side = region.side;
    let plane = |number: usize| {
        let [rows, columns] = region.plane(head, number);
        let all = region.plane(head, 0);
        let each = [all[1] / columns.max(1), all[0] / rows.max(1)];
        let first = [
            region.columns.start * across * side / each[0],
            region.rows.start * down * side / each[1],
        ];
        let whole = [region.size[1].div_ceil(each[0]), region.size[0].div_ceil(each[1])];
        Plane { values: &planes[number], stride: columns, each, first, all: whole }
    };
    let (height, width) = (region.top.len(), region.left.len());
    let luma = plane(0);
    let from = region.left.start - luma.first[0];
    if head.components.len() == 1 {
        let rows = region.top.clone().flat_map(|y| &luma.row(y)[from..from + width]);
        return RawImage { height, width, channels: 1, pixels: rows.copied().collect() };
    }
    let (blue, red) = (plane(1), plane(2));
    let mut pixels = vec![0; height * width * 3];
    let (mut sums, mut blues, mut reds) = (Vec::new(), Vec::new(), Vec::new());
    for (y, out) in region.top.clone().zip(pixels.chunks_exact_mut(width * 3)) {
        let own = &luma.row(y)[from..from + width];
        let b = &blue.raised(y, &mut sums, &mut blues)[from..from + width];
        let r = &red.raised(y, &mut sums, &mut reds)[from..from + width];
        for (((rgb, &y), &b), &r) in out.as_chunks_mut::<3>().0.iter_mut().zip(own).zip(b).zip(r) {
            let (y, b, r) = (i32::from(y), i32::from(b) - 128, i32::from(r) - 128);
            *rgb = [
                (y + ((91_881 * r + 32_768) >> 16)).clamp(0, 255) as u8,
                (y + ((-22_554 * b - 46_802 * r + 32_768) >> 16)).clamp(0, 255) as u8,
                (y + ((116_130 * b + 32_768) >> 16)).clamp(0, 255) as u8,
            ];
        }
    }
    RawImage { height, width, channels: 3, pixels }
}
