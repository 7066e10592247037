//! The real datasets in the project's data folder, or where `TIDEMILL_DATA` says.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tidemill_data::images::{BrokenFiles, Cache, ColorMode, LabelMode, Subset};
use tidemill_data::spec::class_counts;
use tidemill_data::table::{LabelType, Missing};
use tidemill_data::{
    DataSpec, Dataset, IdxSpec, ImageDirectorySpec, InputSpec, LabelKind, Like, Loader,
    LoaderOptions, Order, TableSpec, Truth,
};

/// The file or folder `name`; says so on standard error where it is absent.
fn found(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TIDEMILL_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = root.join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is absent; set TIDEMILL_DATA", path.display());
        return None;
    }
    Some(path)
}

fn open(spec: DataSpec, want: InputSpec) -> Option<Arc<dyn Dataset>> {
    found(spec.path())?;
    let start = Instant::now();
    let data = spec.open(&|name| found(name).unwrap_or_else(|| name.into()), want).unwrap();
    eprintln!("{}: {} samples in {:.0?}", spec.path(), data.len(), start.elapsed());
    Some(data.into())
}

fn idx(folder: &str, part: &str) -> DataSpec {
    DataSpec::Idx(IdxSpec {
        images: format!("{folder}/{part}-images-idx3-ubyte.gz"),
        labels: Some(format!("{folder}/{part}-labels-idx1-ubyte.gz")),
        ..IdxSpec::default()
    })
}

fn image(height: usize, width: usize, channels: usize) -> InputSpec {
    InputSpec::Image { height, width, channels }
}

#[test]
fn mnist() {
    let Some(train) = open(idx("mnist", "train"), image(28, 28, 1)) else { return };
    let counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949];
    assert_eq!(class_counts(train.as_ref()), counts);
    assert_eq!(train.read(0).unwrap().truth(0), Truth::Class(5));
    let sum_of = |x: &[f32]| x.iter().map(|&v| f64::from(v)).sum::<f64>();
    let sum: f64 = (0..train.len()).map(|i| sum_of(train.read(i).unwrap().x())).sum();
    // The well-known mean pixel of MNIST.
    assert!((sum / (60_000.0 * 784.0) - 0.1307).abs() < 1e-4);

    let test = open(idx("mnist", "t10k"), InputSpec::Features(784)).unwrap();
    let counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009];
    assert_eq!(class_counts(test.as_ref()), counts);
}

#[test]
fn a_shape_that_does_not_fit_the_model_is_told() {
    let Some(_) = found("mnist") else { return };
    let resolve = |name: &str| found(name).unwrap();
    let error = idx("mnist", "t10k").open(&resolve, image(32, 32, 3)).err().unwrap().to_string();
    assert!(error.contains("[28, 28, 1], the model's input is [32, 32, 3]"), "{error}");
}

#[test]
fn fashion_mnist() {
    let Some(train) = open(idx("fashion_mnist", "train"), InputSpec::Any) else { return };
    assert_eq!(class_counts(train.as_ref()), [6000; 10]);
}

fn cifar(part: &str) -> ImageDirectorySpec {
    let mut spec = ImageDirectorySpec::new("cifar10_jpg_subset/cifar10_jpg_subset.tar.gz");
    spec.root = Some(format!("cifar10_jpg_subset/{part}"));
    spec
}

/// One pass through a loader: samples, and a checksum of all values in order.
fn pass(data: Arc<dyn Dataset>, threads: usize) -> (usize, f64) {
    let options = LoaderOptions {
        threads: Some(threads),
        epochs: Some(1),
        ..LoaderOptions::new(32, Order::Shuffled { seed: 3 })
    };
    let mut loader = Loader::new(data, options).unwrap();
    let (mut samples, mut sum) = (0, 0.0);
    while let Some(batch) = loader.next_batch().unwrap() {
        samples += batch.len;
        for (i, v) in batch.x().iter().enumerate() {
            sum += f64::from(*v) * (i % 97) as f64;
        }
    }
    (samples, sum)
}

