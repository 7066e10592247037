//! From a position's probabilities to labels, where the loss is `ctc` or `transducer`: the best label of each position, and a search over labels.

use tidemill_fields::argmax;
use tidemill_nn::Task;

/// The output that stands for no label.
pub const BLANK: usize = tidemill_graph::Ctc::BLANK;

/// The labels of the greatest output of each position, without blanks, and where the loss is `ctc` without repeats: `rows` are
/// `[positions, outputs]`.
pub fn greedy(task: Task, rows: &[f32], outputs: usize) -> Vec<i32> {
    let mut best = BLANK;
    let mut labels = Vec::new();
    for row in rows.chunks_exact(outputs.max(1)) {
        let own = argmax(row);
        let is_same = own == best && task != Task::Transduction;
        if !is_same && own != BLANK {
            labels.push(own as i32);
        }
        best = own;
    }
    labels
}

/// The least number of labels that are put in, left out or replaced to make `b` of `a` (Levenshtein 1966).
pub fn edits<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A search over the labels of a sequence, whose positions come one by one.
#[derive(Clone, Debug)]
pub enum Search {
    /// Of a model with the loss `ctc`.
    Prefixes(Prefixes),
    /// Of a transducer, which computes a position by what it has written before: that is the only hypothesis.
    Written(Written),
}

/// What a transducer has written.
#[derive(Clone, Debug, Default)]
pub struct Written {
    labels: Vec<i32>,
    /// For each label, the position at which it was written.
    at: Vec<u32>,
    /// Positions so far.
    time: u32,
    /// The logarithm of the probability of what was chosen at each of them.
    score: f64,
}

impl Search {
    /// A search at the start of a sequence; where several hypotheses are kept, `width` of them.
    pub fn new(task: Task, width: usize) -> Search {
        match task {
            Task::Transduction => Search::Written(Written::default()),
            _ => Search::Prefixes(Prefixes::new(width)),
        }
    }

    /// Takes the logarithms of the probabilities of a position.
    pub fn add(&mut self, log_p: &[f32]) {
        match self {
            Search::Prefixes(prefixes) => prefixes.add(log_p),
            Search::Written(written) => {
                let label = argmax(log_p);
                if label != BLANK {
                    written.labels.push(label as i32);
                    written.at.push(written.time);
                }
                written.score += f64::from(log_p[label]);
                written.time += 1;
            }
        }
    }

    /// The labels of the best hypothesis, each with the position at which it came.
    pub fn best(&self) -> (&[i32], &[u32]) {
        match self {
            Search::Prefixes(prefixes) => prefixes.best(),
            Search::Written(written) => (&written.labels, &written.at),
        }
    }

    /// The labels that will not change.
    pub fn stable(&self) -> &[i32] {
        match self {
            Search::Prefixes(prefixes) => prefixes.stable(),
            Search::Written(written) => &written.labels,
        }
    }

    /// The logarithm of the probability of the best hypothesis.
    pub fn score(&self) -> f64 {
        match self {
            Search::Prefixes(prefixes) => prefixes.all().next().map_or(0.0, |best| best.1),
            Search::Written(written) => written.score,
        }
    }
}

/// A hypothesis of [`Prefixes`].
#[derive(Clone, Debug)]
struct Prefix {
    labels: Vec<i32>,
    /// Logarithms of the probability of all ways that end with a blank, and with the last label.
    blank: f64,
    label: f64,
    /// For each label, the position at which it became sure that it was there.
    at: Vec<u32>,
}

impl Prefix {
    fn total(&self) -> f64 {
        add_logs(self.blank, self.label)
    }
}

/// The beam search over labels (Graves 2006; Hannun et al. 2014): the ways to write the same labels count together. Positions come one by one.
#[derive(Clone, Debug)]
pub struct Prefixes {
    width: usize,
    beam: Vec<Prefix>,
    /// Positions so far.
    time: u32,
}

/// Labels that are less probable than that at a position begin no hypothesis.
const LEAST: f32 = -12.0;

impl Prefixes {
    /// A search that keeps the best `width` hypotheses, at the start of a sequence.
    pub fn new(width: usize) -> Prefixes {
        let start = Prefix { labels: vec![], blank: 0.0, label: f64::NEG_INFINITY, at: vec![] };
        Prefixes { width: width.max(1), beam: vec![start], time: 0 }
    }

