//! Alarm for alarm what River 0.26 says, on the streams of `fixtures/drift.json`.

#![allow(clippy::unwrap_used)]

mod streams;

use streams::{Alarms, alarms, fixture};
use tidemill_drift::Detector;

#[test]
fn every_alarm_is_rivers() {
    let fixture = fixture();
    assert_eq!(fixture.streams.len(), 20);
    let (mut compared, mut drifts, mut warnings) = (0, 0, 0);
    for stream in &fixture.streams {
        assert_eq!(stream.alarms.len(), fixture.settings.len());
        for (setting, want) in fixture.settings.iter().zip(&stream.alarms) {
            let mut detector = Detector::new(setting.detector.clone()).unwrap();
            let values = stream.values(setting.errors);
            let found = alarms(&mut detector, &values);
            assert_eq!(&found, want, "{}: {:?}", stream.name, setting.detector);
            assert_eq!(detector.rejected(), 0);
            compared += values.len();
            drifts += want.drifts.len();
            warnings += want.warnings.iter().map(|run| run.1).sum::<usize>();
        }
    }
    println!("{compared} updates, {drifts} drifts, {warnings} warnings");
    assert!(drifts > 4000 && warnings > 10_000);
}

#[test]
fn a_detector_saved_and_restored_anywhere_gives_the_same_alarms() {
    let fixture = fixture();
    let mut random = 1_u64;
    for stream in &fixture.streams {
        for (setting, want) in fixture.settings.iter().zip(&stream.alarms) {
            let mut detector = Detector::new(setting.detector.clone()).unwrap();
            let mut found = Alarms::default();
            let mut next_kill = 0;
            for (i, &x) in stream.values(setting.errors).iter().enumerate() {
                if i == next_kill {
                    let saved = serde_json::to_string(&detector).unwrap();
                    let restored: Detector = serde_json::from_str(&saved).unwrap();
                    assert_eq!(restored, detector);
                    assert_eq!(serde_json::to_string(&restored).unwrap(), saved);
                    detector = restored;
                    // Knuth's MMIX generator; kills 1 to 512 values apart.
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    next_kill += 1 + (random >> 55) as usize;
                }
                found.add(i, detector.update(x));
            }
            assert_eq!(&found, want, "{}: {:?}", stream.name, setting.detector);
        }
    }
}

#[test]
fn a_reset_detector_is_a_new_one() {
    let fixture = fixture();
    let stream = &fixture.streams[0];
    for (setting, want) in fixture.settings.iter().zip(&stream.alarms) {
        let mut detector = Detector::new(setting.detector.clone()).unwrap();
        alarms(&mut detector, &stream.values(setting.errors)[..1234]);
        detector.reset();
        assert_eq!(&alarms(&mut detector, &stream.values(setting.errors)), want);
    }
}
