use super::*;
use crate::{Dataset, LabelKind};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/numpy")
}

/// An array of the fixture's archive as samples, with another one as labels.
fn of(x: &str, y: Option<&str>) -> Result<MemoryDataset> {
    spec(x, y).open(&|name| folder().join(name), None, None)
}

fn spec(x: &str, y: Option<&str>) -> NumpySpec {
    NumpySpec {
        path: Some("arrays.npz".into()),
        x: x.into(),
        y: y.map(str::to_owned),
        ..NumpySpec::default()
    }
}

fn error(x: &str, y: Option<&str>) -> String {
    of(x, y).unwrap_err().to_string()
}

fn inputs(data: &MemoryDataset, index: usize) -> Vec<f32> {
    data.read(index).unwrap().x().to_vec()
}

#[test]
fn what_numpy_saved_is_read() {
    let data = of("x", Some("y")).unwrap();
    assert_eq!((data.len(), data.sample_shape()), (5, vec![4, 3, 1]));
    assert_eq!(data.label_kind(), LabelKind::Class { num_classes: 3 });
    let first = [244.0, 99.0, 52.0].map(|v| v * (1.0 / 255.0));
    assert_eq!(inputs(&data, 0)[..3], first[..]);
    assert_eq!((0..5).map(|i| data.class(i).unwrap()).collect::<Vec<_>>(), [2, 0, 1, 1, 0]);

    let compressed = NumpySpec { path: Some("compressed.npz".into()), ..spec("x", Some("y")) };
    let compressed = compressed.open(&|name| folder().join(name), None, None).unwrap();
    let single = NumpySpec { x: "x.npy".into(), ..NumpySpec::default() };
    let single = single.open(&|name| folder().join(name), None, None).unwrap();
    for i in 0..5 {
        assert_eq!(inputs(&compressed, i), inputs(&data, i));
        assert_eq!(inputs(&single, i), inputs(&data, i));
    }
    assert_eq!(single.label_kind(), LabelKind::None);
}

#[test]
fn orders_and_types_of_values() {
    for (x, second) in [("column_major", [-0.05, 0.86, 1.51]), ("big_endian", [-0.05, 0.86, 1.51])]
    {
        let data = of(x, Some("names")).unwrap();
        assert_eq!(inputs(&data, 1), second, "{x}");
        assert_eq!(data.class_names(), ["ape", "cat", "dog"]);
        assert_eq!(data.class(0), Some(1));
        let few = NumpySpec { limit: Some(2), ..spec(x, Some("targets")) };
        let few = few.open(&|name| folder().join(name), None, None).unwrap();
        assert_eq!((few.len(), few.label_kind()), (2, LabelKind::Values { len: 1 }));
        assert_eq!(inputs(&few, 1), second, "{x}");
    }
    let yes = of("x", Some("yes")).unwrap();
    assert_eq!((yes.class(0), yes.class(1)), (Some(1), Some(0)));
    let known = spec("x", Some("names")).open(
        &|name| folder().join(name),
        Some(&Like { class_names: &["dog", "cat", "ape"].map(String::from), ..Like::default() }),
        None,
    );
    assert_eq!(known.unwrap().class(0), Some(1), "as in the training data");
}

#[test]
fn samples_of_one_run_are_all_bytes_or_none_is() {
    let open = |x: &str, normalize: Option<Normalize>, known: Option<&Known>| {
        let spec = NumpySpec { normalize, ..spec(x, None) };
        spec.open(&|name| folder().join(name), None, known).map_err(|e| e.to_string())
    };
    let (bytes, floats) = (open("x", None, None).unwrap(), of("big_endian", None).unwrap());
    let known = |data: &MemoryDataset| data.known().unwrap().clone();
    assert_eq!(known(&bytes).sample_type.as_deref(), Some("uint8"));
    let float = known(&floats).sample_type.unwrap();
    for (x, known) in [("big_endian", known(&bytes)), ("x", known(&floats))] {
        let error = open(x, None, Some(&known)).unwrap_err();
        for part in ["uint8", &float, "1/255", "astype", "normalize.scale", &format!("array {x}")] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let scaled = Normalize { scale: Some(1.0), ..Normalize::default() };
        assert!(open(x, Some(scaled), Some(&known)).is_ok());
    }
    assert!(open("x", None, Some(&known(&bytes))).is_ok());
    // Floats and integers are both taken as they are.
    assert!(open("column_major", None, Some(&known(&floats))).is_ok());
}