#[test]
fn cifar_inside_its_archive() {
    let spec = DataSpec::ImageDirectory(cifar("train"));
    let Some(train) = open(spec.clone(), image(32, 32, 3)) else { return };
    assert_eq!(train.class_names()[0], "airplane");
    assert_eq!(class_counts(train.as_ref()), [1000; 10]);
    assert!(train.describe(0).ends_with("cifar10_jpg_subset.tar.gz:airplane/0000.jpg"));
    let start = Instant::now();
    let one = pass(train.clone(), 0);
    eprintln!("10,000 CIFAR images decoded on one thread in {:.0?}", start.elapsed());
    let two = pass(train, 2);
    assert_eq!((one.0, one), (10_000, two));
    let test = DataSpec::ImageDirectory(cifar("test"));
    let like = spec.open(&|n| found(n).unwrap(), image(32, 32, 3)).unwrap();
    let test = test.open_like(&|n| found(n).unwrap(), image(32, 32, 3), None, || {
        Some(Like::of(like.as_ref()))
    });
    assert_eq!(class_counts(test.unwrap().as_ref()), [200; 10]);
}

#[test]
fn cifar_split_and_label_modes() {
    let mut spec = cifar("train");
    spec.validation_split = Some(tidemill_data::images::Share::Fraction(0.2));
    spec.seed = 7;
    spec.label_mode = LabelMode::Categorical;
    let side = |subset| {
        let mut spec = spec.clone();
        spec.subset = Some(subset);
        open(DataSpec::ImageDirectory(spec), image(32, 32, 3))
    };
    let Some(train) = side(Subset::Training) else { return };
    let val = side(Subset::Validation).unwrap();
    assert_eq!((train.len(), val.len()), (8000, 2000));
    let mut names: Vec<String> = (0..8000).map(|i| train.describe(i)).collect();
    names.extend((0..2000).map(|i| val.describe(i)));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 10_000);
    assert_eq!(val.label_kind(), LabelKind::Values { len: 10 });
    let last = val.read(1999).unwrap();
    assert_eq!(last.targets(), [0., 0., 0., 0., 0., 0., 0., 0., 0., 1.]);
}

#[test]
fn imagenet_photos_decode_upright() {
    let mut spec = ImageDirectorySpec::new("imagenet_sample_150/imagenet_sample_150.tar");
    spec.root = Some("imagenet_sample_150".into());
    spec.image_size = Some([96, 96]);
    spec.crop_to_aspect_ratio = true;
    spec.cache = Cache::Never;
    let start = Instant::now();
    let Some(data) = open(DataSpec::ImageDirectory(spec), InputSpec::Any) else { return };
    assert_eq!((data.len(), data.num_classes()), (150, Some(150)));
    for i in 0..data.len() {
        let row = data.read(i).unwrap();
        assert_eq!(row.truth(0), Truth::Class(i));
        let x = row.x();
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        assert!((0.02..0.98).contains(&mean), "{}: mean {mean}", data.describe(i));
    }
    eprintln!("150 photos decoded and resized on one thread in {:.0?}", start.elapsed());
}

#[test]
fn an_archive_whose_top_is_no_folder_of_classes_is_told() {
    let Some(path) = found("imagenet_sample_150/imagenet_sample_150.tar") else { return };
    let spec = DataSpec::ImageDirectory(ImageDirectorySpec::new("photos.tar"));
    let error = spec.open(&|_| path.clone(), image(8, 8, 3)).err().unwrap().to_string();
    assert!(error.contains("root = \"imagenet_sample_150\""), "{error}");
}

fn csv(path: &str, edit: impl FnOnce(&mut TableSpec)) -> Option<Arc<dyn Dataset>> {
    let mut spec = TableSpec::new(path);
    spec.label = Some((-1).into());
    edit(&mut spec);
    open(DataSpec::Csv(spec), InputSpec::Any)
}

