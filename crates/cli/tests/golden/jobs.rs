//! The jobs: recipes and the commands that run them.

use std::path::{Path, PathBuf};

/// A recipe and what is done with it.
pub struct Job {
    pub name: String,
    pub recipe: String,
    /// Each a command and its options; all in one run folder, the first from the recipe, the others
    /// from the run.
    pub commands: Vec<&'static str>,
    /// Counts in the summary that must not be 0 when hashes are written, as JSON pointers: a sign that
    /// the job does what it is there for.
    pub counts: &'static [&'static str],
}

pub fn job(name: &str, recipe: String, commands: &[&'static str]) -> Job {
    Job { name: name.into(), recipe, commands: commands.to_vec(), counts: &[] }
}

/// All jobs that can run here, and why others cannot.
pub fn all() -> (Vec<Job>, Vec<String>) {
    let mut jobs = images();
    jobs.extend(tables());
    jobs.extend(texts());
    jobs.extend(streams());
    jobs.extend(super::hats::jobs());
    jobs.extend(continual());
    jobs.extend(drifts());
    jobs.extend(linear());
    let mut skipped = Vec::new();
    match real() {
        Ok(more) => jobs.extend(more),
        Err(why) => skipped.push(why),
    }
    (jobs, skipped)
}

pub const CROSSENTROPY: &str = "loss = \"sparse_categorical_crossentropy\"";
const IMAGE: &str = "image = { height = 28, width = 28, channels = 1 }";
const IDX: &str = r#"data = { idx = { images = "images", labels = "labels" } }
validation = { idx = { images = "images", labels = "labels", limit = 40 } }"#;

/// A recipe of batches; the sections end with `[batch]`.
fn batch(input: &str, layers: &str, training: &str, batch: &str) -> String {
    format!(
        "[model]\ninput = {{ {input} }}\nlayers = [\n{layers}\n]\n\
         [training]\n{training}\nseed = 3\n[batch]\n{batch}\n"
    )
}

/// A recipe of images in IDX files.
fn idx(layers: &str, optimizer: &str, size: &str) -> String {
    let training = format!("{CROSSENTROPY}\noptimizer = {optimizer}");
    batch(IMAGE, layers, &training, &format!("{IDX}\n{size}"))
}

/// `count` times a residual block with batch norm.
fn block(filters: usize, count: usize) -> String {
    let conv = format!(
        "{{ conv2d = {{ filters = {filters}, kernel = 3, padding = \"same\", bias = false }} }}"
    );
    let norm = "{ batch_norm = { momentum = 0.9, epsilon = 1e-5 } }";
    format!(
        "{{ repeat = {{ times = {count}, layers = [{{ residual = {{ activation = \"relu\", layers = [ \
         {conv}, {norm}, {{ activation = \"relu\" }}, {conv}, {norm} ] }} }}] }} }},"
    )
}

/// Models of tokens: what comes next in a text, and texts that become others.
fn texts() -> Vec<Job> {
    let training = "[training]\nloss = { token_crossentropy = { label_smoothing = 0.1 } }\n\
                    optimizer = { adamw = { learning_rate = 3e-3, weight_decay = 0.01, global_clip_norm = 1.0 } }\n\
                    average = { ema = 0.9 }\nseed = 3\n";
    let next = format!(
        "[model]\ndecoder_only = {{ units = 48, heads = 3, layers = 2, context = 70, dropout = 0.1 }}\n\
         [text]\ntokenizer = {{ characters = {{}} }}\n{training}\
         [batch]\ndata = {{ text = {{ path = \"numerals/train.de\" }} }}\nbatch_size = 6\n"
    );
    let pairs = |name: &str| {
        format!(
            "{{ parallel = {{ source = \"numerals/{name}.en\", target = \"numerals/{name}.de\" }} }}"
        )
    };
    let translation = format!(
        "[model]\nencoder_decoder = {{ units = 32, heads = 4, encoder = 2, decoder = 2, dropout = 0.2, length = 40 }}\n\
         [text]\ntokenizer = {{ bpe = {{ vocabulary = 300 }} }}\n{training}\
         [batch]\ndata = {}\nvalidation = {}\nbatch_tokens = 256\nepochs = 2\n",
        pairs("train"),
        pairs("test")
    );
    vec![job("what comes next", next, &["train"]), job("translation", translation, &["train"])]
}

fn images() -> Vec<Job> {
    let folder = "data = { image_directory = { path = \"digits/train\" } }\n\
                  validation = { image_directory = { path = \"digits/test\" } }\nbatch_size = 16";
    let dense = "{ flatten = {} }, { dense = { units = 128, activation = \"relu\" } }, { dense = { units = 10 } }";
    let dropout = "{ flatten = {} }, { dense = { units = 96, activation = \"gelu\" } }, { dropout = { rate = 0.3 } }, \
                   { dense = { units = 64, activation = \"tanh\" } }, { dropout = { rate = 0.2 } }, { dense = { units = 10 } }";
    let conv = "{ conv2d = { filters = 16, kernel = 3, padding = \"same\", activation = \"relu\" } }, { max_pool2d = {} }, \
                { conv2d = { filters = 32, kernel = 3, padding = \"same\", activation = \"relu\" } }, { max_pool2d = {} }, \
                { flatten = {} }, { dropout = { rate = 0.3 } }, { dense = { units = 32, activation = \"relu\" } }, { dense = { units = 10 } }";
    let kinds = "{ conv2d = { filters = 8, kernel = 5, stride = 2, padding = \"same\", activation = \"relu\" } }, \
                 { depthwise_conv2d = { kernel = 3, padding = \"same\" } }, \
                 { conv2d = { filters = 16, kernel = 1, activation = \"silu\" } }, \
                 { conv2d = { filters = 16, kernel = 3, groups = 4, dilation = 2, padding = \"same\" } }, \
                 { avg_pool2d = {} }, { global_max_pool = {} }, { dense = { units = 10 } }";
    let norms = "{ flatten = {} }, { dense = { units = 64 } }, { layer_norm = {} }, { activation = \"relu\" }, \
                 { dense = { units = 48 } }, { rms_norm = {} }, { activation = \"silu\" }, { dense = { units = 10 } }";
    let resnet = format!(
        "{{ conv2d = {{ filters = 8, kernel = 3, padding = \"same\", bias = false }} }}, {{ batch_norm = {{}} }}, \
         {{ activation = \"relu\" }}, {} \
         {{ residual = {{ activation = \"relu\", layers = [ \
         {{ conv2d = {{ filters = 16, kernel = 3, stride = 2, padding = \"same\", bias = false }} }}, {{ batch_norm = {{}} }}, \
         {{ activation = \"relu\" }}, {{ conv2d = {{ filters = 16, kernel = 3, padding = \"same\", bias = false }} }}, \
         {{ batch_norm = {{}} }} ], shortcut = [ \
         {{ conv2d = {{ filters = 16, kernel = 1, stride = 2, padding = \"same\", bias = false }} }}, {{ batch_norm = {{}} }} ] }} }}, \
         {} {{ global_avg_pool = {{}} }}, {{ dense = {{ units = 10 }} }}",
        block(8, 1),
        block(16, 2)
    );
    let cosine = "{ sgd = { learning_rate = { cosine = { start = 0.1, warmup_steps = 2 } }, momentum = 0.9, \
                  nesterov = true, weight_decay = 1e-4 } }";
    let adam = "{ adam = { learning_rate = 2e-3 } }";
    let colour = batch(
        "image = { height = 16, width = 16, channels = 3 }",
        &resnet,
        &format!("{CROSSENTROPY}\noptimizer = {cosine}"),
        folder,
    );
    let train: &[&str] = &["train"];
    vec![
        job("dense idx", idx(dense, adam, "batch_size = 32\nepochs = 2"), train),
        job("dense sgd by ones", idx(dense, "{ sgd = {} }", "batch_size = 1"), train),
        job("dropout idx", idx(dropout, "{ adamw = {} }", "batch_size = 32\nepochs = 2"), train),
        job("conv idx", idx(conv, adam, "batch_size = 40"), train),
        job(
            "conv kinds",
            idx(kinds, "{ rmsprop = { momentum = 0.5, centered = true } }", "batch_size = 50"),
            train,
        ),
        job(
            "norms",
            idx(
                norms,
                "{ lion = { learning_rate = 1e-3, global_clip_norm = 1.0 } }",
                "batch_size = 64",
            ),
            train,
        ),
        job("resnet", colour, train),
        job(
            "image folder",
            batch(IMAGE, dense, &format!("{CROSSENTROPY}\noptimizer = {adam}"), folder),
            train,
        ),
        job(
            "image folder, batch to stream and back",
            batch(IMAGE, dropout, &format!("{CROSSENTROPY}\noptimizer = {adam}"), folder),
            &["train", "learn --from digits/train", "train --set batch.epochs=2"],
        ),
        job(
            "image folder as a stream",
            batch(IMAGE, dense, &format!("{CROSSENTROPY}\noptimizer = {{ sgd = {{}} }}"), folder),
            &["learn --from digits/train"],
        ),
        job(
            "idx as a stream of batches",
            idx(dense, adam, "") + "[online]\nbatch_size = 16\n",
            &["learn --from data:"],
        ),
    ]
}

fn tables() -> Vec<Job> {
    let csv = |columns: &str| {
        format!(
            "data = {{ csv = {{ path = \"train.csv\", {columns} }} }}\n\
             validation = {{ csv = {{ path = \"test.csv\", {columns} }} }}\nbatch_size = 16\nepochs = 2\n\
             [online.features]\ntext = {{ dictionary = {{ capacity = 3 }} }}"
        )
    };
    let rows = "\ncategorical = { user = { embedding = { capacity = 20 } }, item = { embedding = { capacity = 30 } } }";
    let layers = |outputs: usize| {
        format!(
            "{{ dense = {{ units = 24, activation = \"tanh\" }} }}, {{ dense = {{ units = {outputs} }} }}"
        )
    };
    let embedding = "{ entity_embedding = { vocabulary = [21, 31], units = 5 } }, \
                     { dense = { units = 16, activation = \"relu\" } }, { dense = { units = 1 } }";
    let ids = "{ embedding = { vocabulary = 30, units = 6 } }, { flatten = {} }, { dense = { units = 3 } }";
    let train: &[&str] = &["train"];
    vec![
        job(
            "csv classes",
            batch(
                "features = 6",
                &layers(3),
                &format!(
                    "{CROSSENTROPY}\nclass_weight = \"balanced\"\noptimizer = {{ adam = {{ learning_rate = 1e-2 }} }}"
                ),
                &csv("label = \"class\", exclude = [\"value\", \"user\", \"item\"]"),
            ),
            train,
        ),
        job(
            "csv values",
            batch(
                "features = 8",
                &layers(1),
                "loss = \"mse\"\noptimizer = { sgd = { learning_rate = 1e-3, momentum = 0.9, clip_norm = 1.0 } }",
                &csv("label = \"value\", label_type = \"value\", exclude = [\"class\"]"),
            ),
            train,
        ),
        job(
            "csv focal",
            batch(
                "features = 8",
                &layers(3),
                "loss = { sparse_categorical_focal_crossentropy = { gamma = 1.5 } }\n\
                 optimizer = { ftrl = { learning_rate = 0.1 } }",
                &csv("label = \"class\", exclude = [\"value\"]"),
            ),
            train,
        ),
        job(
            "csv entity embeddings",
            batch(
                "features = 4",
                embedding,
                "loss = { huber = { delta = 2.0 } }\noptimizer = { adagrad = { learning_rate = 0.05 } }",
                &(csv("label = \"value\", features = [\"a\", \"b\", \"user\", \"item\"]") + rows),
            ),
            train,
        ),
        job(
            "csv ids",
            batch(
                "ids = { length = 2, vocabulary = 30 }",
                ids,
                &format!("{CROSSENTROPY}\noptimizer = \"adam\""),
                &csv("label = \"class\", features = [\"user\", \"item\"]"),
            ),
            train,
        ),
    ]
}

/// A recipe of a stream; the sections end with `[online]`.
pub fn stream(features: usize, layers: &str, training: &str, online: &str) -> String {
    format!(
        "[model]\ninput = {{ features = {features} }}\nlayers = [ {layers} ]\n\
         [training]\n{training}\nseed = 3\n[online]\n{online}\n"
    )
}

const SMALL: &str = "{ dense = { units = 16, activation = \"relu\" } }, { dense = { units = 3 } }";
pub const KINDS: &str = "features.categorical = { kind = { dictionary = { capacity = 3 } } }";
pub const LEARN: &[&str] = &["learn --from events.csv"];

/// Three classes of two numbers and a category.
fn classes(optimizer: &str, online: &str) -> String {
    let training = format!("{CROSSENTROPY}\noptimizer = {optimizer}");
    stream(6, SMALL, &training, &format!("{KINDS}\n{online}"))
}

const ADAM: &str = "{ adam = { learning_rate = 0.01 } }";

fn streams() -> Vec<Job> {
    let leaky = "{ leaky_relu = { slope = 0.1 } }";
    let default = format!(
        "{{ dense = {{ units = 64, activation = {leaky} }} }}, {{ dense = {{ units = 32, activation = {leaky} }} }}, \
         {{ dense = {{ units = 3 }} }}"
    );
    let words = "{ entity_embedding = { vocabulary = [201], tokens = [4], units = 6 } }, \
                 { dense = { units = 16, activation = \"leaky_relu\" } }, { dense = { units = 2 } }";
    let elec2 = "{ dense = { units = 32, activation = \"tanh\" } }, { dense = { units = 1 } }";
    let films = "{ entity_embedding = { vocabulary = [41, 101], units = 16 } }, \
                 { dense = { units = 32, activation = \"relu\" } }, { dense = { units = 1 } }";
    let trained = "{ dense = { units = 16 } }, { batch_norm = {} }, { activation = \"relu\" }, { dropout = { rate = 0.1 } }, \
                   { dense = { units = 3 } }";
    let hedged = "{ dense = { units = 12, activation = \"relu\" } }, { dense = { units = 12, activation = \"relu\" } }, \
                  { dense = { units = 3 } }";
    let binary = "loss = \"binary_crossentropy\"\noptimizer = { sgd = { learning_rate = 0.1 } }";
    let adagrad = "optimizer = { adagrad = { learning_rate = 0.05 } }";
    let late = |more: &str| {
        stream(
            53,
            "{ dense = { units = 8, activation = \"relu\" } }, { dense = { units = 1 } }",
            &format!("loss = \"binary_crossentropy\"\noptimizer = {ADAM}"),
            &format!(
                "features.categorical = {{ kind = {{ dictionary = {{ capacity = 50 }} }} }}\nlabels = {{ id = \"id\", {more} }}"
            ),
        )
    };
    let joined = |name: &str, recipe: String, counts: &'static [&'static str]| Job {
        counts,
        ..job(name, recipe, &["learn --from late.jsonl"])
    };
    vec![
        job("stream default", stream(6, &default, CROSSENTROPY, KINDS), LEARN),
        job(
            "stream default of words",
            stream(
                37,
                words,
                CROSSENTROPY,
                "features.categorical = { said = { words = { buckets = 200, most = 4 } } }",
            ),
            &["learn --from wide.csv"],
        ),
        job(
            "stream default of values",
            films_recipe(films, "loss = \"huber\""),
            &["learn --from ratings.csv"],
        ),
        job("elec2", stream(3, elec2, binary, ""), &["learn --from binary.csv"]),
        job(
            "movielens",
            films_recipe(films, &format!("loss = \"mean_squared_error\"\n{adagrad}")),
            &["learn --from ratings.csv"],
        ),
        job("stream of batches", classes(ADAM, "batch_size = 16"), LEARN),
        job(
            "stream of hashes",
            stream(
                10,
                SMALL,
                &format!("{CROSSENTROPY}\noptimizer = \"rmsprop\""),
                "features.categorical = { kind = { hashing = { buckets = 8 } } }",
            ),
            LEARN,
        ),
        job(
            "stream with dropout and batch norm",
            stream(
                3,
                trained,
                &format!("{CROSSENTROPY}\noptimizer = {ADAM}"),
                "batch_size = 2\nreplay = { capacity = 60, per_step = 6 }",
            ),
            &["learn --from binary.csv"],
        ),
        job(
            "stream with hedged depth",
            stream(6, hedged, CROSSENTROPY, KINDS)
                .replace("[training]", "hedged_depth = {}\n[training]"),
            LEARN,
        ),
        Job {
            counts: &["/refused", "/rollbacks"],
            ..job(
                "stream with a guard",
                classes(ADAM, "guard = { spike = 2, rollback_after = 3, keep_every = 100 }"),
                LEARN,
            )
        },
        joined(
            "late labels",
            late("window = 100"),
            &["/labels/joined", "/labels/late", "/labels/missing"],
        ),
        joined(
            "late labels, negatives",
            late(
                "window = 100, memory_bytes = 12000, missing = \"negative\", negative_sampling = 0.5",
            ),
            &["/labels/joined", "/labels/spilled", "/labels/left_out", "/labels/missing"],
        ),
    ]
}

