#![allow(clippy::unwrap_used)]

use super::*;
use crate::engine::StateValues;
use crate::metrics::{Meter, Metric, Task};

fn tensors(value: f32) -> Vec<StateTensor> {
    vec![
        StateTensor {
            name: "layers.0.dense.kernel".into(),
            shape: vec![2, 3],
            parameter: true,
            values: vec![value, -0.0, 1e-40, f32::MIN_POSITIVE, 3.0, 4.5].into(),
        },
        StateTensor {
            name: "layers.0.dense.bias".into(),
            shape: vec![3],
            parameter: true,
            values: vec![value; 3].into(),
        },
        StateTensor {
            name: "layers.0.dense.kernel.m".into(),
            shape: vec![2, 3],
            parameter: false,
            values: vec![0.25_f32; 6].into(),
        },
    ]
}

fn meta(step: u64, tensors: &[StateTensor]) -> Meta {
    Meta {
        step,
        online_steps: 0,
        stream: None,
        position: step * 32,
        epoch: step / 10,
        samples: step * 32,
        seed: 7,
        wall_seconds: 0.1 + 0.2,
        recipe_sha256: "r".into(),
        state_sha256: state_sha256(tensors).unwrap(),
        running: Meter::new(Task::Classes, 3, &[Metric::Accuracy]),
        running_shards: vec![],
        history: vec![],
        best: None,
        class_names: vec!["a".into()],
        known: Default::default(),
        tokenizer: None,
        course: None,
        log: Default::default(),
        slot_age: None,
        spikes: None,
        next_best: vec![],
        has_manifest: true,
    }
}

#[test]
fn comes_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    checkpoints.write(&meta(10, &tensors(1.5)), &tensors(1.5)).unwrap();
    let (found, notices) = checkpoints.newest().unwrap();
    let found = found.unwrap();
    assert!(notices.is_empty());
    assert_eq!(found.meta.step, 10);
    assert_eq!(found.meta.wall_seconds.to_bits(), (0.1f64 + 0.2).to_bits());
    for (a, b) in found.tensors.iter().zip(tensors(1.5)) {
        assert_eq!((&a.name, &a.shape, a.parameter), (&b.name, &b.shape, b.parameter));
        assert_eq!(a.values.bytes().unwrap(), b.values.bytes().unwrap());
    }
}

/// A tensor of each type, with values that no other type holds exactly.
fn of_all_types() -> Vec<StateTensor> {
    let values: [StateValues; 6] = [
        (0..=255).collect::<Vec<u8>>().into(),
        vec![1.5_f32, -0.0, f32::MAX].into(),
        vec![0.1_f64, f64::MIN_POSITIVE].into(),
        vec![(1 << 24) + 1, -1, i32::MIN, i32::MAX].into(),
        vec![(1_u64 << 53) + 1, u64::MAX].into(),
        Vec::<u8>::new().into(),
    ];
    let named = |(i, values): (usize, StateValues)| StateTensor {
        name: format!("some/{i}"),
        shape: vec![values.len()],
        parameter: false,
        values,
    };
    values.into_iter().enumerate().map(named).collect()
}

#[test]
fn values_of_each_type_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let all = of_all_types();
    checkpoints.write(&meta(1, &all), &all).unwrap();
    let found = checkpoints.latest().unwrap().unwrap();
    assert_eq!(found.tensors, all);
    assert_eq!(all[3].elements::<i32>().unwrap()[0], 16_777_217);
    // The fingerprint is one of names and bytes.
    let bytes = all.iter().flat_map(|t| [t.name.as_bytes(), &t.values.bytes().unwrap()].concat());
    assert_eq!(found.meta.state_sha256, sha256(&bytes.collect::<Vec<u8>>()));
}

