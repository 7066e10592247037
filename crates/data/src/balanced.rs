//! Samples drawn so that each class comes equally often.

use std::sync::Arc;

use tidemill_fields::Row;

use crate::order::Order;
use crate::random::key;
use crate::view::View;
use crate::{Dataset, Error, LabelKind, Result};

/// A dataset of as many samples as another one, in whose epochs each class has the same number of samples, give or take one: those of
/// rare classes come several times, of frequent ones in each epoch others. Which ones is a pure function of (seed, epoch, index).
pub struct Balanced {
    data: Arc<dyn Dataset>,
    seed: u64,
    /// The samples of each class that has some.
    classes: Vec<Vec<u32>>,
}

/// Sets the draws apart from others of the same seed.
const STREAM: u64 = 0x6261_6c61_6e63_6564;

impl Balanced {
    /// # Errors
    /// If samples have no classes.
    pub fn new(data: Arc<dyn Dataset>, seed: u64) -> Result<Balanced> {
        if let LabelKind::Values { len } = data.label_kind() {
            let what = match len {
                1 => "the labels are values, and sampling is balanced by classes",
                _ => {
                    "a sample may have any number of classes or values, and sampling is balanced by the one class of each"
                }
            };
            return Err(Error::option(format!("{what}; leave it out")));
        }
        let mut classes = vec![Vec::new(); data.num_classes().unwrap_or(0)];
        for index in 0..data.len() {
            let class = data.class(index).and_then(|class| classes.get_mut(class as usize));
            let Some(class) = class else {
                return Err(Error::option(format!(
                    "{}: has no class, and sampling is to be balanced by class",
                    data.describe(index)
                )));
            };
            class.push(index as u32);
        }
        classes.retain(|class| !class.is_empty());
        if classes.is_empty() {
            return Err(Error::option(
                "the data has no classes by which sampling could be balanced",
            ));
        }
        Ok(Balanced { data, seed, classes })
    }

    /// What people should know of it.
    pub fn in_words(&self) -> String {
        let (least, most) = self.classes.iter().fold((usize::MAX, 0), |(least, most), class| {
            (least.min(class.len()), most.max(class.len()))
        });
        let (classes, each) = (self.classes.len(), self.len() / self.classes.len());
        format!(
            "an epoch has about {each} samples of each of {classes} classes, which have {least} to {most}"
        )
    }

    /// The sample that stands at `index` in an epoch, and how often all of its class came before it.
    fn drawn(&self, index: usize, epoch: u64) -> (usize, u64) {
        let which = index % self.classes.len();
        let (class, draw) = (&self.classes[which], index / self.classes.len());
        // A permutation of the class after the other, over all epochs: none comes twice before all have come.
        let of_epoch = self.len().div_ceil(self.classes.len()) as u64;
        let at = epoch * of_epoch + draw as u64;
        let (round, place) = (at / class.len() as u64, at % class.len() as u64);
        let seed = key(self.seed, &[STREAM, which as u64]);
        let place = Order::Shuffled { seed }.index(round, place as usize, class.len());
        (class[place] as usize, round)
    }
}

impl View for Balanced {
    fn data(&self) -> &dyn Dataset {
        &*self.data
    }

    fn sample(&self, index: usize) -> usize {
        self.drawn(index, 0).0
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        let (sample, round) = self.drawn(index, row.epoch().unwrap_or(0));
        if row.epoch().is_some() {
            // One that comes twice in an epoch is varied in two ways.
            row.set_epoch(round);
        }
        self.data.fill(sample, row)
    }

    /// That of the samples, however they are drawn.
    fn fingerprint(&self) -> u64 {
        self.data.fingerprint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::MemoryDataset;
    use crate::memory::{Features, Labels};

    #[test]
    fn each_class_comes_equally_often_and_all_samples_come() {
        // 2 of class 0, 7 of class 2, 21 of class 1.
        let class = |i: usize| {
            if i < 2 {
                0
            } else if i < 9 {
                2
            } else {
                1
            }
        };
        let labels = Labels::Classes((0..30).map(class).collect());
        let values = Features::F32((0..30).map(|i| i as f32).collect());
        let data = MemoryDataset::new(values, &[1], labels).unwrap();
        let balanced = Balanced::new(Arc::new(data), 5).unwrap();
        let mut seen = [0; 30];
        for epoch in 0..6 {
            let mut counts = [0; 3];
            for index in 0..30 {
                let (sample, _) = balanced.drawn(index, epoch);
                seen[sample] += 1;
                counts[class(sample) as usize] += 1;
            }
            assert_eq!(counts, [10, 10, 10]);
        }
        // 60 draws of each class.
        assert!(seen[..2].iter().all(|&n| n == 30), "{seen:?}");
        assert!(seen[2..9].iter().all(|n| (8..=9).contains(n)), "{seen:?}");
        assert!(seen[9..].iter().all(|n| (2..=3).contains(n)), "{seen:?}");
    }
}
