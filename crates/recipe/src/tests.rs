#![allow(clippy::unwrap_used)]

use super::*;
use tidemill_engine::nn::InputSpec;

const ARTICLE: &str = r#"[model]
input  = { image = { height = 28, width = 28, channels = 1 } }
layers = [
    { flatten = {} },
    { dense = { units = 128, activation = "relu" } },
    { dense = { units = 10 } },
]

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 1e-3 } }   # the usual

[batch]
data       = { image_directory = { path = "digits/train" } }
validation = { image_directory = { path = "digits/test" } }
batch_size = 32
epochs     = 10
"#;

fn parse(text: &str, overrides: &[&str]) -> Result<RecipeFile> {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    RecipeFile::parse(text, Path::new("recipe.toml"), &overrides)
}

fn message(text: &str, overrides: &[&str]) -> String {
    parse(text, overrides).unwrap_err().to_string()
}

#[test]
fn the_articles_recipe_is_read() {
    let recipe = parse(ARTICLE, &[]).unwrap().recipe;
    assert_eq!(recipe.model.layers.len(), 3);
    assert_eq!((recipe.batch.batch_size, recipe.batch.epochs), (32, 10));
    assert_eq!(recipe.metrics(), [tidemill_engine::metrics::Metric::Accuracy]);
    assert_eq!(recipe.best_metric().unwrap(), "validation.loss");
}

#[test]
fn a_name_alone_is_a_table_without_keys() {
    let layers = |text: &str| {
        parse(&ARTICLE.replace("{ flatten = {} }", text), &[]).unwrap().recipe.model.layers
    };
    let [alone, table] = ["\"global_avg_pool\"", "{ global_avg_pool = {} }"].map(layers);
    assert_eq!(alone, table);
    for (key, name, want) in [
        (
            "{ dense = { units = 10 } }",
            "\"dense\"",
            "recipe.toml:6: layers[2].dense.units is missing",
        ),
        (
            "[training]",
            "[training]\naverage = \"ema\"",
            "recipe.toml:10: training.average.ema must have a value: write { ema = ... }",
        ),
    ] {
        let error = parse(&ARTICLE.replace(key, name), &[]).unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}");
    }
}

/// What a change of one line gives as an error.
#[test]
fn mistakes_are_told_by_line_and_key() {
    let cases = [
        (
            "units = 128",
            "units = -5",
            "recipe.toml:5: layers[1].dense.units must be a positive integer, found -5",
        ),
        (
            "units = 128",
            "units = \"many\"",
            "recipe.toml:5: layers[1].dense.units must be a positive integer, found \"many\"",
        ),
        (
            "units = 128",
            "unit = 128",
            "recipe.toml:5: layers[1].dense.unit is unknown; did you mean \"units\"?",
        ),
        (
            "{ dense = { units = 10 } }",
            "{ dnse = { units = 10 } }",
            "recipe.toml:6: layers[2].dnse is unknown; did you mean \"dense\"?",
        ),
        ("units = 10 ", "", "recipe.toml:6: layers[2].dense.units is missing"),
        (
            "batch_size = 32",
            "batch_size = 0",
            "recipe.toml:16: batch.batch_size must be a positive integer, found 0",
        ),
        (
            "batch_size = 32",
            "batchsize = 32",
            "recipe.toml:16: batch.batchsize is unknown; did you mean \"batch_size\"?",
        ),
        (
            "epochs     = 10",
            "epochs = 1.5",
            "recipe.toml:17: batch.epochs must be a whole number of 0 or more, found 1.5",
        ),
        (
            "epochs     = 10",
            "epochs = 2026-01-01",
            "recipe.toml:17: batch.epochs must not be a date or a time; in quotes it is a text",
        ),
        (
            "loss      = \"sparse_categorical_crossentropy\"",
            "",
            "recipe.toml:9: training.loss is missing",
        ),
        (
            "sparse_categorical_crossentropy",
            "sparse_categorical_crosentropy",
            "recipe.toml:10: training.loss = \"sparse_categorical_crosentropy\" is unknown; did you \
          mean \"sparse_categorical_crossentropy\"?",
        ),
        ("epochs     = 10", "epochs = = 10", "recipe.toml:17: this is not TOML: "),
        (
            "[training]",
            "[training]\nmetrics = [\"accuracy\", \"acuracy\"]",
            "recipe.toml:10: training.metrics[1] must be one of ",
        ),
        (
            "[training]",
            "[training]\nmetrics = [\"r2\"]",
            "recipe.toml:10: training.metrics[0] = \"r2\" has no meaning for the loss \
          sparse_categorical_crossentropy",
        ),
        (
            "epochs     = 10",
            "epochs = 10\n[online]\nscale_targets = true",
            "recipe.toml:19: online.scale_targets = true has no meaning for the loss \
          sparse_categorical_crossentropy; leave it out",
        ),
        (
            "epochs     = 10",
            "epochs = 10\n[stop]\ntarget = { metric = \"validation.acuracy\", \
          value = 0.9 }",
            "recipe.toml:19: stop.target.metric = \"validation.acuracy\" is unknown; did you mean \
          \"validation.accuracy\"?",
        ),
        (
            "epochs     = 10",
            "epochs = 10\n[chekpoint]\nkeep = 3",
            "recipe.toml:18: chekpoint is unknown; did you mean \"checkpoint\"?",
        ),
        (
            "[training]",
            "[training]\nclass_weight = \"balance\"",
            "recipe.toml:10: training.class_weight must be \"balanced\" or a table of weights, found \
          \"balance\"",
        ),
    ];
    for (from, to, want) in cases {
        let text = ARTICLE.replacen(from, to, 1);
        assert_ne!(text, ARTICLE, "{from}");
        let got = message(&text, &[]);
        assert!(got.starts_with(want), "\n got: {got}\nwant: {want}");
        assert!(!got.contains('\n'), "{got}");
    }
}