#[test]
fn another_type_is_an_error_with_the_tensor() {
    let all = of_all_types();
    let error = |tensor: &StateTensor| tensor.elements::<u64>().unwrap_err().to_string();
    assert_eq!(error(&all[0]), "the tensor some/0 is U8, and U64 is expected");
    assert_eq!(
        error(&all[1]),
        "the tensor some/1 is F32, and U64 is expected: the run was written by an earlier version; \
         help: continue it with that version, or start another run"
    );
    let model = tensors(0.0);
    let mut other = tensors(0.0);
    other[1].values = vec![0_i32; 3].into();
    assert_eq!(
        first_difference(&model, &other).unwrap(),
        "layers.0.dense.bias is F32 in the model and I32 in the checkpoint"
    );
}

#[test]
fn a_type_of_other_programs_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(STATE_FILE);
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, vec![1], &[0, 0]);
    let about = std::collections::HashMap::from([("tidemill.order".into(), "x".into())]);
    safetensors::serialize_to_file([("x", view.unwrap())], Some(about), &path).unwrap();
    assert_eq!(read_tensors(&path).unwrap_err(), "x is BF16, which no tensor of a state is");
}

#[test]
fn keeps_the_newest_and_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    for step in 1..=6 {
        let mut meta = meta(step, &tensors(step as f32));
        let best = step.min(2);
        meta.best =
            Some(Best { metric: "validation.loss".into(), value: 0.5, step: best, epoch: best });
        checkpoints.write(&meta, &tensors(step as f32)).unwrap();
    }
    let mut steps = checkpoints.steps().unwrap();
    steps.sort_unstable();
    assert_eq!(steps, [2, 5, 6]);
    let pointer = |n: &str| std::fs::read_to_string(folder.path().join("checkpoints").join(n));
    assert_eq!(pointer("latest").unwrap(), "6");
    assert_eq!(pointer("best").unwrap(), "2");
    assert_eq!(checkpoints.best_or_newest().unwrap().unwrap().meta.step, 2);
}

#[test]
fn torn_ones_are_passed_over_with_a_notice() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 9);
    for step in [10, 20, 30, 40] {
        checkpoints.write(&meta(step, &tensors(step as f32)), &tensors(step as f32)).unwrap();
    }
    let at = |step: &str| folder.path().join("checkpoints").join(step);
    std::fs::remove_file(at("40").join(META_FILE)).unwrap();
    let state = at("30").join(STATE_FILE);
    let mut bytes = std::fs::read(&state).unwrap();
    bytes.truncate(bytes.len() - 5);
    std::fs::write(&state, &bytes).unwrap();
    let state = at("20").join(STATE_FILE);
    let mut bytes = std::fs::read(&state).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&state, &bytes).unwrap();
    std::fs::create_dir(at(".writing-50")).unwrap();
    let (found, notices) = checkpoints.newest().unwrap();
    assert_eq!(found.unwrap().meta.step, 10);
    assert_eq!(notices.len(), 3, "{notices:?}");
}

#[test]
fn no_checkpoint_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (found, notices) = Checkpoints::new(folder.path(), 1).newest().unwrap();
    assert!(found.is_none() && notices.is_empty());
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bad = tensors(f32::NAN);
    let error = Checkpoints::new(folder.path(), 1).write(&meta(5, &bad), &bad).unwrap_err();
    assert_eq!(
        error.to_string(),
        "step 5: layers.0.dense.kernel holds a value that is not finite; no checkpoint is written, \
         the last good one stays"
    );
}

#[test]
fn another_model_is_told_by_its_first_tensor() {
    let model = tensors(0.0);
    assert_eq!(first_difference(&model, &tensors(1.0)), None);
    let mut other = tensors(0.0);
    other[1].shape = vec![4];
    assert_eq!(
        first_difference(&model, &other).unwrap(),
        "layers.0.dense.bias is [3] in the model and [4] in the checkpoint"
    );
    let fewer = &tensors(0.0)[..2];
    assert!(first_difference(&model, fewer).unwrap().contains("dense.kernel.m"));
    assert!(first_difference(fewer, &model).unwrap().contains("the model has not"));
}

