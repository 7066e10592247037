//! Augmentation is a function of (seed, epoch, sample), and does what it says.
#![allow(clippy::unwrap_used, missing_docs)]

use tidemill_audio::augment::{add_noise, gain};
use tidemill_audio::{
    Augment, AugmentSpec, ConcatenateSpec, NoiseColor, NoiseSpec, SpecAugmentSpec,
};

fn tone(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.3).sin() * 0.2).collect()
}

fn all() -> AugmentSpec {
    AugmentSpec {
        speed: vec![0.9, 1.0, 1.1],
        gain_db: Some([-6.0, 6.0]),
        noise: Some(NoiseSpec::default()),
        spec_augment: Some(SpecAugmentSpec::default()),
        concatenate: Some(ConcatenateSpec::default()),
    }
}

#[test]
fn the_same_seed_epoch_and_sample_give_the_same_bits() {
    let augment = Augment::new(&all(), 8000, 5).unwrap();
    let other = Augment::new(&all(), 8000, 6).unwrap();
    let mut sounds = Vec::new();
    for (augment, epoch, sample) in
        [(&augment, 0, 0), (&augment, 1, 0), (&augment, 0, 1), (&other, 0, 0)]
    {
        let sound = augment.sound(epoch, sample, tone(4000));
        assert_eq!(sound, augment.clone().sound(epoch, sample, tone(4000)));
        assert_eq!(sound.len() as u64, augment.num_samples(epoch, sample, 4000));
        assert!(!sounds.contains(&sound), "{epoch} {sample}");
        sounds.push(sound);
    }
    assert_eq!(augment.joined(3, 4, 100), augment.joined(3, 4, 100));
    let lengths: Vec<u64> = (0..50).map(|i| augment.num_samples(0, i, 990)).collect();
    assert!([900, 990, 1100].iter().all(|n| lengths.contains(n)), "{lengths:?}");
}

#[test]
fn without_options_nothing_changes() {
    let augment = Augment::new(&AugmentSpec::default(), 8000, 5).unwrap();
    assert_eq!(augment.sound(1, 2, tone(100)), tone(100));
    let mut frames = tone(100);
    augment.features(1, 2, &mut frames, 10, 0.0);
    assert_eq!(frames, tone(100));
    assert!(augment.joined(1, 2, 9).is_empty());
}

#[test]
fn noise_has_the_level_that_was_asked_for() {
    let power = |x: &[f32]| x.iter().map(|v| f64::from(v * v)).sum::<f64>() / x.len() as f64;
    for (color, snr) in
        [(NoiseColor::White, 10.0), (NoiseColor::Pink, 3.0), (NoiseColor::White, -5.0)]
    {
        let spec = NoiseSpec { snr_db: [snr, snr], color, share: 1.0 };
        let spec = AugmentSpec { noise: Some(spec), ..AugmentSpec::default() };
        let augment = Augment::new(&spec, 8000, 1).unwrap();
        let noisy = augment.sound(0, 0, tone(8000));
        let noise: Vec<f32> = noisy.iter().zip(tone(8000)).map(|(a, b)| a - b).collect();
        let found = 10.0 * (power(&tone(8000)) / power(&noise)).log10();
        assert!((found - snr).abs() < 0.01, "{color:?}: {found}");
        // White noise is not alike from one sample to the next, pink noise is.
        let next: f64 = noise.windows(2).map(|w| f64::from(w[0] * w[1])).sum::<f64>() / 8000.0;
        let likeness = next / power(&noise);
        assert_eq!(likeness > 0.4, color == NoiseColor::Pink, "{color:?}: {likeness}");
        // Silence, and no sample at all.
        assert_eq!(augment.sound(0, 0, vec![0.0; 50]), vec![0.0; 50]);
        assert!(augment.sound(0, 0, vec![]).is_empty());
    }
    let mut samples = vec![1.0, -1.0, 1.0, -1.0, 1.0];
    add_noise(&mut samples, &[1.0, 0.0], 0.0);
    assert!((samples[0] - 1.0 - (5.0_f32 / 3.0).sqrt()).abs() < 1e-6 && samples[1] == -1.0);
    gain(&mut samples, -20.0);
    assert!((samples[1] + 0.1).abs() < 1e-7);
    let half = NoiseSpec { share: 0.5, ..NoiseSpec::default() };
    let half = AugmentSpec { noise: Some(half), ..AugmentSpec::default() };
    let half = Augment::new(&half, 8000, 1).unwrap();
    let noisy = (0..400).filter(|i| half.sound(0, *i, tone(8)) != tone(8)).count();
    assert!((150..250).contains(&noisy), "{noisy}");
}

