//! What the program says about itself: help, completion scripts and manual pages.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{command, stderr, succeed, text, tidemill};

/// The names below `Commands:` in a help text.
fn commands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let named = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    named.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

#[test]
fn each_command_has_help_completions_and_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    succeed(&["man", "--out", text(folder.path())]);
    let help = succeed(&["--help"]);
    let commands = commands(&help);
    assert!(commands.len() >= 13, "{help}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeed(&["completions", shell]);
        for name in &commands {
            assert!(script.contains(name), "the completions for {shell} lack {name}");
        }
    }
    for name in commands {
        let help = succeed(&[name, "--help"]);
        assert!(help.contains("Usage: tidemill "), "{help}");
        let page = folder.path().join(format!("tidemill-{name}.1"));
        let page = std::fs::read_to_string(&page).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
}

#[test]
fn the_old_name_of_from_start_still_works() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("no.toml");
    for option in ["--from-start", "--anew"] {
        let output = tidemill(&["learn", text(&recipe), "--from", "-", option]);
        assert!(stderr(&output).contains("no.toml: the recipe cannot be read"), "{output:?}");
    }
    assert!(!succeed(&["learn", "--help"]).contains("--anew"));
}

#[test]
fn manual_pages_that_cannot_be_written_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = command(&["man", "--out", text(&file.join("man1"))]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot be written"), "{output:?}");
}