#[test]
fn tables() {
    if let Some(data) = csv("electricity/elec.csv.gz", |s| s.label = Some("class".into())) {
        assert_eq!(data.sample_shape(), [6]);
        assert_eq!(class_counts(data.as_ref()), [26_075, 19_237]);
    }
    if let Some(data) = csv("weather_noaa/weather.csv.gz", |s| s.label = Some("target".into())) {
        assert_eq!(class_counts(data.as_ref()), [12_461, 5698]);
    }
    if let Some(data) = csv("covertype_20k/covtype.20k.data.gz", |_| {}) {
        assert_eq!((data.len(), data.sample_len(), data.num_classes()), (20_000, 54, Some(7)));
    }
    if let Some(data) = csv("kddcup99/kddcup.data_10_percent.gz", |_| {}) {
        // Three of the 41 columns are texts.
        let found = (data.len(), data.sample_len(), data.num_classes());
        assert_eq!(found, (494_021, 38 + 3 * 65, Some(23)));
        assert!(data.class_names().contains(&"smurf.".into()));
    }
    let pm25 = csv("beijing_pm25/PRSA_data_2010.1.1-2014.12.31.csv.gz", |s| {
        s.label = Some("pm2.5".into());
        s.label_type = Some(LabelType::Value);
        s.missing = Missing::Skip;
    });
    if let Some(data) = pm25 {
        assert_eq!((data.len(), data.num_skipped()), (43_824 - 2066, 2066));
    }
}

#[test]
fn adult_census_is_read_alike_for_training_and_test() {
    let Some(train) = csv("adult_census/adult.data.gz", |_| {}) else { return };
    assert_eq!(train.class_names(), ["<=50K", ">50K"]);
    assert_eq!((train.len(), train.num_skipped(), train.sample_len()), (32_561, 0, 6 + 8 * 65));
    let note = "2399 of 32561 rows lack values (c2: 1836, c7: 1843, c14: 583)";
    assert_eq!(train.notes(), [note]);
    // The test file has a dot after each label.
    let mut spec = TableSpec::new("adult_census/adult.test.gz");
    spec.class_names = ["<=50K.", ">50K."].map(String::from).to_vec();
    let resolve = |n: &str| found(n).unwrap();
    let test = DataSpec::Csv(spec)
        .open_like(&resolve, InputSpec::Any, None, || Some(Like::of(train.as_ref())))
        .unwrap();
    assert_eq!(test.class_names(), train.class_names());
    assert_eq!((test.len(), class_counts(test.as_ref())), (16_281, vec![12_435, 3846]));
}

#[test]
fn broken_files_by_policy() {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for (class, name, broken) in
        [("a", "0.png", false), ("a", "1.png", true), ("b", "2.png", false)]
    {
        std::fs::create_dir_all(dir.path().join(class)).unwrap();
        let bytes = std::fs::read(fixtures.join("grey.png")).unwrap();
        let end = if broken { 60 } else { bytes.len() };
        std::fs::write(dir.path().join(class).join(name), &bytes[..end]).unwrap();
    }
    for cache in [Cache::Always, Cache::Never] {
        let mut spec = ImageDirectorySpec::new("d");
        spec.color_mode = Some(ColorMode::Grayscale);
        spec.image_size = Some([16, 24]);
        spec.cache = cache;
        let open = |spec: ImageDirectorySpec| -> Arc<dyn Dataset> {
            let spec = DataSpec::ImageDirectory(spec);
            spec.open(&|_| dir.path().into(), InputSpec::Any).unwrap().into()
        };
        let error = open(spec.clone()).read(1).unwrap_err().to_string();
        assert!(error.contains("a/1.png: cannot be decoded as an image"), "{error}");

        spec.broken_files = BrokenFiles::Skip;
        let skip = open(spec);
        for _ in 0..2 {
            let mut loader = Loader::new(skip.clone(), LoaderOptions::one_pass(3)).unwrap();
            let batch = loader.next_batch().unwrap().unwrap();
            assert_eq!((&batch.weights[..], batch.num_skipped), (&[1.0, 0.0, 1.0][..], 1));
        }
        assert_eq!(skip.num_skipped(), 1);
        assert!(skip.skipped_examples()[0].contains("a/1.png"));
        assert!(skip.raw_image(1).unwrap().is_none());
    }
}
