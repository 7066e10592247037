//! What was found while audio was read.

/// Counts of what a [`Reader`](super::Reader) has read, and of what was wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Samples a second of the source.
    pub source_rate: u32,
    /// Channels of the source.
    pub channels: u16,
    /// Samples of each channel that were read.
    pub source_samples: u64,
    /// Samples that were given, of one channel and at the rate that was asked for.
    pub samples: u64,
    /// Samples of all channels at the end of the range.
    pub clipped: u64,
    /// Samples of all channels that were NaN or infinite, and were taken as 0.
    pub not_finite: u64,
    /// The largest magnitude of a sample.
    pub peak: f32,
    /// Bytes that the header promised and that were not there, and those of a part of a sample.
    pub missing_bytes: u64,
    /// Packets of a compressed file that could not be decoded, and were left out.
    pub damaged_packets: u64,
    /// Samples of each channel that the part that was asked for has beyond the end of the source.
    pub beyond_end: u64,
}

impl Report {
    /// What a user should know, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut warn = |text: String| out.push(text);
        let all = self.source_samples * u64::from(self.channels);
        if self.missing_bytes > 0 {
            warn(format!("is cut off: {} bytes are missing", self.missing_bytes));
        }
        if self.damaged_packets > 0 {
            warn(format!("has {} damaged packets, which were left out", self.damaged_packets));
        }
        if self.beyond_end > 0 {
            let seconds = self.beyond_end as f64 / f64::from(self.source_rate.max(1));
            warn(format!("ends {seconds:.3} s before the end that was asked for"));
        }
        if self.not_finite > 0 {
            warn(format!(
                "has {} samples that are NaN or infinite, which were taken as 0",
                self.not_finite
            ));
        }
        if all == 0 {
            warn("has no samples".into());
        } else if self.peak == 0.0 {
            warn("is silent: all samples are 0".into());
        } else if self.peak > 8.0 {
            let peak = self.peak;
            warn(format!(
                "has samples up to {peak}, not 1: divide them, by 32768 if they are whole numbers of 16 bits"
            ));
        } else if self.clipped * 1000 > all {
            let share = 100.0 * self.clipped as f64 / all as f64;
            warn(format!(
                "is clipped: {share:.1} % of its samples are at the end of the range; record it less loud"
            ));
        }
        out
    }
}