#[test]
fn the_thread_writes_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 3);
    let mut writer = Writer::new(checkpoints.clone()).unwrap();
    for step in [1, 2, 3] {
        writer.write(meta(step, &[]), tensors(step as f32)).unwrap();
    }
    writer.wait().unwrap();
    let found = checkpoints.newest().unwrap().0.unwrap();
    assert_eq!(found.meta.step, 3);
    assert_eq!(found.meta.state_sha256, state_sha256(&tensors(3.0)).unwrap());
    writer.write(meta(4, &[]), tensors(f32::INFINITY)).unwrap();
    assert!(writer.wait().is_err());
}

#[cfg(unix)]
#[test]
fn weights_may_be_read_by_whoever_may_read_the_rest() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let written = Checkpoints::new(folder.path(), 1).write(&meta(1, &tensors(1.5)), &tensors(1.5));
    let written = written.unwrap();
    let mode = |file: &str| std::fs::metadata(written.join(file)).unwrap().permissions().mode();
    assert_eq!(mode(STATE_FILE), mode(META_FILE));
}

#[test]
fn the_damaged_one_that_was_asked_for_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 9);
    for step in [10, 20, 30] {
        checkpoints.write(&meta(step, &tensors(step as f32)), &tensors(step as f32)).unwrap();
    }
    let at = |step: &str| folder.path().join("checkpoints").join(step);
    let state = at("30").join(STATE_FILE);
    let mut bytes = std::fs::read(&state).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&state, &bytes).unwrap();
    let error = checkpoints.latest().unwrap_err().to_string();
    for part in ["checkpoints/30: ", "the run's latest one; good are 10, 20: choose one with"] {
        assert!(error.contains(part), "{error}");
    }
    // A resume says what it passes over and continues from the one before.
    assert_eq!(checkpoints.newest().unwrap().0.unwrap().meta.step, 20);
    // The pointer may be on disk before its checkpoint is.
    std::fs::remove_dir_all(at("30")).unwrap();
    assert_eq!(checkpoints.latest().unwrap().unwrap().meta.step, 20);
}

fn flip(path: &Path, bit: usize) {
    use std::io::{Read, Seek, SeekFrom, Write};
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (mut byte, place) = ([0], SeekFrom::Start(bit as u64 / 8));
    file.seek(place).and_then(|_| file.read_exact(&mut byte)).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.seek(place).and_then(|_| file.write_all(&byte)).unwrap();
}

/// Each of 1,000 flipped bits in each file is an error that names the checkpoint.
#[test]
fn a_flipped_bit_is_never_taken_for_a_checkpoint() {
    // In memory where that can be: thousands of small files are written.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    let all = of_all_types();
    let path = checkpoints.write(&meta(7, &all), &all).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for file in [STATE_FILE, META_FILE, manifest::FILE] {
        let file = path.join(file);
        let bits = std::fs::metadata(&file).unwrap().len() as usize * 8;
        for _ in 0..1000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let bit = (state % bits as u64) as usize;
            flip(&file, bit);
            let error = checkpoints.latest().unwrap_err();
            assert!(matches!(error, Error::Checkpoint { .. }), "bit {bit} of {file:?}: {error}");
            flip(&file, bit);
        }
    }
    assert_eq!(checkpoints.latest().unwrap().unwrap().tensors, all);
    std::fs::remove_file(path.join(manifest::FILE)).unwrap();
    let error = checkpoints.latest().unwrap_err().to_string();
    assert!(error.contains("manifest.sha256 is missing"), "{error}");
}

/// What an earlier version wrote has no manifest.
#[test]
fn a_checkpoint_of_an_earlier_version_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    let path = checkpoints.write(&meta(7, &tensors(1.0)), &tensors(1.0)).unwrap();
    std::fs::remove_file(path.join(manifest::FILE)).unwrap();
    let text = std::fs::read_to_string(path.join(META_FILE)).unwrap();
    let old = text.replace(r#","has_manifest":true"#, "");
    assert_ne!(old, text);
    std::fs::write(path.join(META_FILE), old).unwrap();
    let found = checkpoints.latest().unwrap().unwrap();
    // And is written again with one.
    let path = checkpoints.write(&found.meta, &found.tensors).unwrap();
    assert!(path.join(manifest::FILE).is_file());
    assert!(checkpoints.latest().unwrap().is_some());
}

