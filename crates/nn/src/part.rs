//! Which of several workers keeps an optimizer's slots, where each keeps a part of them.

/// One of several workers, each of which keeps the slots of some parameters, makes their updates, and gets the others' new
/// values: stage 1 of ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054), by whole tensors as in PyTorch's
/// `ZeroRedundancyOptimizer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub number: usize,
    /// How many workers there are.
    pub of: usize,
}

impl Part {
    /// The worker that updates each of parameters of these sizes: the largest first, each to the worker that has the least
    /// so far. Depends on nothing else.
    pub fn owners(of: usize, lens: &[usize]) -> Vec<usize> {
        let mut largest: Vec<usize> = (0..lens.len()).collect();
        largest.sort_by_key(|&i| std::cmp::Reverse(lens[i]));
        let (mut taken, mut owners) = (vec![0; of.max(1)], vec![0; lens.len()]);
        for i in largest {
            let least = taken.iter().enumerate().min_by_key(|&(_, taken)| *taken);
            let owner = least.map_or(0, |(worker, _)| worker);
            taken[owner] += lens[i];
            owners[i] = owner;
        }
        owners
    }

    /// Which of parameters of these sizes this worker updates.
    pub(crate) fn own(self, lens: &[usize]) -> Vec<bool> {
        Part::owners(self.of, lens).into_iter().map(|owner| owner == self.number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_spread_first() {
        assert_eq!(Part::owners(2, &[1, 10, 4, 4, 2]), [0, 0, 1, 1, 1]);
        assert_eq!(Part::owners(3, &[5, 5]), [0, 1]);
        assert_eq!(Part::owners(1, &[3, 2]), [0, 0]);
        assert!(Part::owners(4, &[]).is_empty());
    }
}