    /// Takes the logarithms of the probabilities of a position.
    pub fn add(&mut self, log_p: &[f32]) {
        let never = f64::NEG_INFINITY;
        let mut next: Vec<Prefix> = Vec::with_capacity(2 * self.beam.len());
        let place = |next: &mut Vec<Prefix>, labels: &[i32], more: Option<i32>| {
            let is = |p: &Prefix| match more {
                None => p.labels == labels,
                Some(label) => {
                    p.labels.split_last().is_some_and(|(&l, rest)| l == label && rest == labels)
                }
            };
            next.iter().position(is).unwrap_or_else(|| {
                let labels = labels.iter().copied().chain(more).collect();
                next.push(Prefix { labels, blank: never, label: never, at: vec![] });
                next.len() - 1
            })
        };
        for prefix in &self.beam {
            let total = prefix.total();
            let same = place(&mut next, &prefix.labels, None);
            let p = f64::from(log_p[BLANK]);
            next[same].blank = add_logs(next[same].blank, total + p);
            let last = prefix.labels.last().copied();
            if let Some(last) = last {
                let p = f64::from(log_p[last as usize]);
                next[same].label = add_logs(next[same].label, prefix.label + p);
            }
            if next[same].at.len() < prefix.at.len() {
                next[same].at.clone_from(&prefix.at);
            }
            for (label, &p) in log_p.iter().enumerate() {
                if label == BLANK || p < LEAST {
                    continue;
                }
                let label = label as i32;
                // The same label again needs a blank before.
                let before = if Some(label) == last { prefix.blank } else { total };
                let longer = place(&mut next, &prefix.labels, Some(label));
                next[longer].label = add_logs(next[longer].label, before + f64::from(p));
                if next[longer].at.is_empty() {
                    next[longer].at.clone_from(&prefix.at);
                    next[longer].at.push(self.time);
                }
            }
        }
        next.retain(|prefix| prefix.total() > f64::NEG_INFINITY);
        // The same order for the same totals: that of the labels.
        next.sort_by(|a, b| b.total().total_cmp(&a.total()).then_with(|| a.labels.cmp(&b.labels)));
        next.truncate(self.width);
        self.beam = next;
        self.time += 1;
    }

    /// The labels of the best hypothesis, each with the position at which it came.
    pub fn best(&self) -> (&[i32], &[u32]) {
        self.beam.first().map_or((&[], &[]), |best| (&best.labels, &best.at))
    }

    /// The labels with which all hypotheses begin: they will not change.
    pub fn stable(&self) -> &[i32] {
        let Some((first, others)) = self.beam.split_first() else { return &[] };
        let common = |n: usize, p: &Prefix| {
            first.labels.iter().zip(&p.labels).take(n).take_while(|(a, b)| a == b).count()
        };
        &first.labels[..others.iter().fold(first.labels.len(), common)]
    }

    /// The hypotheses with the logarithms of their probabilities, the best first.
    pub fn all(&self) -> impl Iterator<Item = (&[i32], f64)> {
        self.beam.iter().map(|p| (&p.labels[..], p.total()))
    }
}

/// `ln(e^a + e^b)`
fn add_logs(a: f64, b: f64) -> f64 {
    let (most, least) = if a > b { (a, b) } else { (b, a) };
    if least == f64::NEG_INFINITY { most } else { most + (least - most).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_and_blanks_are_left_out() {
        let one_hot = |class: usize| (0..4).map(move |c| f32::from(u8::from(c == class)));
        let rows: Vec<f32> = [0, 2, 2, 0, 2, 3, 3, 0].into_iter().flat_map(one_hot).collect();
        assert_eq!(greedy(Task::Transcript, &rows, 4), [2, 2, 3]);
        assert_eq!(greedy(Task::Transduction, &rows, 4), [2, 2, 2, 3, 3]);
        assert_eq!(greedy(Task::Transcript, &[], 4), [0; 0]);
        let mut search = Search::new(Task::Transduction, 8);
        rows.chunks(4).for_each(|row| search.add(row));
        assert_eq!(search.best(), (&[2, 2, 2, 3, 3][..], &[1, 2, 4, 5, 6][..]));
        assert_eq!((search.stable(), search.score()), (search.best().0, 8.0));
    }

    #[test]
    fn edits_are_the_least() {
        assert_eq!(edits(b"kitten", b"sitting"), 3);
        assert_eq!(edits(b"", b"abc"), 3);
        assert_eq!(edits(b"abc", b""), 3);
        assert_eq!(edits(b"abc", b"abc"), 0);
    }

    /// With a beam as wide as there are labels, the best hypothesis is the most probable sequence of labels, by all ways to write it.
    #[test]
    fn the_beam_finds_the_most_probable_labels() {
        let mut state = 3u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        for _ in 0..200 {
            let (time, outputs) = (5_usize, 3_usize);
            let p: Vec<Vec<f32>> = (0..time)
                .map(|_| {
                    let row: Vec<f32> = (0..outputs).map(|_| 0.05 + random()).collect();
                    let sum: f32 = row.iter().sum();
                    row.into_iter().map(|v| v / sum).collect()
                })
                .collect();
            let mut all = std::collections::BTreeMap::<Vec<i32>, f64>::new();
            for way in 0..outputs.pow(time as u32) {
                let path: Vec<usize> =
                    (0..time).map(|t| way / outputs.pow(t as u32) % outputs).collect();
                let p: f64 = path.iter().zip(&p).map(|(&c, row)| f64::from(row[c])).product();
                let mut labels = path;
                labels.dedup();
                labels.retain(|&c| c != BLANK);
                *all.entry(labels.into_iter().map(|c| c as i32).collect()).or_default() += p;
            }
            let mut search = Prefixes::new(1000);
            for row in &p {
                let log: Vec<f32> = row.iter().map(|v| v.ln()).collect();
                search.add(&log);
            }
            for (labels, log) in search.all() {
                assert!((all[labels] - log.exp()).abs() < 1e-6, "{labels:?}");
            }
            let best = all.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(l, _)| l.as_slice());
            assert_eq!(Some(search.best().0), best);
            assert_eq!(search.best().0.len(), search.best().1.len());
            assert!(search.best().0.starts_with(search.stable()));
        }
    }
}
