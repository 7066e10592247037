//! Splits that keep samples together which belong together, such as all rows of a patient.
//!
//! Where the samples of a group are alike, some of them on the side that is learned from make the others look easy. Which side a
//! group is on follows from its text, the seed and the sizes of the groups, and not from the order of the samples.

use std::collections::{HashMap, HashSet};

use crate::fingerprint::Hash;
use crate::images::{Fold, Share};
use crate::random::{GOLDEN, mix};

/// The group of a sample, from its text.
pub(crate) fn group(text: &str) -> u64 {
    let mut hash = Hash::new();
    hash.text(text);
    hash.finish()
}

/// One group while a split is made.
struct Group {
    /// Its place in an order by chance.
    place: (u64, u64),
    samples: usize,
}

/// Whether each sample is for validation; `groups` has the group of each. An error continues a sentence about the split.
pub(crate) fn validation(groups: &[u64], share: Share, seed: u32) -> Result<Vec<bool>, String> {
    let mut sizes: HashMap<u64, usize> = HashMap::new();
    groups.iter().for_each(|&group| *sizes.entry(group).or_default() += 1);
    let of = |(&group, &samples)| Group { place: (mixed(group, seed), group), samples };
    let mut all: Vec<Group> = sizes.iter().map(of).collect();
    all.sort_unstable_by_key(|group| group.place);
    let chosen = match share {
        Share::Fraction(fraction) => fraction_of(all, fraction * groups.len() as f64)?,
        Share::Fold(fold) => fold_of(all, fold)?,
    };
    let chosen: HashSet<u64> = chosen.into_iter().collect();
    Ok(groups.iter().map(|group| chosen.contains(group)).collect())
}

/// Groups in their order, each taken where that brings the number of samples nearer to the wanted one.
fn fraction_of(groups: Vec<Group>, wanted: f64) -> Result<Vec<u64>, String> {
    if groups.len() < 2 {
        return Err("finds one group only, and each side needs one".to_owned());
    }
    let (mut chosen, mut samples) = (Vec::new(), 0);
    for group in &groups {
        let off = |samples: usize| (samples as f64 - wanted).abs();
        if off(samples + group.samples) < off(samples) && chosen.len() + 1 < groups.len() {
            samples += group.samples;
            chosen.push(group.place.1);
        }
    }
    // All are larger than twice what is wanted.
    if chosen.is_empty() {
        chosen.extend(groups.iter().min_by_key(|group| group.samples).map(|group| group.place.1));
    }
    Ok(chosen)
}

/// The groups of one fold: from the largest group to the smallest, each goes to the fold that has the fewest samples so far, as in
/// scikit-learn's `GroupKFold`.
fn fold_of(mut groups: Vec<Group>, fold: Fold) -> Result<Vec<u64>, String> {
    if groups.len() < fold.of {
        let n = groups.len();
        return Err(format!(
            "finds {n} group{}, too few for {} folds",
            if n == 1 { "" } else { "s" },
            fold.of
        ));
    }
    // Stable: groups of one size stay in their order by chance.
    groups.sort_by_key(|group| std::cmp::Reverse(group.samples));
    let (mut samples, mut chosen) = (vec![0; fold.of], Vec::new());
    for group in groups {
        let least = samples.iter().enumerate().min_by_key(|(_, n)| **n).map_or(0, |(i, _)| i);
        samples[least] += group.samples;
        if least == fold.number - 1 {
            chosen.push(group.place.1);
        }
    }
    Ok(chosen)
}

/// A number by which groups are ordered.
fn mixed(group: u64, seed: u32) -> u64 {
    mix(group ^ u64::from(seed).wrapping_add(1).wrapping_mul(GOLDEN))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// 40 groups of 1 to 40 samples, mixed up.
    fn samples() -> Vec<u64> {
        let of = |size: usize| std::iter::repeat_n(group(&format!("group {size}")), size);
        let all: Vec<u64> = (1..=40).flat_map(of).collect();
        (0..all.len()).map(|i| all[i * 7 % all.len()]).collect()
    }

    #[test]
    fn no_group_is_on_both_sides_and_shares_are_near() {
        let groups = samples();
        for seed in 0..20 {
            let side = validation(&groups, Share::Fraction(0.25), seed).unwrap();
            for (i, group) in groups.iter().enumerate() {
                let same = groups.iter().position(|other| other == group).unwrap();
                assert_eq!(side[i], side[same]);
            }
            let n = side.iter().filter(|is| **is).count();
            // As near as half of the largest group.
            assert!(n.abs_diff(205) <= 20, "{n} of {}", groups.len());
            // Only the groups count, not where their samples are.
            let mut turned: Vec<u64> = groups.clone();
            turned.reverse();
            let mut again = validation(&turned, Share::Fraction(0.25), seed).unwrap();
            again.reverse();
            assert_eq!(side, again);
        }
        let one = validation(&groups, Share::Fraction(0.25), 1).unwrap();
        assert_ne!(one, validation(&groups, Share::Fraction(0.25), 2).unwrap());
    }

    #[test]
    fn each_group_is_in_one_fold_and_folds_are_alike() {
        let groups = samples();
        let mut times = vec![0; groups.len()];
        for number in 1..=5 {
            let fold = validation(&groups, Share::Fold(Fold { number, of: 5 }), 3).unwrap();
            let n = fold.iter().filter(|is| **is).count();
            assert!(n.abs_diff(groups.len() / 5) <= 2, "{n}");
            times.iter_mut().zip(&fold).for_each(|(times, is)| *times += usize::from(*is));
        }
        assert!(times.iter().all(|n| *n == 1));
    }

    #[test]
    fn few_and_large_groups() {
        let one = validation(&[5; 9], Share::Fraction(0.2), 0).unwrap_err();
        assert!(one.contains("one group only"), "{one}");
        let few = validation(&[5, 6, 5], Share::Fold(Fold { number: 1, of: 3 }), 0).unwrap_err();
        assert!(few.contains("2 groups, too few for 3 folds"), "{few}");
        // Each is larger than the share: the smaller one is held out.
        let side = validation(&[5, 5, 5, 6, 6], Share::Fraction(0.1), 0).unwrap();
        assert_eq!(side, [false, false, false, true, true]);
        // A side never gets all.
        let side = validation(&[5, 6], Share::Fraction(0.99), 0).unwrap();
        assert_eq!(side.iter().filter(|is| **is).count(), 1);
    }
}
