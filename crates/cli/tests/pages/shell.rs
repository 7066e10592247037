//! Runs a page's `sh` blocks as a reader would, in order, in one shell.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::blocks::{Block, blocks, name, root};

/// Seconds for all commands of a page, many times what they take.
const LIMIT: &str = "600";

/// Runs the page's blocks in a folder that looks like a fresh clone; fails with the block that fails.
/// Gives the blocks with what each printed.
pub fn run(page: &Path) -> Vec<(Block, String)> {
    let place = tempfile::tempdir().unwrap();
    clone(place.path());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mut script, mut shown) = (String::from("set -euo pipefail\n"), Vec::new());
    let all = blocks(page);
    for (i, block) in all.iter().enumerate().filter(|(_, b)| b.language == "sh") {
        let at = format!("{}:{}", name(page), block.line);
        if let Some(reason) = &block.not_run {
            eprintln!("{at}: not run: {reason}");
            continue;
        }
        if let Some(what) = block.needs.iter().find(|what| !is_there(what, place.path())) {
            eprintln!("{at}: skipped: needs {what}");
            continue;
        }
        script += &format!("printf '\\n@@ %s\\n' {i}\n");
        // Others may use the port of the page, such as this test in another clone.
        let text = block.text.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        script += &match &block.fails {
            None => text,
            Some(status) => format!("if (\n{text}); then false; else [ $? = {status} ]; fi\n"),
        };
        shown.push(i);
    }
    let output = bash(place.path(), &script);
    let mut parts = output.1.split("\n@@ ");
    parts.next();
    let printed: Vec<(usize, String)> = parts
        .map(|part| {
            let (i, text) = part.split_once('\n').unwrap();
            (i.parse().unwrap(), text.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:8080"))
        })
        .collect();
    if !output.0 {
        let (block, text) = match printed.last() {
            Some((i, text)) => (&all[*i], text.as_str()),
            None => panic!("{}: {}", name(page), output.1),
        };
        panic!("{}:{}: this fails:\n{}\n{text}", name(page), block.line, block.text);
    }
    assert_eq!(printed.len(), shown.len(), "{}", output.1);
    printed.into_iter().map(|(i, text)| (all[i].clone(), text)).collect()
}

/// A folder with the repository's recipes, beside one with the shared data, and the programs that
/// the pages name.
fn clone(place: &Path) {
    let work = place.join("tidemill");
    std::fs::create_dir_all(work.join("recipes")).unwrap();
    for entry in std::fs::read_dir(root().join("recipes")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, work.join("recipes").join(path.file_name().unwrap())).unwrap();
        }
    }
    let shared = root().join("../shared");
    if shared.join("data").is_dir() {
        symlink(shared.canonicalize().unwrap(), place.join("shared")).unwrap();
    }
    let programs = place.join("bin");
    std::fs::create_dir(&programs).unwrap();
    symlink(env!("CARGO_BIN_EXE_tidemill"), programs.join("tidemill")).unwrap();
    let cargo = "#!/bin/sh\n\
        # `cargo run --release -- ARGUMENTS` without the building.\n\
        [ \"$1 $2 $3\" = 'run --release --' ] || { echo \"cargo $*: not in this test\"; exit 1; }\n\
        shift 3\nexec tidemill \"$@\"\n";
    std::fs::write(programs.join("cargo"), cargo).unwrap();
    std::fs::set_permissions(programs.join("cargo"), PermissionsExt::from_mode(0o755)).unwrap();
}

fn is_there(what: &str, place: &Path) -> bool {
    match what {
        "shared data" => place.join("shared/data").is_dir(),
        program => std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .any(|folder| folder.join(program).is_file()),
    }
}

/// Whether the script succeeded, and all that it printed.
fn bash(place: &Path, script: &str) -> (bool, String) {
    let (file, log) = (place.join("page.sh"), place.join("output"));
    std::fs::write(&file, script).unwrap();
    let path = format!("{}:{}", place.join("bin").display(), std::env::var("PATH").unwrap());
    let out = File::create(&log).unwrap();
    let mut command = Command::new("timeout");
    command.args(["-k", "5", LIMIT, "bash"]).arg(&file).current_dir(place.join("tidemill"));
    command.env("PATH", path).env("HOME", place).env_remove("TIDEMILL_DATA");
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
    let status = command.status().unwrap();
    (status.success(), String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned())
}
