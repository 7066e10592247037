"""Training of unigram tokenizers: Tidemill beside SentencePiece, on the sentences of Multi30k. See README.md.

`python bench/unigram.py [VOCABULARY ...]` (8000 and 4000 by default) prints for both trainers, with the same options and
vocabularies of the same composition: the seconds of training, and on the training and the test sentences the
tokens a sentence and the logarithm of the probability of the most probable tokens, per character. Needs
`sentencepiece` and the data (`../shared/data` or `$TIDEMILL_DATA`).
"""

import gzip
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import sentencepiece

HERE = pathlib.Path(__file__).parent
DATA = pathlib.Path(os.environ.get("TIDEMILL_DATA", HERE.parent / "../shared/data")) / "multi30k_en_de"


def lines_of(name):
    lines = []
    for language in ["en", "de"]:
        with gzip.open(DATA / f"{name}.{language}.gz", "rt", encoding="utf-8") as file:
            lines += file.read().splitlines()
    return lines


def figures(model, lines):
    """Tokens a sentence; nats per character, as the model has its scores, and with probabilities that sum to 1."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    normal = [i for i in range(pieces.get_piece_size()) if not (pieces.is_byte(i) or pieces.is_control(i) or pieces.is_unknown(i))]
    score = {i: pieces.get_score(i) for i in normal}
    all_pieces = math.log(sum(math.exp(s) for s in score.values()))
    ids = pieces.encode(lines)
    # Bytes have no probability; they are as many in both, since the characters are.
    scores = [score[i] for line in ids for i in line if i in score]
    characters = sum(len(line) + 1 for line in lines)
    tokens = sum(map(len, ids))
    return tokens / len(lines), sum(scores) / characters, (sum(scores) - all_pieces * len(scores)) / characters


def main(vocabularies):
    train, test = lines_of("train"), lines_of("test_2016_flickr")
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "tidemill-text", "--example", "tokenize"], check=True, cwd=HERE.parent)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "train").write_text("\n".join(train), encoding="utf-8", newline="\n")
        for vocabulary in vocabularies:
            spec = json.dumps({"unigram": {"vocabulary": vocabulary}})
            program = HERE.parent / "target/release/examples/tokenize"
            out = subprocess.run([program, spec, folder / "train", folder / "ours.model"], check=True, capture_output=True, text=True)
            ours = out.stdout.splitlines()[0].split()[-1]
            start = time.perf_counter()
            sentencepiece.SentencePieceTrainer.train(
                input=str(folder / "train"), model_prefix=str(folder / "theirs"), vocab_size=vocabulary, model_type="unigram",
                byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, pad_id=0, unk_id=1, bos_id=2,
                eos_id=3, num_threads=os.cpu_count(), minloglevel=2,
            )  # fmt: skip
            theirs = f"{time.perf_counter() - start:.1f}s"
            for name, model, seconds in [("tidemill", "ours.model", ours), ("sentencepiece", "theirs.model", theirs)]:
                for of, lines in [("training", train), ("test", test)]:
                    tokens, plain, normalized = figures(folder / model, lines)
                    print(
                        f"{vocabulary} {name:<13} trained in {seconds:<9} {of:<8} {tokens:.3f} tokens a sentence, "
                        f"{plain:.4f} nats per character ({normalized:.4f} if probabilities sum to 1)"
                    )


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [8000, 4000])