#[test]
fn what_is_wrong_is_said() {
    assert!(error("z", None).contains("has no array z; it has big_endian, column_major"));
    assert!(error("objects", None).contains("Python objects"));
    assert!(error("names", None).contains("samples must be numbers"));
    assert!(error("single", None).contains("a single value"));
    let error = spec("x", Some("column_major")).open(&|name| folder().join(name), None, None);
    assert!(error.is_ok(), "rows of three targets");
    let missing = spec("x", Some("names")).open(
        &|name| folder().join(name),
        Some(&Like { class_names: &["cat".into()], ..Like::default() }),
        None,
    );
    assert!(missing.unwrap_err().to_string().contains("the class \"dog\", which is none of cat"));
}

#[test]
fn damaged_archives_are_errors() {
    let good = std::fs::read(folder().join("arrays.npz")).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let error = |bytes: &[u8]| {
        std::fs::write(temporary.path().join("arrays.npz"), bytes).unwrap();
        let opened = spec("x", None).open(&|name| temporary.path().join(name), None, None);
        opened.unwrap_err().to_string()
    };
    let member = good.windows(5).position(|w| w == b"x.npy").unwrap();
    let start = good[member..].windows(6).position(|w| w == b"\x93NUMPY").unwrap();
    let mut one_value = good.clone();
    // After the header of 128 bytes.
    one_value[member + start + 130] ^= 1;
    assert!(error(&one_value).contains("hecksum"), "{}", error(&one_value));
    assert!(error(&good[..good.len() / 2]).contains("is no .npz archive, or a part of one"));
    assert!(error(b"").contains("is no .npz archive, or a part of one"));
}

#[test]
fn classes_that_are_not_numbered_from_0() {
    let place = || Place { path: "y.npy".into(), array: None };
    let numbers = |values: &[i64], like: Option<&[String]>| {
        let mut names = Vec::new();
        let labels = numbered(&place(), values.to_vec(), like, &mut names);
        (labels.map_err(|e| e.to_string()), names)
    };
    let classes = |of: &[u32]| Ok(Labels::Classes(of.to_vec()));
    let names = |of: &[&str]| of.iter().map(|name| name.to_string()).collect::<Vec<String>>();
    assert_eq!(numbers(&[1, -1, 1], None), (classes(&[1, 0, 1]), names(&["-1", "1"])));
    assert_eq!(numbers(&[3, 1, 2], None), (classes(&[2, 0, 1]), names(&["1", "2", "3"])));
    assert_eq!(numbers(&[2, 0, 2], None), (classes(&[2, 0, 2]), names(&[])));
    // Other data of the run: by its names, and by its numbers where it has none.
    let signs = names(&["-1", "1"]);
    assert_eq!(numbers(&[1, 1], Some(&signs)).0, classes(&[1, 1]));
    assert!(numbers(&[0], Some(&signs)).0.unwrap_err().contains("has the class 0"));
    assert_eq!(numbers(&[1, 2], Some(&[])).0, classes(&[1, 2]));
    assert!(numbers(&[-1], Some(&[])).0.unwrap_err().contains("has the class -1"));
}

#[test]
fn integers_that_floats_would_round_are_errors() {
    let place = Place { path: "x.npy".into(), array: Some("ids".into()) };
    let at_most = [16_777_216, -16_777_216, 1 << 40];
    assert_eq!(floats(&place, &at_most, 1, "sample").unwrap(), at_most.map(|v| v as f32));
    for wrong in [16_777_217, -16_777_217, i64::MAX, (1 << 40) + 1] {
        let error = floats(&place, &[1, 2, 3, wrong], 2, "sample").unwrap_err().to_string();
        assert!(error.contains(&format!("the integer {wrong} in sample 1")), "{error}");
        assert!(error.contains("x.npy"), "{error}");
    }
}

/// A `.npy` file of this header and these bytes, read.
fn read(header: &str, bytes: &[u8]) -> Result<Array, String> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    npy::read(&mut &file[..], None, false)
}