/// Stars of a user for a film.
fn films_recipe(layers: &str, training: &str) -> String {
    let online = "features = { categorical = { userId = { embedding = { capacity = 40 } }, \
                  movieId = { embedding = { capacity = 100, min_count = 2, expiry = 300 } } } }";
    let stream = stream(2, layers, training, online);
    stream + "[stream]\nlabel = \"rating\"\nignore = [\"timestamp\"]\n"
}

fn continual() -> Vec<Job> {
    let backprop =
        "plasticity = { continual_backprop = { replacement_rate = 0.01, maturity = 20 } }";
    // Anchors hold what was learned in batches before the stream.
    let anchored = |anchor: &str| {
        let columns = "path = \"train.csv\", label = \"class\", features = [\"a\", \"b\"]";
        let layers = "{ dense = { units = 12, activation = \"relu\" } }, { dense = { units = 3 } }";
        let data = format!("data = {{ csv = {{ {columns} }} }}\nbatch_size = 32");
        let training = format!("{CROSSENTROPY}\noptimizer = {ADAM}");
        batch("features = 2", layers, &training, &data) + &format!("[online]\nanchor = {anchor}\n")
    };
    let anchored =
        |name: &str, anchor: &str| job(name, anchored(anchor), &["train", "learn --from data:"]);
    vec![
        job("replay", classes(ADAM, "replay = { capacity = 100, per_step = 4 }"), LEARN),
        job(
            "replay by class",
            classes(
                ADAM,
                "replay = { capacity = 60, policy = \"class_balanced\" }\nbatch_size = 4",
            ),
            LEARN,
        ),
        job("continual backprop", classes(ADAM, backprop), LEARN),
        job(
            "shrink and perturb",
            classes(ADAM, "plasticity = { shrink_and_perturb = { every = 50 } }"),
            LEARN,
        ),
        anchored("anchor l2", "{ l2 = 0.1 }"),
        anchored("anchor ewc", "{ ewc = { lambda = 10.0, samples = 100 } }"),
    ]
}