/// Layers whose tables toml checks by itself, before our own words are asked for.
#[test]
fn unknown_keys_of_small_layers_are_told_as_any_other() {
    let empty = ["flatten", "softmax", "global_avg_pool", "global_max_pool"];
    for kind in empty {
        let text = ARTICLE.replacen("flatten = {}", &format!("{kind} = {{ axis = 1 }}"), 1);
        let want = format!(
            "recipe.toml:4: layers[0].{kind}.axis is unknown; no key is known here; write {{}}"
        );
        assert_eq!(message(&text, &[]), want);
    }
    for (layer, want) in [
        ("layer_norm = { eps = 1 }", "layer_norm.eps is unknown; known here: epsilon"),
        ("rms_norm = { epsilom = 1 }", "rms_norm.epsilom is unknown; did you mean \"epsilon\"?"),
        ("dropout = { p = 0.5 }", "dropout.p is unknown; known here: rate"),
        ("reshape = { dims = [1], a = 2 }", "reshape.dims is unknown; known here: shape"),
        ("repeat = { n = 2 }", "repeat.n is unknown; known here: times, layers"),
    ] {
        let text = ARTICLE.replacen("flatten = {}", layer, 1);
        assert_eq!(message(&text, &[]), format!("recipe.toml:4: layers[0].{want}"));
    }
    let set = "layers[0].flatten.axis=1";
    let want = "layers[0].flatten.axis is unknown; no key is known here; write {}";
    assert_eq!(message(ARTICLE, &[set]), format!("--set {set}: {want}"));
    let text = ARTICLE.replacen("flatten = {}", "flatten = 3", 1);
    assert_eq!(message(&text, &[]), "recipe.toml:4: layers[0].flatten must be a table, found 3");
}

#[test]
fn tables_of_layers_have_lines_too() {
    let text = ARTICLE
        .replace("layers = [\n    { flatten = {} },\n", "layers = [\n")
        .replace("    { dense = { units = 128, activation = \"relu\" } },\n", "")
        .replace("    { dense = { units = 10 } },\n]", "]")
        .replace(
            "layers = [\n]\n",
            "[[model.layers]]\nflatten = {}\n[[model.layers]]\n[model.layers.dense]\nunits = 0\n",
        );
    assert_eq!(
        message(&text, &[]),
        "recipe.toml:7: layers[1].dense.units must be a positive integer, found 0"
    );
}

