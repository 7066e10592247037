#!/usr/bin/env python3
"""Files of lines from the archive of AESLC: an e-mail a line in NAME.body, its subject in NAME.subject. See recipes/aeslc.toml.

    python3 bench/aeslc.py enron_subject_line.tar.gz FOLDER [--lower]

With --lower all text is in lower case, as ROUGE compares it: a word of the e-mail then has the same tokens as in the subject.
"""

import argparse
import pathlib
import sys
import tarfile


def parts(text):
    """The e-mail and its subject, each on one line; those of people who were asked for another subject are left out."""
    body, _, rest = text.partition("\n@subject\n")
    return " ".join(body.split()), " ".join(rest.partition("\n@ann")[0].split())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("archive")
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--lower", action="store_true", help="all text in lower case")
    o = p.parse_args()
    o.folder.mkdir(parents=True, exist_ok=True)
    found = {}
    with tarfile.open(o.archive) as tar:
        for member in sorted(tar, key=lambda member: member.name):
            if member.isfile() and member.name.endswith(".subject"):
                text = tar.extractfile(member).read().decode("utf-8", errors="replace")
                text = text.lower() if o.lower else text
                found.setdefault(pathlib.PurePath(member.name).parent.name, []).append(parts(text))
    for name, pairs in found.items():
        kept = [(body, subject) for body, subject in pairs if body and subject]
        for kind, lines in zip(("body", "subject"), zip(*kept)):
            (o.folder / f"{name}.{kind}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        print(f"{name}: {len(kept)} e-mails, {len(pairs) - len(kept)} without a text or a subject left out")


if __name__ == "__main__":
    sys.exit(main())
