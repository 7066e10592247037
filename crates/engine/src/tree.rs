//! The sum of the shards of a batch, over a balanced binary tree in their order.
//!
//! Sums of floats depend on how they are put in brackets, so that the brackets are part of what a recipe
//! says: those of `((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))` for eight shards, whoever computes them. Node
//! `i` of level `k` is the sum of the shards from `i 2^k` to before `(i + 1) 2^k`. Where there are no shards
//! for a right half, a node is its left half.

use std::ops::Range;

/// Part of a sum: one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// It spans `2^level` shards.
    pub level: u32,
    /// Its number among the nodes of its level.
    pub index: usize,
    /// The sums.
    pub values: Vec<f32>,
}

/// Nodes that have been given from left to right, as far as they can be added.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Memory of nodes that have become part of others.
    spare: Vec<Vec<f32>>,
}

impl Tree {
    /// Takes the node that follows the ones before it.
    pub fn push(&mut self, level: u32, index: usize, values: &[f32], threads: usize) {
        match self.nodes.last_mut() {
            Some(left) if is_right_of(left, level, index) => {
                add(&mut left.values, values, threads);
                left.level += 1;
                left.index /= 2;
                self.settle(threads);
            }
            _ => {
                let mut memory = self.spare.pop().unwrap_or_default();
                memory.clear();
                memory.extend_from_slice(values);
                self.nodes.push(Node { level, index, values: memory });
            }
        }
    }

    /// Adds the last two nodes as long as they are the halves of one.
    fn settle(&mut self, threads: usize) {
        while let [.., left, right] = self.nodes.as_mut_slice()
            && is_right_of(left, right.level, right.index)
        {
            add(&mut left.values, &right.values, threads);
            left.level += 1;
            left.index /= 2;
            if let Some(right) = self.nodes.pop() {
                self.spare.push(right.values);
            }
        }
    }

    /// The nodes that are there, from left to right.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The values of the only node; none where there are more of them, or none.
    pub fn only(&mut self) -> Option<&mut [f32]> {
        match self.nodes.as_mut_slice() {
            [node] => Some(&mut node.values),
            _ => None,
        }
    }

    /// The sum, once all shards are in.
    pub fn finish(&mut self, threads: usize) -> &[f32] {
        while let [.., left, right] = self.nodes.as_mut_slice() {
            add(&mut left.values, &right.values, threads);
            if let Some(right) = self.nodes.pop() {
                self.spare.push(right.values);
            }
        }
        self.nodes.first().map_or(&[], |node| &node.values)
    }

    /// Makes the tree a whole sum of `len` values, which are for the caller to fill in.
    pub fn replace(&mut self, len: usize) -> &mut [f32] {
        self.clear();
        let mut values = self.spare.pop().unwrap_or_default();
        values.resize(len, 0.0);
        self.nodes.push(Node { level: u32::MAX, index: 0, values });
        &mut self.nodes[0].values
    }

    /// Forgets the nodes, and keeps their memory.
    pub fn clear(&mut self) {
        self.spare.extend(self.nodes.drain(..).map(|node| node.values));
    }
}

/// The nodes that the shards of a range add up to: level and number, from left to right.
pub fn spans(shards: Range<usize>) -> Vec<(u32, usize)> {
    let (mut at, mut spans) = (shards.start, Vec::new());
    while at < shards.end {
        let level = at.trailing_zeros().min((shards.end - at).ilog2());
        spans.push((level, at >> level));
        at += 1 << level;
    }
    spans
}

/// Whether a node and the one to its left are the halves of a third.
fn is_right_of(left: &Node, level: u32, index: usize) -> bool {
    left.level == level && left.index + 1 == index && index % 2 == 1
}

/// Values that are worth a thread.
const PIECE: usize = 1 << 17;

/// `to += from`, by several threads where there is much.
pub(crate) fn add(to: &mut [f32], from: &[f32], threads: usize) {
    both(to, from, threads, |to, from| {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    });
}

/// Calls `f` for the pieces of two slices of one length.
pub(crate) fn both(
    to: &mut [f32],
    from: &[f32],
    threads: usize,
    f: impl Fn(&mut [f32], &[f32]) + Sync,
) {
    let pieces = (to.len() / PIECE).min(threads);
    if pieces < 2 {
        return f(to, from);
    }
    let size = to.len().div_ceil(pieces);
    std::thread::scope(|scope| {
        let mut pairs = to.chunks_mut(size).zip(from.chunks(size));
        let own = pairs.next();
        for (to, from) in pairs {
            scope.spawn(|| f(to, from));
        }
        if let Some((to, from)) = own {
            f(to, from);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition.
    fn sum(leaves: &[f32]) -> f32 {
        if let [one] = leaves {
            return *one;
        }
        let half = leaves.len().next_power_of_two() / 2;
        sum(&leaves[..half]) + sum(&leaves[half..])
    }

    fn leaf(shard: usize) -> f32 {
        (shard as f32 + 1.0).sqrt() * if shard % 3 == 1 { -1e3 } else { 1.0 }
    }

    #[test]
    fn the_sum_does_not_depend_on_who_computes_which_shards() {
        for shards in 1..=33 {
            let leaves: Vec<f32> = (0..shards).map(leaf).collect();
            let expected = sum(&leaves);
            for workers in 1..=shards {
                let mut all = Tree::default();
                for worker in 0..workers {
                    let mut own = Tree::default();
                    let range = worker * shards / workers..(worker + 1) * shards / workers;
                    for shard in range.clone() {
                        own.push(0, shard, &[leaf(shard)], 1);
                    }
                    let found: Vec<_> = own.nodes().iter().map(|n| (n.level, n.index)).collect();
                    assert_eq!(found, spans(range));
                    for node in own.nodes() {
                        all.push(node.level, node.index, &node.values, 1);
                    }
                }
                let found = all.finish(1)[0];
                assert_eq!(found.to_bits(), expected.to_bits(), "{shards} by {workers}");
            }
        }
    }

    #[test]
    fn large_sums_are_the_same_by_several_threads() {
        let (a, b): (Vec<f32>, Vec<f32>) =
            (0..3 * PIECE + 5).map(|i| (leaf(i), leaf(i + 7))).unzip();
        let of = |threads| {
            let mut tree = Tree::default();
            tree.push(0, 0, &a, threads);
            tree.push(0, 1, &b, threads);
            tree.finish(threads).to_vec()
        };
        assert_eq!(of(1), of(3));
    }
}
