//! The data sections of recipes, as users write them.
#![allow(clippy::unwrap_used)]

use serde::{Deserialize, Serialize};
use tidemill_data::images::{Cache, ColorMode, Share, Subset};
use tidemill_data::table::{ColumnName, Missing};
use tidemill_data::{DataSpec, ImageDirectorySpec, TableSpec};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Section {
    data: DataSpec,
}

fn parse(text: &str) -> DataSpec {
    let section: Section = toml::from_str(text).unwrap();
    // What is written back means the same.
    let again: Section = toml::from_str(&toml::to_string(&section).unwrap()).unwrap();
    assert_eq!(section, again);
    section.data
}

#[test]
fn image_directory() {
    let spec = parse(
        r#"data = { image_directory = { path = "digits/train", image_size = [28, 28],
           color_mode = "grayscale", validation_split = 0.2, subset = "training", seed = 1 } }"#,
    );
    let mut want = ImageDirectorySpec::new("digits/train");
    want.image_size = Some([28, 28]);
    want.color_mode = Some(ColorMode::Grayscale);
    want.validation_split = Some(Share::Fraction(0.2));
    want.subset = Some(Subset::Training);
    want.seed = 1;
    assert_eq!(spec, DataSpec::ImageDirectory(want));
    assert_eq!(
        parse(r#"data = { image_directory = { path = "x" } }"#),
        DataSpec::ImageDirectory(ImageDirectorySpec::new("x"))
    );
    for (text, cache) in [
        ("true", Cache::Always),
        ("false", Cache::Never),
        ("\"auto\"", Cache::Auto),
        ("1000", Cache::Bytes(1000)),
    ] {
        let spec =
            parse(&format!("data = {{ image_directory = {{ path = \"x\", cache = {text} }} }}"));
        let DataSpec::ImageDirectory(spec) = spec else { panic!() };
        assert_eq!(spec.cache, cache);
    }
}

#[test]
fn tables() {
    let spec = parse(r#"data = { csv = { path = "a.csv", label = "class" } }"#);
    let mut want = TableSpec::new("a.csv");
    want.label = Some("class".into());
    assert_eq!(spec, DataSpec::Csv(want));
    let spec = parse(
        r#"data = { csv = { path = "a", header = false, label = -1, missing = { fill = 0.5 },
           features = [0, 3], delimiter = "\t", normalize = { mean = [1, 2], std = [3, 4] } } }"#,
    );
    let DataSpec::Csv(spec) = spec else { panic!() };
    assert_eq!((spec.label, spec.delimiter), (Some(ColumnName::Index(-1)), Some('\t')));
    assert_eq!(spec.missing, Missing::Fill(0.5));
    let spec = parse(r#"data = { table = { path = "a.jsonl", format = "json_lines" } }"#);
    assert_eq!(spec.path(), "a.jsonl");
}

#[test]
fn idx_files() {
    let spec = parse(r#"data = { idx = { images = "i.gz", labels = "l.gz", limit = 100 } }"#);
    assert_eq!(spec.path(), "i.gz");
}

#[test]
fn unknown_keys_are_errors() {
    for text in [
        r#"data = { image_directory = { path = "x", color = "rgb" } }"#,
        r#"data = { image_directory = { path = "x", color_mode = "blue" } }"#,
        r#"data = { csv = { path = "x", label_column = "y" } }"#,
        r#"data = { idx = { image = "x" } }"#,
        r#"data = { parquet = { path = "x" } }"#,
    ] {
        let error = toml::from_str::<Section>(text).unwrap_err().to_string();
        assert!(error.contains("unknown"), "{error}");
    }
}
