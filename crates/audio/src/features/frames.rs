//! Cuts a stream of samples into frames that overlap.

/// What a frame at the ends of the audio is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edges {
    /// There is none: frame `i` begins at sample `i * shift`.
    Snip,
    /// Kaldi's `snip_edges = false`: the middle of frame `i` is that of its shift; the audio is mirrored, and the
    /// last sample comes twice.
    Mirror,
    /// `torch.stft`: the middle of frame `i` is sample `i * shift`; the audio is mirrored about its last sample.
    Stft,
}

/// The samples that frames to come still need, and which frame is next.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    /// Samples of a frame.
    len: usize,
    shift: usize,
    edges: Edges,
    /// Samples from number `first` on.
    pending: Vec<f32>,
    first: u64,
    /// Samples so far.
    total: u64,
    next: u64,
    /// A frame that is mirrored.
    mirrored: Vec<f32>,
}

/// Samples that are taken in at a time: they stay in the first cache.
const PIECE: usize = 4096;

impl Frames {
    pub(super) fn new(len: usize, shift: usize, edges: Edges) -> Frames {
        Frames {
            len,
            shift,
            edges,
            pending: Vec::with_capacity(len + PIECE),
            first: 0,
            total: 0,
            next: 0,
            mirrored: vec![0.0; len],
        }
    }

    /// How many frames audio of so many samples has.
    pub(super) fn count(&self, samples: u64) -> u64 {
        let (len, shift) = (self.len as u64, self.shift as u64);
        match self.edges {
            Edges::Snip => samples.checked_sub(len).map_or(0, |rest| rest / shift + 1),
            Edges::Mirror => (samples + shift / 2) / shift,
            Edges::Stft => samples / shift,
        }
    }

    /// The number of the first sample of a frame; below 0 before the audio.
    fn begin(&self, frame: u64) -> i64 {
        let (len, shift, at) = (self.len as i64, self.shift as i64, frame as i64);
        match self.edges {
            Edges::Snip => at * shift,
            Edges::Mirror => at * shift + shift / 2 - len / 2,
            Edges::Stft => at * shift - len / 2,
        }
    }

    /// Takes samples, and gives each frame that is complete.
    pub(super) fn push(&mut self, samples: &[f32], mut frame: impl FnMut(&[f32])) {
        for piece in samples.chunks(PIECE) {
            self.pending.extend_from_slice(piece);
            self.total += piece.len() as u64;
            // With mirrored ends the last frames begin within the audio, but are fewer than frames that fit.
            loop {
                let begin = self.begin(self.next);
                if begin + self.len as i64 > self.total as i64 {
                    break;
                }
                self.give(begin, &mut frame);
            }
            let keep = self.begin(self.next).max(0) as u64;
            let drop = (keep.saturating_sub(self.first) as usize).min(self.pending.len());
            self.pending.drain(..drop);
            self.first += drop as u64;
        }
    }

    /// The audio is over: gives the frames that reach beyond its end, and begins again.
    pub(super) fn finish(&mut self, mut frame: impl FnMut(&[f32])) {
        while self.next < self.count(self.total) {
            self.give(self.begin(self.next), &mut frame);
        }
        self.pending.clear();
        (self.first, self.total, self.next) = (0, 0, 0);
    }

    fn give(&mut self, begin: i64, frame: &mut impl FnMut(&[f32])) {
        self.next += 1;
        let first = self.first as i64;
        if begin >= 0 && begin + self.len as i64 <= self.total as i64 {
            let at = (begin - first) as usize;
            return frame(&self.pending[at..at + self.len]);
        }
        for (i, value) in self.mirrored.iter_mut().enumerate() {
            let sample = mirror(begin + i as i64, self.total as i64, self.edges);
            *value = self.pending[(sample - first) as usize];
        }
        frame(&self.mirrored);
    }
}

/// The sample that stands at `index`, which may be before or after the audio.
fn mirror(mut index: i64, total: i64, edges: Edges) -> i64 {
    // Between one sample and the next about which the audio is mirrored.
    let gap = i64::from(edges != Edges::Stft);
    if total == 1 {
        return 0;
    }
    loop {
        if index < 0 {
            index = -index - gap;
        } else if index >= total {
            index = 2 * (total - 1) + gap - index;
        } else {
            return index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(edges: Edges, samples: &[f32], cut: usize) -> Vec<Vec<f32>> {
        let mut frames = Frames::new(5, 2, edges);
        let mut out = Vec::new();
        for piece in samples.chunks(cut) {
            frames.push(piece, |f| out.push(f.to_vec()));
        }
        frames.finish(|f| out.push(f.to_vec()));
        assert_eq!(out.len() as u64, frames.count(samples.len() as u64));
        out
    }

    #[test]
    fn frames_are_the_same_however_samples_are_cut() {
        for edges in [Edges::Snip, Edges::Mirror, Edges::Stft] {
            for n in 0..40 {
                let samples: Vec<f32> = (0..n).map(|i| i as f32).collect();
                let want = all(edges, &samples, 1000);
                for cut in [1, 2, 3, 7] {
                    assert_eq!(all(edges, &samples, cut), want, "{edges:?}, {n} samples");
                }
            }
        }
    }

    #[test]
    fn ends_are_mirrored() {
        let samples: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let want =
            [[0.0, 0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0], [3.0, 4.0, 5.0, 5.0, 4.0]];
        assert_eq!(all(Edges::Mirror, &samples, 2), want);
        let want =
            [[2.0, 1.0, 0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0, 4.0]];
        assert_eq!(all(Edges::Stft, &samples, 2), want);
        assert_eq!(all(Edges::Snip, &samples, 2), [[0.0, 1.0, 2.0, 3.0, 4.0]]);
    }
}
