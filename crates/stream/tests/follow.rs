//! Files that grow, rotate and come into a folder.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{File, OpenOptions, rename};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use common::{idle, take, texts};
use tidemill_stream::sources::{DirectorySource, TailSource};
use tidemill_stream::{Error, Source};

fn add(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_file_is_followed_through_rotation_and_truncation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut source = TailSource::open(&path, 1000).unwrap();
    idle(&mut source);
    add(&path, "one\ntwo\nthr");
    assert_eq!(texts(&mut source, 2), ["one", "two"]);
    idle(&mut source);
    add(&path, "ee\n");
    assert_eq!(texts(&mut source, 1), ["three"]);

    let mut old = OpenOptions::new().append(true).open(&path).unwrap();
    rename(&path, folder.path().join("events.1")).unwrap();
    idle(&mut source);
    old.write_all(b"late\nno end").unwrap();
    add(&path, "new\n");
    assert_eq!(texts(&mut source, 3), ["late", "no end", "new"]);

    File::create(&path).unwrap();
    idle(&mut source);
    add(&path, "x\n");
    assert_eq!(texts(&mut source, 1), ["x"]);
    assert_eq!(source.counters().reopened, 2);
}

#[test]
fn a_followed_file_goes_on_after_a_stop_over_several_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let name = |i: usize| folder.path().join(format!("events.{i}"));
    let pause = || std::thread::sleep(Duration::from_millis(12));
    add(&path, "a1\na2\na3\n");
    let read = take(&mut TailSource::open(&path, 1000).unwrap(), 3);
    pause();
    rename(&path, name(1)).unwrap();
    add(&path, "b1\nb2\n");
    pause();
    rename(name(1), name(2)).unwrap();
    rename(&path, name(1)).unwrap();
    add(&path, "c1\n");
    for (at, expect) in [(0, &["a2", "a3", "b1", "b2", "c1"][..]), (2, &["b1", "b2", "c1"][..])] {
        let mut source = TailSource::open(&path, 1000).unwrap();
        source.seek(&read[at].1).unwrap();
        let rest = take(&mut source, expect.len());
        assert!(rest.iter().map(|(text, _)| text).eq(expect), "{rest:?}");
        assert_eq!(rest.last().unwrap().1.parts.len(), 1, "only the last file counts");
        idle(&mut source);
    }
    std::fs::remove_file(name(2)).unwrap();
    let error = TailSource::open(&path, 1000).unwrap().seek(&read[0].1).unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error}");
}

#[test]
fn a_writer_and_a_follower_at_once_with_many_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut source = TailSource::open(&path, 1000).unwrap();
    let (other, base) = (path.clone(), folder.path().to_path_buf());
    let writer = std::thread::spawn(move || {
        for i in 0..20_000 {
            if i % 4000 == 3999 {
                std::thread::sleep(Duration::from_millis(30));
                rename(&other, base.join(format!("events.{i}"))).unwrap();
            }
            add(&other, &format!("{i}\n"));
        }
    });
    let lines = texts(&mut source, 20_000);
    writer.join().unwrap();
    assert!(lines.iter().enumerate().all(|(i, line)| *line == i.to_string()));
}

#[test]
fn files_are_read_as_they_come_into_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let open = |settle| DirectorySource::open(folder.path(), settle, 1000, false).unwrap();
    let mut source = open(Duration::from_millis(200));
    idle(&mut source);
    add(&path(".hidden"), "no\n");
    add(&path("b.tmp"), "no\n");
    add(&path("b"), "b1\nb2");
    add(&path("a"), "a1\n");
    // `a` is complete because `b` is there; `b` must settle first.
    assert_eq!(texts(&mut source, 1), ["a1"]);
    idle(&mut source);
    let read = take(&mut source, 2);
    rename(path("b.tmp"), path("c")).unwrap();
    assert_eq!(texts(&mut source, 1), ["no"]);
    assert_eq!(source.counters().records, 4);

    let mut source = open(Duration::ZERO);
    source.seek(&read[0].1).unwrap();
    let rest = take(&mut source, 2);
    assert_eq!((rest[0].0.as_str(), rest[1].0.as_str()), ("b2", "no"));
    assert_eq!(rest[1].1.to_string(), "c 3-1");
    idle(&mut source);
    std::fs::remove_file(path("b")).unwrap();
    let error = open(Duration::ZERO).seek(&read[0].1).unwrap_err().to_string();
    assert!(error.contains("put it back"), "{error}");
}
