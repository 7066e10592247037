//! Manifests, and paths that must stay below a folder.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

use tidemill_audio::manifest::{read_manifest, within};
use tidemill_audio::{Utterance, write_wav};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    for name in ["a/one.wav", "two.wav"] {
        write_wav(&folder.path().join(name), &[0.25; 8000], 8000).unwrap();
    }
    folder
}

fn read(folder: &Path, name: &str, text: &[u8]) -> Result<Vec<Utterance>, String> {
    fs::write(folder.join(name), text).unwrap();
    let found = read_manifest(&folder.join(name), folder).map_err(|e| e.to_string());
    found.map_err(|e| e.replace(&format!("{}/", folder.display()), ""))
}

#[test]
fn three_formats_say_the_same() {
    let folder = folder();
    let csv = b"\xef\xbb\xbfpath,length,text,speaker,start,end\n\
        a/one.wav,9,\"so, \"\"this\"\" is it\",ann,0.5,0.75\r\ntwo.wav,,,,,\n";
    let csv = read(folder.path(), "m.csv", csv).unwrap();
    let tsv = b"path\ttext\tstart\tend\tspeaker\n\
        a/one.wav\tso, \"this\" is it\t0.5\t0.75\tann\ntwo.wav\t\t\t\t\n";
    let tsv = read(folder.path(), "m.tsv", tsv).unwrap();
    let json = br#"{"path": "a/one.wav", "text": "so, \"this\" is it", "speaker": "ann", "start": 0.5, "end": 0.75}
{"path": "two.wav", "more": [1]}
"#;
    let mut json = read(folder.path(), "m.jsonl", json).unwrap();
    assert_eq!(csv, tsv);
    assert_eq!((json[0].line, json[1].line, csv[0].line), (1, 2, 2));
    json.iter_mut().for_each(|u| u.line += 1);
    assert_eq!(csv, json);
    let Utterance { text, speaker, start, end, .. } = &csv[0];
    assert_eq!((text.as_str(), speaker.as_deref()), ("so, \"this\" is it", Some("ann")));
    assert_eq!((*start, *end), (Some(0.5), Some(0.75)));
    let mut samples = Vec::new();
    let mut reader = csv[0].open(16_000).unwrap();
    while reader.read(&mut samples).unwrap() > 0 {}
    assert_eq!(samples.len(), 4000);
    assert_eq!(read(folder.path(), "m.csv", b"path,text\n").unwrap(), []);
}

#[test]
fn mistakes_are_named_with_their_line() {
    let folder = folder();
    let error = |name: &str, text: &str| read(folder.path(), name, text.as_bytes()).unwrap_err();
    for (name, text, wanted) in [
        ("m.csv", "file,text\ntwo.wav,x\n", "m.csv:1: the first line must name the columns"),
        ("m.csv", "", "m.csv:1: the first line must name the columns"),
        ("m.csv", "path,text\ntwo.wav,x\ntwo.wav,x,y\n", "m.csv:3: this line has 3 columns"),
        ("m.csv", "path,start\ntwo.wav,soon\n", "m.csv:2: start = \"soon\" must be seconds"),
        ("m.csv", "path,start\ntwo.wav,-1\n", "m.csv:2: start = -1 must be seconds"),
        ("m.csv", "path,start\ntwo.wav,nan\n", "m.csv:2: start = NaN must be seconds"),
        ("m.csv", "path,start,end\ntwo.wav,2,1\n", "must end after it starts at 2 s"),
        ("m.csv", "path\nthree.wav\n", "m.csv:2: three.wav: cannot be read"),
        ("m.csv", "path\n\"\"\n", "a path: is empty"),
        ("m.tsv", "path\n../two.wav\n", "m.tsv:2: ../two.wav: must be a path below"),
        ("m.jsonl", "{\"path\": \"two.wav\"}\n\n{\"text\": 1}", "m.jsonl:3: is not a JSON object"),
        ("m.jsonl", "[1]\n", "m.jsonl:1: is not a JSON object"),
        ("m.txt", "path\n", "m.txt: must be named .csv, .tsv or .jsonl"),
    ] {
        let found = error(name, text);
        assert!(found.contains(wanted), "{text:?}: {found}");
    }
    let found = read(folder.path(), "m.csv", b"path,text\ntwo.wav,\xff\n").unwrap_err();
    assert!(found.contains("m.csv:2: this line is not UTF-8"), "{found}");
    let found = read(folder.path(), "m.jsonl", b"\n\xff\n").unwrap_err();
    assert!(found.contains("m.jsonl:2: this line is not UTF-8"), "{found}");
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let folder = folder();
    let inside = folder.path().join("a");
    let refused = |name: &str| within(&inside, name).unwrap_err().to_string();
    assert!(within(&inside, "one.wav").is_ok() && within(&inside, "./one.wav").is_ok());
    let absolute = folder.path().join("two.wav");
    for name in
        ["../two.wav", "x/../../two.wav", absolute.to_str().unwrap(), "..", "/", "a\\..\\b", "a\0b"]
    {
        assert!(refused(name).contains("must be a path below"), "{name}: {}", refused(name));
    }
    assert!(refused(".").contains("is not a file"));
    assert!(refused("").contains("is empty"));
    assert!(refused("none.wav").contains("none.wav: cannot be read"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink("../two.wav", inside.join("out.wav")).unwrap();
        assert!(refused("out.wav").contains("leads out of"));
        symlink("one.wav", inside.join("in.wav")).unwrap();
        assert!(within(&inside, "in.wav").unwrap().ends_with("a/one.wav"));
        symlink("..", inside.join("up")).unwrap();
        assert!(refused("up/two.wav").contains("leads out of"));
        symlink("/dev", inside.join("dev")).unwrap();
        assert!(refused("dev/zero").contains("leads out of"));
    }
}
