//! From a skeleton to grey values.

use super::skeleton::{Stroke, variants};
use crate::random::{self, Stream};

/// Line pieces of one segment of a curve; at 28 pixels a piece is about half a pixel long.
const PIECES: usize = 8;
/// Nodes along one side of the field of elastic displacements.
const GRID: usize = 4;

type Point = (f32, f32);

/// The grey values of one digit image, `size` x `size`, white on black.
///
/// A pure function of its arguments. `class` is 0 to 9; `size` is at least 8.
pub fn render_digit(seed: u64, index: u64, class: u8, size: usize) -> Vec<u8> {
    let class = class % 10;
    let mut stream = Stream::new(random::key(seed, &[0x6469_6769_7473, u64::from(class), index]));
    let pen = Pen::random(&mut stream, size);
    let segments = segments(class, size, &mut stream);
    draw(&segments, &pen, size, &mut stream)
}

/// How the strokes are inked.
struct Pen {
    /// Half the stroke's width, in pixels.
    radius: f32,
    /// Pixels over which the edge fades.
    softness: f32,
    ink: f32,
    paper: f32,
    /// Deviation of the noise.
    noise: f32,
}

impl Pen {
    fn random(stream: &mut Stream, size: usize) -> Self {
        let pixel = size as f32 / 28.0;
        Self {
            radius: pixel * stream.range(0.65, 1.75),
            softness: pixel * stream.range(0.7, 1.9),
            ink: stream.range(150.0, 255.0),
            paper: stream.range(0.0, 40.0),
            noise: stream.range(0.0, 18.0),
        }
    }
}

/// The line pieces of a digit in pixel coordinates, after all bending.
fn segments(class: u8, size: usize, stream: &mut Stream) -> Vec<(Point, Point)> {
    let variants = variants(class);
    let variant = variants[(stream.bits() % variants.len() as u64) as usize];
    let place = Placement::random(stream);
    let mut segments = Vec::new();
    for stroke in variant {
        let mut path = Vec::new();
        match stroke {
            Stroke::Line(points) => polyline(&jitter(points, stream), &mut path),
            Stroke::Curve(points) => curve(&jitter(points, stream), &mut path),
        }
        let pixels = size as f32;
        for p in &mut path {
            let (x, y) = place.apply(*p);
            *p = (x * pixels, y * pixels);
        }
        segments.extend(path.windows(2).map(|w| (w[0], w[1])));
    }
    segments
}

/// No two people put the points of a digit alike.
fn jitter(points: &[Point], stream: &mut Stream) -> Vec<Point> {
    let mut moved: Vec<Point> = points
        .iter()
        .map(|&(x, y)| (x + 0.024 * stream.normal(), y + 0.024 * stream.normal()))
        .collect();
    // A closed curve stays closed.
    if points.len() > 2 && points[0] == points[points.len() - 1] {
        moved[points.len() - 1] = moved[0];
    }
    moved
}

/// Straight lines are cut too, so that elastic displacement bends them.
fn polyline(points: &[Point], path: &mut Vec<Point>) {
    for w in points.windows(2) {
        for i in 0..PIECES {
            let t = i as f32 / PIECES as f32;
            path.push((w[0].0 + t * (w[1].0 - w[0].0), w[0].1 + t * (w[1].1 - w[0].1)));
        }
    }
    path.extend(points.last());
}

/// A uniform Catmull-Rom spline through the points.
fn curve(points: &[Point], path: &mut Vec<Point>) {
    let n = points.len();
    let closed = points[0] == points[n - 1];
    for i in 0..n - 1 {
        let (p1, p2) = (points[i], points[i + 1]);
        let p0 = match i {
            0 if closed => points[n - 2],
            0 => p1,
            _ => points[i - 1],
        };
        let p3 = match points.get(i + 2) {
            Some(&p) => p,
            None if closed => points[1],
            None => p2,
        };
        let at = |a: f32, b: f32, c: f32, d: f32, t: f32| {
            let (t2, t3) = (t * t, t * t * t);
            0.5 * (2.0 * b
                + (c - a) * t
                + (2.0 * a - 5.0 * b + 4.0 * c - d) * t2
                + (3.0 * b - a - 3.0 * c + d) * t3)
        };
        for j in 0..PIECES {
            let t = j as f32 / PIECES as f32;
            path.push((at(p0.0, p1.0, p2.0, p3.0, t), at(p0.1, p1.1, p2.1, p3.1, t)));
        }
    }
    path.extend(points.last());
}