/// What the system refuses to read now is neither absent nor damaged.
#[cfg(unix)]
#[test]
fn what_cannot_be_read_now_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    for step in [10, 20] {
        checkpoints.write(&meta(step, &tensors(1.0)), &tensors(1.0)).unwrap();
    }
    let at = |name: &str| folder.path().join("checkpoints").join(name);
    let unreadable = |path: &Path| {
        let aside = folder.path().join("aside");
        std::fs::rename(path, &aside).unwrap();
        // A loop of links.
        std::os::unix::fs::symlink(path, path).unwrap();
        let error = checkpoints.newest().map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{path:?}: {error}");
        assert!(checkpoints.latest().is_err());
        assert!(checkpoints.clean().is_ok());
        std::fs::remove_file(path).unwrap();
        std::fs::rename(&aside, path).unwrap();
    };
    for file in [STATE_FILE, META_FILE, manifest::FILE] {
        unreadable(&at("20").join(file));
    }
    unreadable(&at("20"));
    assert_eq!(checkpoints.newest().unwrap().0.unwrap().meta.step, 20);
    // Nor is a pointer that cannot be read none.
    std::fs::remove_file(at("latest")).unwrap();
    std::os::unix::fs::symlink(at("latest"), at("latest")).unwrap();
    assert!(matches!(checkpoints.latest(), Err(Error::Io { .. })));
}

#[test]
fn what_killed_writers_leave_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    for step in [10, 20] {
        checkpoints.write(&meta(step, &tensors(1.0)), &tensors(1.0)).unwrap();
    }
    let at = |name: &str| folder.path().join("checkpoints").join(name);
    // Killed between the two renames that replace a checkpoint where folders cannot be exchanged.
    std::fs::rename(at("20"), at(".replaced-20")).unwrap();
    std::fs::create_dir(at(".writing-20")).unwrap();
    std::fs::write(at(".latest.writing"), "20").unwrap();
    assert_eq!(checkpoints.newest().unwrap().0.unwrap().meta.step, 20);
    assert_eq!(checkpoints.latest().unwrap().unwrap().meta.step, 20);
    checkpoints.clean().unwrap();
    let mut names = leftovers::names(&at("")).unwrap();
    names.sort_unstable();
    assert_eq!(names, ["10", "20", "latest", "pointers.sha256"]);
    // And after them.
    std::fs::create_dir(at(".replaced-20")).unwrap();
    checkpoints.clean().unwrap();
    assert!(!at(".replaced-20").exists());
    assert_eq!(checkpoints.latest().unwrap().unwrap().meta.step, 20);
}

#[test]
fn one_of_the_same_step_takes_the_place_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    for value in [1.0, 2.0] {
        checkpoints.write(&meta(10, &tensors(value)), &tensors(value)).unwrap();
        let found = checkpoints.latest().unwrap().unwrap();
        assert_eq!(found.tensors, tensors(value));
    }
    let mut names = leftovers::names(&folder.path().join("checkpoints")).unwrap();
    names.sort_unstable();
    assert_eq!(names, ["10", "latest", "pointers.sha256"]);
}

/// Damaged ones are kept, and the run is never taken for one that has not begun.
#[test]
fn damaged_ones_are_kept_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    checkpoints.write(&meta(10, &tensors(1.0)), &tensors(1.0)).unwrap();
    let at = |name: &str| folder.path().join("checkpoints").join(name);
    checkpoints.keep_damaged(&at("10")).unwrap();
    checkpoints.write(&meta(10, &tensors(2.0)), &tensors(2.0)).unwrap();
    assert_eq!(checkpoints.keep_damaged(&at("10")).unwrap(), at(".damaged-10-2"));
    let error = checkpoints.latest().unwrap_err().to_string();
    assert!(error.contains(".damaged-10") && error.contains("no other checkpoint"), "{error}");
    for step in 20..24 {
        checkpoints.write(&meta(step, &tensors(2.0)), &tensors(2.0)).unwrap();
    }
    assert_eq!(checkpoints.damaged().unwrap().len(), 2);
    assert_eq!(checkpoints.steps().unwrap(), [23]);
    let error = checkpoints.of_step(10).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("there are 23"), "{error}");
}