#[test]
fn masks_hide_whole_frames_and_bins_within_their_limits() {
    let spec = SpecAugmentSpec { time_masks: 1, frequency_masks: 1, ..SpecAugmentSpec::default() };
    let spec = AugmentSpec { spec_augment: Some(spec), ..AugmentSpec::default() };
    let augment = Augment::new(&spec, 8000, 1).unwrap();
    let (mut most_time, mut most_bins) = (0, 0);
    for sample in 0..300 {
        let mut frames = vec![1.0; 100 * 20];
        augment.features(2, sample, &mut frames, 20, 0.0);
        let hidden = |at: &[f32]| at.iter().all(|v| *v == 0.0);
        let time = frames.chunks(20).filter(|f| hidden(f)).count();
        let bins = (0..20)
            .filter(|b| hidden(&frames.iter().skip(*b).step_by(20).copied().collect::<Vec<_>>()))
            .count();
        let shown = frames.iter().filter(|v| **v == 1.0).count();
        assert_eq!(shown, (100 - time) * (20 - bins), "{sample}");
        most_time = most_time.max(time);
        most_bins = most_bins.max(bins);
    }
    assert_eq!((most_time, most_bins), (20, 15));
    // Few frames, none, and more bins of a mask than there are.
    for frames in [0, 1, 3] {
        augment.features(0, 0, &mut vec![1.0; frames * 4], 4, 0.0);
    }
}

#[test]
fn samples_are_joined_with_pauses() {
    let spec = ConcatenateSpec { max: 7, pause: [0.1, 0.2] };
    let spec = AugmentSpec { concatenate: Some(spec), ..AugmentSpec::default() };
    let augment = Augment::new(&spec, 1000, 1).unwrap();
    let joined: Vec<_> = (0..200).map(|i| augment.joined(0, i, 10)).collect();
    for count in 0..7 {
        assert!(joined.iter().any(|j| j.len() == count), "{count}");
    }
    for one in joined.iter().flatten() {
        assert!(one.sample < 10 && (100..=200).contains(&one.pause), "{one:?}");
    }
    assert!(augment.joined(0, 0, 0).is_empty());
}

#[test]
fn wrong_options_are_refused_with_their_names() {
    for (text, wanted) in [
        (r#"{"speed": [1.0, 0.0]}"#, "augment.speed = 0"),
        (r#"{"gain_db": [3.0, -3.0]}"#, "augment.gain_db = [3, -3]"),
        (r#"{"noise": {"snr_db": [0.0, 1e9]}}"#, "augment.noise.snr_db"),
        (r#"{"noise": {"share": 2.0}}"#, "augment.noise.share = 2"),
        (r#"{"spec_augment": {"time_share": -1.0}}"#, "time_share = -1"),
        (r#"{"concatenate": {"max": 0}}"#, "augment.concatenate.max = 0"),
        (r#"{"concatenate": {"pause": [-1.0, 1.0]}}"#, "augment.concatenate.pause"),
    ] {
        let spec: AugmentSpec = serde_json::from_str(text).unwrap();
        let error = Augment::new(&spec, 8000, 0).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    assert!(Augment::new(&AugmentSpec::default(), 1, 0).is_err());
}