/// Where and how the unit box lies on the image: elastic displacement, then an affine map.
struct Placement {
    grid: [[Point; GRID]; GRID],
    /// Rows of the linear part.
    x: Point,
    y: Point,
    shift: Point,
}

impl Placement {
    fn random(stream: &mut Stream) -> Self {
        let strength = stream.range(0.0, 0.06);
        let grid = std::array::from_fn(|_| {
            std::array::from_fn(|_| (strength * stream.normal(), strength * stream.normal()))
        });
        // cos and sin of an angle from the tangent of its half: exact on every machine.
        let t = 0.095 * stream.normal();
        let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
        let height = stream.range(0.58, 0.78);
        let width = height * stream.range(0.55, 0.95);
        let shear = 0.15 * stream.normal();
        Self {
            grid,
            x: (cos * width, (cos * shear - sin) * height),
            y: (sin * width, (sin * shear + cos) * height),
            shift: (0.5 + 0.041 * stream.normal(), 0.5 + 0.041 * stream.normal()),
        }
    }

    fn apply(&self, p: Point) -> Point {
        let (dx, dy) = self.displacement(p);
        let (x, y) = (p.0 + dx - 0.5, p.1 + dy - 0.5);
        (self.shift.0 + self.x.0 * x + self.x.1 * y, self.shift.1 + self.y.0 * x + self.y.1 * y)
    }

    /// Between the grid's nodes, smoothed so that strokes bend without kinks.
    fn displacement(&self, p: Point) -> Point {
        let cell = |v: f32| {
            let v = v.clamp(0.0, 1.0) * (GRID - 1) as f32;
            let i = (v as usize).min(GRID - 2);
            let t = v - i as f32;
            (i, t * t * (3.0 - 2.0 * t))
        };
        let ((i, s), (j, t)) = (cell(p.1), cell(p.0));
        let mix = |a: Point, b: Point, t: f32| (a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1));
        let upper = mix(self.grid[i][j], self.grid[i][j + 1], t);
        let lower = mix(self.grid[i + 1][j], self.grid[i + 1][j + 1], t);
        mix(upper, lower, s)
    }
}

/// Inks all pixels near a line piece, then adds noise.
fn draw(segments: &[(Point, Point)], pen: &Pen, size: usize, stream: &mut Stream) -> Vec<u8> {
    let reach = pen.radius + pen.softness;
    // Squared distance of each pixel's middle to the nearest stroke.
    let mut nearest = vec![reach * reach; size * size];
    let range = |a: f32, b: f32| {
        let low = (a.min(b) - reach - 0.5).max(0.0) as usize;
        let high = ((a.max(b) + reach + 0.5).max(0.0) as usize).min(size);
        low..high.max(low)
    };
    for &(a, b) in segments {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let inverse = 1.0 / (dx * dx + dy * dy).max(1e-9);
        for row in range(a.1, b.1) {
            let py = row as f32 + 0.5 - a.1;
            for col in range(a.0, b.0) {
                let px = col as f32 + 0.5 - a.0;
                let t = ((px * dx + py * dy) * inverse).clamp(0.0, 1.0);
                let (ex, ey) = (px - t * dx, py - t * dy);
                let near = &mut nearest[row * size + col];
                *near = near.min(ex * ex + ey * ey);
            }
        }
    }
    nearest
        .into_iter()
        .map(|d| {
            let t = ((reach - d.sqrt()) / (2.0 * pen.softness)).clamp(0.0, 1.0);
            let cover = t * t * (3.0 - 2.0 * t);
            let value = pen.paper + cover * (pen.ink - pen.paper) + pen.noise * stream.normal();
            value.round().clamp(0.0, 255.0) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_arguments_same_image() {
        let image = render_digit(1, 2, 3, 28);
        assert_eq!(image, render_digit(1, 2, 3, 28));
        for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
            assert_ne!(image, render_digit(other.0, other.1, other.2, 28));
        }
    }

    #[test]
    fn every_digit_has_ink_and_paper() {
        for class in 0..10 {
            for index in 0..200 {
                let image = render_digit(7, index, class, 28);
                let ink = image.iter().filter(|&&v| v > 80).count();
                assert!((12..450).contains(&ink), "{class} {index}: {ink} inked pixels");
            }
        }
    }

    #[test]
    fn any_size_works() {
        for size in [8, 16, 33, 64] {
            assert_eq!(render_digit(1, 0, 8, size).len(), size * size);
        }
    }
}