/// A power cut may keep the checkpoints and lose the pointer to the best one.
#[test]
fn the_best_is_found_without_its_pointer() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    for step in 1..=6 {
        let mut meta = meta(step, &tensors(1.0));
        let best = step.min(2);
        meta.best = Some(Best { metric: "m".into(), value: 0.5, step: best, epoch: best });
        checkpoints.write(&meta, &tensors(1.0)).unwrap();
    }
    std::fs::write(folder.path().join("checkpoints/best"), "7").unwrap();
    assert_eq!(checkpoints.best_or_newest().unwrap().unwrap().meta.step, 2);
}

/// Steps that differ in one bit: no flipped bit makes a pointer one to another checkpoint.
#[test]
fn a_flipped_bit_in_a_pointer_is_harmless() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 9);
    for step in [20, 21, 22, 30, 31, 32] {
        let mut meta = meta(step, &tensors(step as f32));
        let best = step.min(21);
        meta.best = Some(Best { metric: "m".into(), value: 0.5, step: best, epoch: best });
        checkpoints.write(&meta, &tensors(step as f32)).unwrap();
    }
    // As training does at its end when the best weights are asked for.
    checkpoints.point_latest(31).unwrap();
    let steps = || {
        let [latest, best] = [checkpoints.latest(), checkpoints.best_or_newest()];
        [latest, best].map(|found| found.unwrap().unwrap().meta.step)
    };
    assert_eq!(steps(), [31, 21]);
    for name in ["latest", "best", "pointers.sha256"] {
        let path = folder.path().join("checkpoints").join(name);
        for bit in 0..std::fs::metadata(&path).unwrap().len() as usize * 8 {
            flip(&path, bit);
            assert_eq!(steps(), [31, 21], "bit {bit} of {name}");
            flip(&path, bit);
        }
    }
    // Without their sums, as earlier versions left them.
    std::fs::remove_file(folder.path().join("checkpoints/pointers.sha256")).unwrap();
    assert_eq!(steps(), [31, 21]);
}

#[test]
fn a_disk_without_room_for_a_checkpoint_is_found_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    // Also where the run's folder is not there yet.
    let checkpoints = Checkpoints::new(&folder.path().join("a/run"), 2);
    let Some(left) = files::available(folder.path()) else { return };
    let error = checkpoints.room(u64::MAX / 2, 3).unwrap_err().to_string();
    assert!(error.contains("a/run: the disk has") && error.contains("--out"), "{error}");
    let few = checkpoints.room(left / 2, 1_000_000).unwrap().unwrap();
    assert!(few.contains("checkpoint.keep, checkpoint.keep_best"), "{few}");
    assert_eq!(checkpoints.room(1, 1).unwrap(), None);
}

#[test]
fn what_cannot_be_written_says_which_checkpoint_is_left_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    let first = tensors(1.0);
    checkpoints.write(&meta(10, &first), &first).unwrap();
    // Values that end before they should.
    let file = Arc::new(tempfile::tempfile().unwrap());
    let mut second = first.clone();
    let stored = crate::engine::Stored::new(file, 0, 8, crate::engine::Dtype::U8, None);
    second[2].values = StateValues::Stored(stored);
    let error = checkpoints.write(&meta(20, &first), &second).unwrap_err().to_string();
    assert!(
        error.contains("the last checkpoint is that of step 10, from which --resume"),
        "{error}"
    );
    let page = folder.path().join("report.html");
    drop(files::stage(&page, b"half").unwrap());
    let left = std::fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["checkpoints"]);
    files::stage(&page, b"whole").unwrap().rename().unwrap();
    assert_eq!(std::fs::read(&page).unwrap(), b"whole");
}