fn drifts() -> Vec<Job> {
    let job = |name: &str, action: &str, counts: &'static [&'static str]| {
        let drift =
            format!("drift = {{ detector = {{ adwin = {{ delta = 0.2 }} }}, action = {action} }}");
        Job {
            counts,
            ..job(name, classes(ADAM, &format!("{drift}\nguard = {{ keep_every = 200 }}")), LEARN)
        }
    };
    let champion =
        "{ challenger = { events = 300, from = \"champion\", rate = 3.0, alpha = 0.9 } }";
    vec![
        job("challenger", "{ challenger = { events = 2000 } }", &["/drift/takeovers"]),
        job("challenger from the champion", champion, &["/drift/takeovers"]),
        job(
            "challenger at work",
            "{ challenger = { events = 100000, alpha = 1e-200 } }",
            &["/drift/challengers"],
        ),
        job("drift, rate raised", "{ raise_rate = {} }", &["/drift/raised"]),
        job("drift, slots reset", "\"reset_slots\"", &["/drift/resets"]),
        job("drift, rolled back", "\"roll_back\"", &["/drift/rollbacks"]),
    ]
}

fn linear() -> Vec<Job> {
    let recipe = |rule: &str, more: &str| {
        format!(
            "[training]\nloss = \"binary_crossentropy\"\n[online]\n\
             linear = {{ bits = 10, rule = \"{rule}\", {more} }}\nguard = {{ spike = 0 }}\n"
        )
    };
    let rules = [
        ("sgd", "learning_rate = 0.05, l2 = 1e-4"),
        ("adaptive", "learning_rate = 0.2"),
        ("normalized", "learning_rate = 0.5"),
        ("normalized_adaptive", "learning_rate = 0.5"),
        ("ftrl", "learning_rate = 0.1, l1 = 0.5"),
    ];
    let sparse = |(rule, more): (&str, &str)| {
        job(&format!("linear {rule}"), recipe(rule, more), &["learn --from sparse.vw"])
    };
    let columns = job(
        "linear of columns",
        recipe("normalized_adaptive", "learning_rate = 0.5"),
        &["learn --from binary.csv"],
    );
    let classes = |rule: &str| {
        let recipe = recipe(rule, "classes = 3, interactions = [[\"a\", \"kind\"]]");
        let recipe = recipe.replace("binary_crossentropy", "sparse_categorical_crossentropy");
        job(&format!("linear {rule} of classes"), recipe, &["learn --from events.csv"])
    };
    let classes = ["normalized_adaptive", "ftrl"].map(classes);
    rules.map(sparse).into_iter().chain([columns]).chain(classes).collect()
}

/// The recipes of this repository on the first events of real streams.
fn real() -> Result<Vec<Job>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = std::env::var_os("TIDEMILL_DATA")
        .map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let Ok(data) = data.canonicalize() else {
        return Err(format!("jobs on real streams: {} is not there", data.display()));
    };
    let list: [(&str, &str, &'static str); 4] = [
        ("real elec2", "elec2.toml", "electricity/elec2_8.csv.gz"),
        ("real elec2, default", "stream.toml", "electricity/elec2_8.csv.gz"),
        ("real movielens", "movielens.toml", "movielens_latest_small/ratings.csv"),
        ("real elec2, logistic", "elec2-logistic.toml", "electricity/elec2_8.csv.gz"),
    ];
    let job = |(name, recipe, file): (&str, &str, &'static str)| {
        let from = data.join(file);
        if !from.exists() {
            return Err(format!("jobs on real streams: {} is not there", from.display()));
        }
        let recipe = std::fs::read_to_string(root.join("recipes").join(recipe)).unwrap();
        let learn = format!("learn --until-events 800 --from {}", from.display());
        Ok(Job { name: name.into(), recipe, commands: vec![learn.leak()], counts: &[] })
    };
    list.into_iter().map(job).collect()
}
