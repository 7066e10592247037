//! How many workers a training step is worth: its time for each number of them on a network.
//!
//! A message of `n` bytes takes `latency + n / rate` (the model of Hockney 1994, alpha and beta); the exchange is the one that
//! [`tidemill_engine::parallel`] makes. Computing and exchanging do not overlap there, so that their times add up.

use std::str::FromStr;

use serde::Serialize;
use tidemill_engine::data::Shards;
use tidemill_engine::parallel::nodes;

/// A network between workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Network {
    /// Seconds of a message without contents.
    pub latency: f64,
    /// Bytes a second, in one direction.
    pub rate: f64,
}

/// Networks by name, with the latency of TCP and what is left of the rate beside headers.
pub const NAMED: [(&str, Network); 4] = [
    ("1gbe", Network { latency: 50e-6, rate: 0.117e9 }),
    ("10gbe", Network { latency: 30e-6, rate: 1.17e9 }),
    ("25gbe", Network { latency: 15e-6, rate: 2.9e9 }),
    ("100gbe", Network { latency: 12e-6, rate: 11e9 }),
];

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        if let Some((_, network)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*network);
        }
        let number = |text: &str, unit: &str| -> Option<f64> {
            let value: f64 = text.trim().strip_suffix(unit)?.trim().parse().ok()?;
            (value > 0.0 && value.is_finite()).then_some(value)
        };
        let found = text.split_once(',').and_then(|(latency, rate)| {
            Some(Network {
                latency: number(latency, "us")? / 1e6,
                rate: number(rate, "GB/s")? * 1e9,
            })
        });
        found.ok_or_else(|| {
            let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
            format!("must be {}, or a latency and a rate such as 20us,1.2GB/s", names.join(", "))
        })
    }
}

/// What a step consists of on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Parts {
    /// Shards of a batch.
    pub shards: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// Seconds of a shard with its gradients.
    pub shard_seconds: f64,
    /// Seconds of the update.
    pub update_seconds: f64,
    /// Bytes of the sums that workers exchange.
    pub bytes: u64,
}

/// A step by a number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Predicted {
    /// Workers.
    pub workers: usize,
    /// Shards of a batch: those of the recipe, or as many as workers, of the same size.
    pub shards: usize,
    /// Seconds of a step.
    pub seconds: f64,
    /// Those of them in which sums are exchanged.
    pub exchange: f64,
    /// Samples a second.
    pub samples_per_second: f64,
    /// By how much that is more than one worker's.
    pub speedup: f64,
}

impl Predicted {
    /// The share of the workers' time in which they compute what one worker would.
    pub fn efficiency(&self) -> f64 {
        self.speedup / self.workers as f64
    }
}

/// Handing over a message to the operating system, in seconds: what worker 0 does for each other one to begin a step.
const HAND_OVER: f64 = 2e-6;

/// The time of a step by so many workers. More workers than shards get a shard each, of the same size: a larger batch.
pub fn predict(parts: &Parts, workers: usize, network: &Network) -> Predicted {
    let workers = workers.max(1);
    let shards = parts.shards.max(workers);
    let exchange = exchange(parts.bytes as f64, shards, workers, network);
    let computed = |shards: usize| shards as f64 * parts.shard_seconds + parts.update_seconds;
    let seconds = computed(shards.div_ceil(workers)) + exchange;
    let batch = parts.batch as f64 * shards as f64 / parts.shards as f64;
    let samples_per_second = batch / seconds;
    let alone = parts.batch as f64 / computed(parts.shards);
    Predicted {
        workers,
        shards,
        seconds,
        exchange,
        samples_per_second,
        speedup: samples_per_second / alone,
    }
}

fn exchange(bytes: f64, shards: usize, workers: usize, network: &Network) -> f64 {
    if workers == 1 {
        return 0.0;
    }
    let p = workers as f64;
    let begin = network.latency + (p - 1.0) * HAND_OVER;
    let share = (p - 1.0) / p * bytes / network.rate;
    let of_each = shards / workers;
    if workers.is_power_of_two() && shards.is_multiple_of(workers) && of_each.is_power_of_two() {
        return begin + 2.0 * p.log2() * network.latency + 2.0 * share;
    }
    // Shards that are not one node of the tree are sent as several.
    let sent = |worker| nodes(Shards::all(workers).rows(shards, worker));
    let most = (0..workers).map(sent).max().unwrap_or(1) as f64;
    begin + 2.0 * (p - 1.0) * network.latency + (most + 1.0) * share
}

/// The number of workers with the most samples a second, of those whose time is used for more than a half.
pub fn best(all: &[Predicted]) -> Option<&Predicted> {
    let useful = all.iter().filter(|p| p.workers == 1 || p.efficiency() > 0.5 && p.speedup > 1.0);
    useful.max_by(|a, b| a.samples_per_second.total_cmp(&b.samples_per_second))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RESNET: Parts = Parts {
        shards: 8,
        batch: 512,
        shard_seconds: 33e-3,
        update_seconds: 0.3e-3,
        bytes: 1_100_000,
    };
    const MLP: Parts = Parts {
        shards: 8,
        batch: 256,
        shard_seconds: 30e-6,
        update_seconds: 20e-6,
        bytes: 410_000,
    };

    #[test]
    fn large_models_are_worth_many_workers_and_small_ones_none() {
        let network: Network = "25gbe".parse().unwrap();
        let of = |parts: &Parts, workers| predict(parts, workers, &network);
        assert!(of(&RESNET, 512).efficiency() > 0.9, "{:?}", of(&RESNET, 512));
        assert_eq!(of(&RESNET, 512).shards, 512);
        assert_eq!(of(&RESNET, 1).speedup, 1.0);
        let all: Vec<Predicted> = [1, 2, 4, 8].iter().map(|&p| of(&MLP, p)).collect();
        assert_eq!(best(&all).unwrap().workers, 1, "{all:?}");
        let slow: Network = "50us,0.1GB/s".parse().unwrap();
        assert!(predict(&RESNET, 2, &slow).seconds > of(&RESNET, 2).seconds);
    }

    #[test]
    fn numbers_of_workers_that_divide_nothing_send_more() {
        let network: Network = "10gbe".parse().unwrap();
        let cost = |workers| exchange(8e6, 8, workers, &network);
        assert!(cost(3) > cost(2) && cost(3) > cost(4), "{} {} {}", cost(2), cost(3), cost(4));
    }

    #[test]
    fn networks_are_named_or_measured() {
        assert_eq!("20us,1.5GB/s".parse(), Ok(Network { latency: 20e-6, rate: 1.5e9 }));
        for wrong in ["", "40gbe", "20us", "20,1.5", "-1us,1GB/s", "nanus,1GB/s"] {
            assert!(wrong.parse::<Network>().unwrap_err().contains("25gbe"), "{wrong}");
        }
    }
}