#[test]
fn damaged_arrays_are_errors() {
    let good = "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }\n";
    let array = read(good, &[1, 0, 0xff, 0xff]).unwrap();
    assert_eq!(array.values, Values::Integers(vec![1, -1]));
    for (header, bytes, message) in [
        (good, &[1, 0, 2][..], "truncated"),
        ("{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }", &[][..], "type \"<f2\""),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9), }",
            &[],
            "impossible",
        ),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999,), }", &[], "truncated"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", &[], "records"),
        ("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }", &[], "cannot be read"),
        ("{}", &[], "cannot be read"),
    ] {
        let error = read(header, bytes).unwrap_err();
        assert!(error.contains(message), "{header}: {error}");
    }
    assert!(
        npy::read(&mut &b"PK\x03\x04abcdefg"[..], None, false)
            .unwrap_err()
            .contains("no NumPy array")
    );
    assert!(npy::read(&mut &b"\x93NUM"[..], None, false).unwrap_err().contains("truncated"));
}

/// Writes an array of doubles.
fn save(folder: &Path, name: &str, dims: &str, values: &[f64]) {
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    std::fs::write(folder.join(name), file).unwrap();
}

fn files(y: &str) -> NumpySpec {
    NumpySpec { x: "x.npy".into(), y: Some(y.into()), ..NumpySpec::default() }
}

#[test]
fn targets_are_standardized_by_the_training_samples() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Of 32 bits, these would all be 1,700,000,000.
    let y: Vec<f64> = (0..100).map(|i| 1.7e9 + f64::from(i * 7 % 13)).collect();
    save(folder, "x.npy", "100, 1", &(0..100).map(f64::from).collect::<Vec<_>>());
    save(folder, "y.npy", "100,", &y);
    save(folder, "two.npy", "100, 2", &[y.clone(), y.clone()].concat());
    let open = |spec: &NumpySpec, known: Option<&Known>| {
        spec.open(&|name| folder.join(name), None, known).map_err(|e| e.to_string())
    };
    let scaled = NumpySpec { scale_targets: true, ..files("y.npy") };
    let target = |data: &MemoryDataset, i: usize| data.read(i).unwrap().truth(0).target(0, 1);
    let (n, mean) = (100.0, y.iter().sum::<f64>() / 100.0);
    let deviation = (y.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let data = open(&scaled, None).unwrap();
    for (i, y) in y.iter().enumerate() {
        let want = (y - mean) / deviation;
        assert!((f64::from(target(&data, i)) - want).abs() < 1e-5, "{i}");
    }
    // Those for validation do not count, and are scaled like the others.
    let side = |subset| {
        let validation_split = Some(Share::Fraction(0.25));
        NumpySpec { validation_split, subset: Some(subset), ..scaled.clone() }
    };
    let training = open(&side(Subset::Training), None).unwrap();
    let of = |data: &MemoryDataset| data.known().unwrap().labels.as_ref().unwrap().scaling();
    assert_ne!(of(&training), of(&data));
    let validation = open(&side(Subset::Validation), None).unwrap();
    assert_eq!(of(&validation), of(&training));
    let other = open(&scaled, training.known()).unwrap();
    assert_eq!((0..100).map(|i| target(&other, i)).collect::<Vec<_>>(), {
        (0..100).map(|i| target(&training, i)).collect::<Vec<_>>()
    });
    let two = NumpySpec { scale_targets: true, ..files("two.npy") };
    assert!(open(&two, None).unwrap_err().contains("has 2 targets for each sample"));
}

#[test]
fn samples_have_weights() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    save(folder, "x.npy", "4, 1", &[1.0, 2.0, 3.0, 4.0]);
    save(folder, "y.npy", "4,", &[1.0, 2.0, 3.0, 4.0]);
    save(folder, "w.npy", "4,", &[1.0, 0.0, 0.5, 2.0]);
    save(folder, "few.npy", "3,", &[1.0; 3]);
    save(folder, "below.npy", "4,", &[1.0, -1.0, 1.0, 1.0]);
    save(folder, "none.npy", "4,", &[0.0; 4]);
    let open = |weights: &str| {
        let spec = NumpySpec { weights: Some(weights.into()), ..files("y.npy") };
        spec.open(&|name| folder.join(name), None, None).map_err(|e| e.to_string())
    };
    let data = open("w.npy").unwrap();
    let weights: Vec<f32> = (0..4).map(|i| data.read(i).unwrap().weights[0]).collect();
    assert_eq!(weights, [1.0, 0.0, 0.5, 2.0]);
    assert!(open("few.npy").unwrap_err().contains("has 3 weights for 4 samples"));
    assert!(open("none.npy").unwrap_err().contains("has the weight 0 for each sample"));
    assert!(open("below.npy").unwrap_err().contains("the weight -1 of sample 1"));
}