#[test]
fn values_are_set_from_outside() {
    let set = [
        "batch.epochs=3",
        "training.optimizer={ sgd = { learning_rate = 0.5 } }",
        "layers[1].dense.units=64",
        "training.loss=cross_entropy",
        "stop.steps=7",
        "training.seed=9",
        "stop.patience.epochs=2",
    ];
    let file = parse(ARTICLE, &set).unwrap();
    let r = &file.recipe;
    assert_eq!((r.batch.epochs, r.stop.steps, r.training.seed), (3, Some(7), 9));
    assert_eq!(r.training.optimizer.name(), "sgd");
    assert_eq!(r.stop.patience.as_ref().unwrap().epochs, 2);
    assert!(format!("{:?}", r.model.layers[1]).contains("units: 64"));
    // The copy holds what was set, and the user's comments.
    let again = parse(&file.to_toml(), &[]).unwrap();
    assert_eq!(again.recipe.batch.epochs, 3);
    assert_eq!(again.sha256(), file.sha256());
    assert!(file.to_toml().contains("# the usual"));
}

#[test]
fn the_input_is_set_like_the_layers() {
    let file = parse(ARTICLE, &["input.image.height=32", "input.image.width=20"]).unwrap();
    assert_eq!(file.recipe.model.input.shape(), [32, 20, 1]);
}

#[test]
fn an_option_of_a_named_optimizer_is_set() {
    let text = ARTICLE.replace("{ adam = { learning_rate = 1e-3 } }", "\"adam\"");
    let file = parse(&text, &["training.optimizer.adam.learning_rate=0.25"]).unwrap();
    assert_eq!(file.recipe.training.optimizer.schedule().at(0), 0.25);
}

#[test]
fn mistakes_from_outside_are_told_by_their_option() {
    for (set, want) in [
        (
            "batch.epochs=0",
            "--set batch.epochs=0: batch.epochs must be a positive integer, found 0",
        ),
        (
            "stream.missing_values=3",
            "--set stream.missing_values=3: stream.missing_values is unknown; did you mean \"missing\"?",
        ),
        ("batch.epoch=3", "--set batch.epoch=3: batch.epoch is unknown; did you mean \"epochs\"?"),
        (
            "layers[1].dense.units=-2",
            "--set layers[1].dense.units=-2: layers[1].dense.units must be a positive integer, found -2",
        ),
        (
            "layers[7].dense.units=2",
            "--set layers[7].dense.units=2: [7] is beyond the array, which has 3 entries",
        ),
        ("batch.data=3", "--set batch.data=3: batch.data must be a name or a table"),
        ("epochs", "--set epochs: must be a key and a value, such as batch.epochs=3"),
    ] {
        assert_eq!(message(ARTICLE, &[set]), want);
    }
}

#[test]
fn errors_found_later_have_lines() {
    let file = parse(ARTICLE, &[]).unwrap();
    let error = file.error_at("layers[2].dense", "must have as many units as there are classes");
    assert_eq!(
        error.to_string(),
        "recipe.toml:6: layers[2].dense must have as many units as there are classes"
    );
    assert!(file.error_at("batch.data", "is empty").to_string().starts_with("recipe.toml:14: "));
}

#[test]
fn paths_are_written_into_the_copy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("digits/train")).unwrap();
    let mut file = parse(ARTICLE, &[]).unwrap();
    let paths = DataPaths::new(&folder.path().join("recipe.toml"));
    paths.resolve("digits/train");
    file.set_paths(&paths);
    let again = parse(&file.to_toml(), &[]).unwrap();
    assert_eq!(
        again.recipe.batch.data.unwrap().path(),
        folder.path().join("digits/train").to_str().unwrap()
    );
    assert_eq!(again.recipe.batch.validation.unwrap().path(), "digits/test");
}

#[test]
fn class_weights_in_both_forms() {
    let text = ARTICLE.replace("[training]", "[training]\nclass_weight = { \"3\" = 2.0 }");
    let weights = parse(&text, &[]).unwrap().recipe.training.class_weight.unwrap();
    assert_eq!(weights, ClassWeight::Each([("3".to_string(), 2.0)].into()));
    let text = ARTICLE.replace("[training]", "[training]\nclass_weight = \"balanced\"");
    parse(&text, &[]).unwrap();
}

