//! Figures over events, with a bounded number of points.

use serde::{Deserialize, Serialize};

/// A few figures, noted every so many events. When the points become too many, every other one is
/// dropped and the distance doubles; which points remain depends on the count of events alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    names: Vec<String>,
    most: usize,
    every: u64,
    next: u64,
    /// Events, then a value for each name; none where the figure was not defined.
    points: Vec<(u64, Vec<Option<f32>>)>,
}

/// Events between the first points: enough of them for a stream of a few hundred events.
const FIRST: u64 = 10;

impl Curve {
    /// An empty curve of the figures of these names, with at most `most` points.
    pub fn new(names: &[&str], most: usize) -> Curve {
        let names = names.iter().map(|n| n.to_string()).collect();
        Curve { names, most: most.max(2), every: FIRST, next: FIRST, points: Vec::new() }
    }

    /// The count of events at which the next point is due.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Notes those of `figures` that the curve has, if a point is due at this count of events.
    pub fn push(&mut self, events: u64, figures: &[(&str, f64)]) {
        if events < self.next {
            return;
        }
        if self.points.len() >= self.most {
            self.every *= 2;
            self.points.retain(|(at, _)| at.is_multiple_of(self.every));
        }
        if events.is_multiple_of(self.every) {
            let value = |name: &String| {
                let found = figures.iter().find(|(n, _)| n == name);
                found.map(|(_, v)| *v as f32).filter(|v| v.is_finite())
            };
            self.points.push((events, self.names.iter().map(value).collect()));
        }
        self.next = (events / self.every + 1) * self.every;
    }

    /// The names of the figures.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Points noted.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether no point has been noted.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The figure of that name as points of (events, value).
    pub fn line(&self, name: &str) -> Vec<(f64, f64)> {
        let Some(column) = self.names.iter().position(|n| n == name) else { return Vec::new() };
        let at = |(events, values): &(u64, Vec<Option<f32>>)| {
            values.get(column).copied().flatten().map(|v| (*events as f64, f64::from(v)))
        };
        self.points.iter().filter_map(at).collect()
    }
}
