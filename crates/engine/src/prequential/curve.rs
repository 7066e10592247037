//! Figures over events, with a bounded number of points.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A few figures, noted every so many events. When the points become too many, every other one is
/// dropped and the distance doubles; which points remain depends on the count of events alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    names: Vec<String>,
    most: usize,
    every: u64,
    next: u64,
    points: Points,
}

/// In two pieces of memory, of which a checkpoint has copies; written as a list of pairs.
#[derive(Clone, Debug, Default, PartialEq)]
struct Points {
    events: Vec<u64>,
    /// For each point a value for each name; none where the figure was not defined.
    values: Vec<Option<f32>>,
}

impl Points {
    fn iter(&self) -> impl Iterator<Item = (u64, &[Option<f32>])> {
        let width = self.values.len().checked_div(self.events.len()).unwrap_or(0);
        self.events.iter().enumerate().map(move |(i, &at)| (at, &self.values[i * width..][..width]))
    }

    /// Keeps the points at multiples of `every`.
    fn thin_out(&mut self, every: u64) {
        let (len, mut kept) = (self.events.len(), 0);
        let width = self.values.len().checked_div(len).unwrap_or(0);
        for i in 0..len {
            if !self.events[i].is_multiple_of(every) {
                continue;
            }
            self.events[kept] = self.events[i];
            self.values.copy_within(i * width..(i + 1) * width, kept * width);
            kept += 1;
        }
        self.events.truncate(kept);
        self.values.truncate(kept * width);
    }
}

impl Serialize for Points {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Points, D::Error> {
        let mut points = Points::default();
        let pairs = Vec::<(u64, Vec<Option<f32>>)>::deserialize(deserializer)?;
        if pairs.windows(2).any(|pair| pair[0].1.len() != pair[1].1.len()) {
            return Err(D::Error::custom("the points of a curve have different numbers of values"));
        }
        for (events, values) in pairs {
            points.events.push(events);
            points.values.extend(values);
        }
        Ok(points)
    }
}

/// Events between the first points: enough of them for a stream of a few hundred events.
const FIRST: u64 = 10;

impl Curve {
    /// An empty curve of the figures of these names, with at most `most` points.
    pub fn new(names: &[&str], most: usize) -> Curve {
        let names = names.iter().map(|n| n.to_string()).collect();
        Curve { names, most: most.max(2), every: FIRST, next: FIRST, points: Points::default() }
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
        if self.points.events.len() >= self.most {
            self.every *= 2;
            self.points.thin_out(self.every);
        }
        if events.is_multiple_of(self.every) {
            let value = |name: &String| {
                let found = figures.iter().find(|(n, _)| n == name);
                found.map(|(_, v)| *v as f32).filter(|v| v.is_finite())
            };
            self.points.events.push(events);
            self.points.values.extend(self.names.iter().map(value));
        }
        self.next = (events / self.every + 1) * self.every;
    }

    /// The names of the figures.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Points noted.
    pub fn len(&self) -> usize {
        self.points.events.len()
    }

    /// Whether no point has been noted.
    pub fn is_empty(&self) -> bool {
        self.points.events.is_empty()
    }

    /// The figure of that name as points of (events, value).
    pub fn line(&self, name: &str) -> Vec<(f64, f64)> {
        let Some(column) = self.names.iter().position(|n| n == name) else { return Vec::new() };
        let at = |(events, values): (u64, &[Option<f32>])| {
            values.get(column).copied().flatten().map(|v| (events as f64, f64::from(v)))
        };
        self.points.iter().filter_map(at).collect()
    }
}