#[test]
fn a_hashed_linear_model_stands_alone() {
    let linear = "[training]\nloss = \"hinge\"\n[online]\nlinear = { bits = 20 }\n";
    let read = |text: &str| RecipeFile::parse(text, Path::new("recipe.toml"), &[]);
    let file = read(linear).unwrap();
    assert_eq!(file.recipe.online.linear.as_ref().unwrap().bits, 20);
    let told = |result: Result<()>| result.unwrap_err().to_string();
    assert!(
        told(file.only_network()).starts_with("recipe.toml:4: online.linear learns from streams")
    );
    for (text, message) in [
        (
            linear.replace("20", "40"),
            "recipe.toml:4: online.linear.bits must be a number from 4 to 30",
        ),
        (linear.to_owned() + "batch_size = 2\n", "recipe.toml:5: online.batch_size must be 1 with"),
        (
            "[model]\ninput = { features = 2 }\nlayers = []\n".to_owned() + linear,
            "recipe.toml:1: model has no place beside online.linear",
        ),
        (linear.replace("linear = { bits = 20 }", ""), "model is missing"),
    ] {
        let found = told(read(&text).map(|_| ()));
        assert!(found.contains(message), "{found}");
    }
}

/// A second optimizer, loss or schedule has no effect, so it is a mistake.
#[test]
fn two_kinds_in_one_table_are_told() {
    let cases = [
        (
            "training.optimizer.sgd.learning_rate=0.5",
            "recipe.toml:11: training.optimizer must be one of \"adam\" and \"sgd\", found both; leave one out",
        ),
        (
            "training.optimizer={sgd={},bogus={x=1}}",
            "--set training.optimizer={sgd={},bogus={x=1}}: training.optimizer must be one of \"sgd\" and \
             \"bogus\", found both; leave one out",
        ),
        (
            "training.loss={mse={},huber={}}",
            "--set training.loss={mse={},huber={}}: training.loss must be one of \"mse\" and \"huber\", \
             found both; leave one out",
        ),
        (
            "training.optimizer.adam.learning_rate={cosine={start=0.1},one_cycle={max=0.1}}",
            "--set training.optimizer.adam.learning_rate={cosine={start=0.1},one_cycle={max=0.1}}: \
             training.optimizer.adam.learning_rate must be one of \"cosine\" and \"one_cycle\", found \
             both; leave one out",
        ),
        (
            "batch.data.csv.path=t.csv",
            "recipe.toml:14: batch.data must be one of \"image_directory\" and \"csv\", found all of \
             them; keep one",
        ),
        (
            "layers[1].flatten={}",
            "recipe.toml:5: layers[1] must be one of \"dense\" and \"flatten\", found all of them; keep one",
        ),
        (
            "online.drift.detector={adwin={},ddm={}}",
            "--set online.drift.detector={adwin={},ddm={}}: online.drift.detector must be one of \"adwin\" and \
             \"ddm\", found both; leave one out",
        ),
    ];
    for (set, want) in cases {
        assert_eq!(message(ARTICLE, &[set]), want);
    }
}

#[test]
fn the_input_follows_the_number_of_hats() {
    let text = "[model]\ninput = { features = 30 }\nhats = { columns = 3 }\nlayers = [{ dense = { units = 2 } }]\n\
                [training]\nloss = \"sparse_categorical_crossentropy\"\n";
    let width = |overrides: &[&str]| match parse(text, overrides).unwrap().recipe.model.input {
        InputSpec::Features(n) => n,
        other => panic!("{other:?}"),
    };
    assert_eq!(width(&[]), 30);
    assert_eq!(width(&["model.hats.knots=5"]), 18);
    assert_eq!(width(&["model.hats.knots=13"]), 42);
    // What is said is taken.
    assert_eq!(width(&["model.hats.knots=5", "model.input.features=20"]), 20);
    assert_eq!(width(&["model.hats.knots=5", "input={features=21}"]), 21);
}
