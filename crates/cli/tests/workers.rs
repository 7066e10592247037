//! Runs with several workers: threads, processes, launched by others, killed, stopped, and ones that do not fit.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::*;

const EIGHT: [&str; 2] = ["--set", "training.shards=8"];

/// A run that listens, and the port.
struct Leader {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    port: String,
}

impl Leader {
    fn start(arguments: &[&str], workers: &str) -> Leader {
        let more = ["--workers", workers, "--listen", "127.0.0.1:0", "--threads", "1"];
        let mut child = command(&[arguments, &more].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("waiting for") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended early");
        }
        let port = line.trim().rsplit(':').next().unwrap().to_owned();
        Leader { child, stderr, port }
    }

    /// Its status, and what it said.
    fn end(mut self) -> (bool, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().success(), said)
    }

    fn worker(&self) -> Child {
        work(&self.port).spawn().unwrap()
    }
}

fn work(port: &str) -> Command {
    let mut command = command(&["work", "--join", &format!("127.0.0.1:{port}"), "--threads", "1"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A process that a launcher has started, with its number and that of all in these variables.
fn launched(arguments: &[&str], [rank, size]: [(&str, &str); 2], port: &str) -> Child {
    command(arguments)
        .envs([rank, size, ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", port)])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Says what went wrong if a worker did not end well.
fn check(worker: Child) {
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn same(run: &Path, other: &Path) {
    assert_eq!(summary(run).state_sha256, summary(other).state_sha256);
    assert_eq!(metrics(run), metrics(other));
}

#[test]
fn a_run_is_the_same_for_any_number_of_workers() {
    for layers in [MLP, CNN] {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(folder.path(), layers, "");
        let train = |out: &Path, more: &[&str]| {
            let arguments = ["train", text(&recipe), "--out", text(out)];
            succeed(&[&arguments[..], &EIGHT, more].concat());
        };
        let one = folder.path().join("1");
        train(&one, &[]);
        for workers in ["2", "3", "5", "8"] {
            let run = folder.path().join(workers);
            train(&run, &["--workers", workers, "--threads", "1"]);
            same(&run, &one);
        }
        // Stopped within an epoch, and resumed by others.
        let run = folder.path().join("parts");
        train(&run, &["--set", "stop.steps=19", "--workers", "4"]);
        train(&run, &["--resume", "--workers", "3"]);
        same(&run, &one);

        let run = folder.path().join("processes");
        let arguments = ["train", text(&recipe), "--out", text(&run)];
        let leader = Leader::start(&[&arguments[..], &EIGHT].concat(), "3");
        let workers = [leader.worker(), leader.worker()];
        let (ended, said) = leader.end();
        assert!(ended, "{said}");
        workers.into_iter().for_each(check);
        same(&run, &one);
    }
}

/// A recipe that `init` writes for a table has hats, whose outputs are mixed by weights that each shard moves.
#[test]
fn a_table_is_the_same_for_any_number_of_workers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let row = |i: usize| {
        let (a, b) = ((i * 37 % 101) as f64 / 10.0, i * 17 % 23);
        format!("{a},{b},{}\n", ["no", "yes"][usize::from(a * b as f64 > 40.0)])
    };
    let table: String = (0..600).map(row).collect();
    std::fs::write(path("t.csv"), format!("a,b,label\n{table}")).unwrap();
    let recipe = path("t.toml");
    succeed(&["init", text(&path("t.csv")), "--batch", "--out", text(&recipe)]);
    assert!(std::fs::read_to_string(&recipe).unwrap().contains("\nhats "));
    let train = |out: &str, more: &[&str]| {
        let run = path(out);
        let arguments = ["train", text(&recipe), "--out", text(&run)];
        let same = ["--set", "training.shards=4", "--set", "batch.epochs=8"];
        succeed(&[&arguments[..], &same, more].concat());
        run
    };
    let one = train("1", &[]);
    for workers in ["2", "3", "4"] {
        same(&train(workers, &["--workers", workers, "--threads", "1"]), &one);
    }
    // The mixture moves as without shards.
    let accuracy =
        |run: &Path| metrics(run).last().unwrap()["validation"]["accuracy"].as_f64().unwrap();
    let whole = train("whole", &["--set", "training.shards=1"]);
    assert!(accuracy(&one) > 0.85 && (accuracy(&one) - accuracy(&whole)).abs() < 0.08);
}

#[test]
fn a_run_ends_with_the_same_bits_when_workers_are_killed_or_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let epochs = ["--set", "batch.epochs=300", "--set", "batch.validation_every=100"];
    let of = |out: &'static str| {
        let out = folder.path().join(out);
        (["train", text(&recipe), "--out", text(&out)].map(str::to_owned).to_vec(), out)
    };
    let (arguments, whole) = of("whole");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    succeed(&[&arguments[..], &EIGHT, &epochs].concat());
    let (mut random, mut lost) = (dice(), 0);
    for (out, signal) in [("a", "KILL"), ("b", "KILL"), ("c", "KILL"), ("d", "STOP")] {
        let (arguments, run) = of(out);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let leader = Leader::start(&[&arguments[..], &EIGHT, &epochs].concat(), "4");
        let mut workers = [leader.worker(), leader.worker(), leader.worker()];
        // Within the run, which takes some seconds.
        sleep(Duration::from_secs_f64(0.5 + 0.5 * random()));
        let victim = workers[0].id().to_string();
        let start = Instant::now();
        Command::new("kill").args([&format!("-{signal}"), &victim]).status().unwrap();
        let (ended, said) = leader.end();
        assert!(ended, "{said}");
        let took = start.elapsed();
        drop(workers[0].kill());
        drop(workers[0].wait());
        let [_, b, c] = workers;
        [b, c].into_iter().for_each(check);
        same(&run, &whole);
        // It may have been over before; else it is said who is lost, and soon.
        if said.contains("is lost") {
            assert!(said.contains("(127.0.0.1) is lost: "), "{said}");
            assert!(said.contains("the run continues with 3 workers"), "{said}");
            lost += 1;
        }
        assert!(took < Duration::from_secs(60), "{took:?}");
    }
    assert!(lost > 0, "all runs were over before a worker was killed");
}

/// Each worker keeps the optimizer's slots of some parameters: the same bits, and what is lost with a worker is said.
#[test]
fn a_sharded_optimizer_state_changes_nothing() {
    const SHARDED: [&str; 2] = ["--set", "training.optimizer_state=\"sharded\""];
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let path = |name: &str| folder.path().join(name);
    let train = |out: &Path, more: &[&str]| {
        let arguments = ["train", text(&recipe), "--out", text(out)];
        tidemill(&[&arguments[..], &EIGHT, more].concat())
    };
    let (one, run) = (path("one"), path("run"));
    let said = stderr(&train(&one, &SHARDED));
    assert!(said.contains("training.optimizer_state has no effect with one worker"), "{said}");
    for workers in ["2", "3", "5"] {
        let run = path(workers);
        let output = train(&run, &[&SHARDED[..], &["--workers", workers]].concat());
        let said = stderr(&output);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("of the optimizer's slots are kept by this worker"), "{said}");
        same(&run, &one);
    }
    // Stopped within an epoch, and continued by others, also by one and by some that have all of it.
    train(&run, &[&SHARDED[..], &["--set", "stop.steps=19", "--workers", "4"]].concat());
    train(&run, &["--resume", "--set", "stop.steps=25", "--workers", "2"]);
    train(&run, &["--resume", "--set", "stop.steps=31"]);
    train(&run, &[&SHARDED[..], &["--resume", "--workers", "3"]].concat());
    same(&run, &one);

    // Processes, one of which is killed.
    let epochs = ["--set", "batch.epochs=120", "--set", "batch.validation_every=60"];
    let whole = path("whole");
    train(&whole, &epochs);
    let killed = path("killed");
    let arguments = ["train", text(&recipe), "--out", text(&killed)];
    let leader = Leader::start(&[&arguments[..], &EIGHT, &SHARDED, &epochs].concat(), "3");
    let [mut victim, mut other] = [leader.worker(), leader.worker()];
    // The first checkpoint shows that the run is under way.
    while !killed.join("checkpoints/latest").exists() {
        sleep(Duration::from_millis(5));
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    let (ended, said) = leader.end();
    other.wait().unwrap();
    // It may have been over before.
    if !ended {
        assert!(said.contains("is lost"), "{said}");
        assert!(said.contains("with it a part of the optimizer's state is lost"), "{said}");
        assert!(said.contains("`tidemill train --resume` continues"), "{said}");
    }
    let output = train(&killed, &[&SHARDED[..], &epochs, &["--resume", "--workers", "2"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    same(&killed, &whole);

    // What it does not go with.
    for (set, what) in [
        ("training.shards=1", "needs training.shards of 2 or more"),
        ("training.optimizer=\"sgd\"", "has no effect with this optimizer"),
        ("training.spikes={}", "cannot be used with training.spikes"),
    ] {
        let said = stderr(&train(&path("bad"), &[&SHARDED[..], &["--set", set]].concat()));
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn launchers_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let one = folder.path().join("one");
    succeed(&[&["train", text(&recipe), "--out", text(&one)], &EIGHT[..]].concat());
    for [rank, size] in [
        ["RANK", "WORLD_SIZE"],
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
        ["PMI_RANK", "PMI_SIZE"],
        ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
    ] {
        let run = folder.path().join(rank);
        let port = free_port();
        let start = |number: &str| {
            let train = ["train", text(&recipe), "--out", text(&run)];
            launched(&[&train[..], &EIGHT].concat(), [(rank, number), (size, "3")], &port)
        };
        ["0", "1", "2"].map(start).into_iter().for_each(check);
        same(&run, &one);
    }
}

#[test]
fn workers_that_come_and_go_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let one = folder.path().join("one");
    succeed(&[&["train", text(&recipe), "--out", text(&one)], &EIGHT[..]].concat());
    // One that goes while others are waited for makes room.
    let run = folder.path().join("run");
    let train = ["train", text(&recipe), "--out", text(&run)];
    let mut leader = Leader::start(&[&train[..], &EIGHT].concat(), "3");
    let mut gone = leader.worker();
    let mut line = String::new();
    while !line.contains("worker 1 has joined") {
        line.clear();
        assert!(leader.stderr.read_line(&mut line).unwrap() > 0);
    }
    gone.kill().unwrap();
    gone.wait().unwrap();
    while !line.contains("worker 1 has gone again") {
        line.clear();
        assert!(leader.stderr.read_line(&mut line).unwrap() > 0);
    }
    let workers = [leader.worker(), leader.worker()];
    let (ended, said) = leader.end();
    assert!(ended, "{said}");
    workers.into_iter().for_each(check);
    same(&run, &one);
    // One that is killed as soon as all are there is left out.
    for wait in [0, 10, 30, 60, 120] {
        let run = folder.path().join(wait.to_string());
        let train = ["train", text(&recipe), "--out", text(&run)];
        let mut leader = Leader::start(&[&train[..], &EIGHT].concat(), "3");
        let (mut victim, other) = (leader.worker(), leader.worker());
        let mut line = String::new();
        while !line.contains(": 3 of 3") {
            line.clear();
            assert!(leader.stderr.read_line(&mut line).unwrap() > 0);
        }
        sleep(Duration::from_millis(wait));
        drop(victim.kill());
        victim.wait().unwrap();
        let (ended, said) = leader.end();
        assert!(ended, "{wait} ms: {said}");
        check(other);
        same(&run, &one);
    }
}

/// A file that only one of the workers cannot read ends the run, and all say why.
#[test]
fn a_broken_file_of_one_worker_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let recipe = recipe(folder.path(), MLP, "");
    // Images of the same names and sizes, one of which is no image.
    let copied = folder.path().join("other/digits");
    std::fs::create_dir_all(folder.path().join("other")).unwrap();
    let copy = Command::new("cp").arg("-r").arg(digits().join("digits")).arg(&copied).status();
    assert!(copy.unwrap().success());
    let broken = copied.join("train/4/00003.png");
    let bytes = std::fs::metadata(&broken).unwrap().len();
    std::fs::write(&broken, vec![b'x'; bytes as usize]).unwrap();
    let data =
        format!("batch.data={{ image_directory = {{ path = {:?} }} }}", copied.join("train"));
    let train = ["train", text(&recipe), "--out", text(&run)];
    for shared in [false, true] {
        let set = ["--set", data.as_str(), "--force"];
        let port = free_port();
        let start = |number: &str, more: &[&str]| {
            let both = [("RANK", number), ("WORLD_SIZE", "2")];
            launched(&[&train[..], &EIGHT, more].concat(), both, &port)
        };
        let said = match shared {
            // Threads of one process.
            true => stderr(&tidemill(&[&train[..], &EIGHT, &set, &["--workers", "3"]].concat())),
            false => {
                let (leader, other) = (start("0", &["--force"]), start("1", &set));
                let leader = leader.wait_with_output().unwrap();
                drop(other.wait_with_output());
                assert!(!leader.status.success());
                stderr(&leader)
            }
        };
        assert!(said.contains("00003.png"), "{shared}: {said}");
    }
}

/// With the MPICH of PyPI in the folder of Python's programs, as the gate installs it.
#[test]
fn mpi_is_understood() {
    let python = std::env::var_os("TIDEMILL_PYTHON").map(std::path::PathBuf::from);
    let place = python.as_deref().and_then(Path::parent).and_then(Path::parent);
    let files = place.map(|p| [p.join("bin/mpiexec.hydra"), p.join("lib/libmpi_abi.so.1")]);
    let Some([launcher, library]) = files.filter(|files| files.iter().all(|file| file.exists()))
    else {
        eprintln!("skipped: no mpich beside TIDEMILL_PYTHON");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), CNN, "");
    let one = folder.path().join("one");
    succeed(&[&["train", text(&recipe), "--out", text(&one)], &EIGHT[..]].concat());
    let mpi = |set: &str, out: &Path, more: &[&str]| {
        let mut command = Command::new(&launcher);
        command.args(["-n", "3", env!("CARGO_BIN_EXE_tidemill"), "train", text(&recipe)]);
        command.args(["--transport", "mpi", "--out", text(out), "--set", set]).args(more);
        command.env("TIDEMILL_MPI", &library).env_remove("TIDEMILL_DATA").stdin(Stdio::null());
        command.output().unwrap()
    };
    let run = folder.path().join("run");
    // Stopped, and resumed.
    for more in [&["--set", "stop.steps=19"][..], &["--resume"]] {
        let output = mpi(EIGHT[1], &run, more);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    same(&run, &one);
    // All end where the first one cannot begin.
    let output = mpi("training.shards=2", &folder.path().join("none"), &[]);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("training.shards = 2 is less than the 3 workers"), "{said}");
    assert!(said.contains("worker 0 has ended: it cannot start the run"), "{said}");
}

/// A port that nothing listens at; that another program takes it meanwhile is unlikely.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[test]
fn what_does_not_fit_is_said_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let run = folder.path().join("run");
    let train = ["train", text(&recipe), "--out", text(&run)];

    for (rank, what) in [("2", "RANK=2 and WORLD_SIZE=2"), ("x", "RANK=x and WORLD_SIZE=2")] {
        let wrong = command(&train).envs([("RANK", rank), ("WORLD_SIZE", "2")]).output().unwrap();
        assert_eq!(wrong.status.code(), Some(2));
        assert!(stderr(&wrong).contains(what), "{}", stderr(&wrong));
    }
    for address in ["127.0.0.1", "", "127.0.0.1:99999", ":7000"] {
        let wrong = tidemill(&["work", "--join", address]);
        assert_eq!(wrong.status.code(), Some(2));
        assert!(stderr(&wrong).contains("is no address such as"), "{}", stderr(&wrong));
    }
    let few = tidemill(&[&train[..], &["--workers", "4"]].concat());
    assert_eq!(few.status.code(), Some(2));
    assert!(
        stderr(&few).contains("training.shards = 1 is less than the 4 workers"),
        "{}",
        stderr(&few)
    );

    let nobody = work("1").args(["--patience", "0"]).output().unwrap();
    assert!(stderr(&nobody).contains("nobody leads a run at 127.0.0.1:1"), "{}", stderr(&nobody));

    // Somebody else comes first, says something, and is not taken.
    let leader = Leader::start(&[&train[..], &EIGHT].concat(), "2");
    let mut web = TcpStream::connect(format!("127.0.0.1:{}", leader.port)).unwrap();
    web.write_all(&[b'G'; 100]).unwrap();
    let worker = leader.worker();
    let (ended, said) = leader.end();
    assert!(ended, "{said}");
    assert!(said.contains("is not taken as a worker: this is no worker of a run"), "{said}");
    check(worker);

    // Process 1 of a launcher has another recipe, then other data.
    let data = format!(
        "batch.data={{ image_directory = {{ path = {:?} }} }}",
        digits().join("digits/test")
    );
    for (set, what) in
        [("training.seed=9", "recipe is another one"), (&*data, "training data is other data")]
    {
        let port = free_port();
        let start = |number: &str, more: &[&str]| {
            let both = [("RANK", number), ("WORLD_SIZE", "2")];
            launched(&[&train[..], &EIGHT, &["--force"], more].concat(), both, &port)
        };
        let both = [start("0", &[]), start("1", &["--set", set])];
        let [leader, other] = both.map(|child| child.wait_with_output().unwrap());
        for (name, output) in
            [("worker 1 (127.0.0.1) has ended: its ", leader), ("error: its ", other)]
        {
            let said = stderr(&output);
            assert!(!output.status.success(), "{said}");
            assert!(said.contains(&format!("{name}{what} than that of worker 0")), "{said}");
        }
    }
}

/// What is trained with shards is measured and learns from a stream like other runs.
#[test]
fn a_run_with_shards_is_used_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), CNN, "");
    let run = folder.path().join("run");
    succeed(&[&["train", text(&recipe), "--out", text(&run)], &EIGHT[..]].concat());
    let figures = succeed(&["eval", text(&run)]);
    assert!(figures.contains("accuracy"), "{figures}");
    let images = digits().join("digits/test");
    let stream = folder.path().join("stream");
    let learned = tidemill(&["learn", text(&run), "--from", text(&images), "--out", text(&stream)]);
    assert!(learned.status.success(), "{}", stderr(&learned));
    let said = stderr(&learned);
    assert!(said.contains("training.shards has no effect on a stream"), "{said}");
}

#[test]
fn prove_compares_workers_and_threads() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), CNN, "");
    let said = succeed(&[&["prove", text(&recipe), "--steps", "6"], &EIGHT[..]].concat());
    assert!(said.contains("after 6 steps, all 8 ways have the same"), "{said}");
    assert!(said.contains("4 x 1") && said.contains("2 x 1, then 3 x 2"), "{said}");
}
