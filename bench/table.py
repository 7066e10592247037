"""From results to the Markdown table, and from there into docs/speed.md."""

import pathlib
import re

from jobs import STEP_JOBS, WHOLE_BAR, WHOLE_MEMORY_MB, WHOLE_TITLE

TIDEMILL = "Tidemill"


def micros(value):
    if value is None:
        return "-"
    if value < 100:
        return f"{value:.1f} us"
    return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.2f} ms" if value < 10_000 else f"{value / 1000:.1f} ms"


def fastest(cells):
    present = {name: value for name, value in cells.items() if value}
    return min(present, key=present.get) if present else None


def ratio(peer, ours):
    return None if not peer or not ours else peer / ours


def verdict(value, bar):
    return "-" if value is None else f"{'pass' if value >= bar else 'FAIL'} ({bar:g} x)"


def step_rows(results):
    """The bar is judged against the fastest peer that is called once a step, as Tidemill is; the ratio to the fastest
    peer that runs many steps in one call stands beside it.
    """
    many = set(results["many_steps"])
    names = [name for name in results["programs"] if name != TIDEMILL]
    head = ["job (one training step)", "floor", *names, TIDEMILL, "against fastest", "bar", "against many-step calls"]
    rows = []
    for job in STEP_JOBS:
        entry = results["jobs"].get(job.name)
        if not entry:
            continue
        cells = {name: entry["median"].get(name) for name in names}
        ours = entry["median"].get(TIDEMILL)
        single = {n: v for n, v in cells.items() if n not in many}
        best, best_many = fastest(single), fastest({n: v for n, v in cells.items() if n in many})
        against = ratio(single.get(best), ours)
        text = verdict(against, job.bar)
        if job.pytorch_bar:
            for name in ("PyTorch", "torch.compile"):
                value = ratio(cells.get(name), ours)
                text += f"; {name} {value:.1f} x: {verdict(value, job.pytorch_bar)}" if value else ""
        many_ratio = ratio(cells.get(best_many), ours)
        marked = [f"**{micros(v)}**" if n == best else micros(v) for n, v in cells.items()]
        rows.append([job.title, micros(entry.get("floor")), *marked, micros(ours),
                     f"{against:.2f} x" if against else "-", text, f"{many_ratio:.2f} x" if many_ratio else "-"])  # fmt: skip
    return head, rows


def whole_rows(results):
    entry = results["whole"]
    ours = entry["median"].get(TIDEMILL)
    head = ["program", "time", "Tidemill is faster by", "peak memory", "test accuracy"]
    rows = []
    for name, seconds in sorted(entry["median"].items(), key=lambda item: item[1]):
        accuracy = entry["accuracy"].get(name)
        rows.append([name, f"{seconds:.2f} s", "-" if name == TIDEMILL or not ours else f"{seconds / ours:.2f} x",
                     f"{entry['peak_rss_mb'][name]:.0f} MB", f"{accuracy:.2f} %" if accuracy else "-"])  # fmt: skip
    notes = []
    if ours:
        peers = {n: v for n, v in entry["median"].items() if n != TIDEMILL}
        against = ratio(peers.get(fastest(peers)), ours)
        notes.append(f"Against the fastest: {verdict(against, WHOLE_BAR)}; peak memory "
                     f"{'pass' if entry['peak_rss_mb'][TIDEMILL] < WHOLE_MEMORY_MB else 'FAIL'} (under {WHOLE_MEMORY_MB} MB).")  # fmt: skip
    return head, rows, notes


def grid(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def render(results):
    parts = []
    if results["jobs"]:
        parts.append(grid(*step_rows(results)))
    if results.get("whole"):
        head, rows, notes = whole_rows(results)
        parts.append("\n\n".join([WHOLE_TITLE[0].upper() + WHOLE_TITLE[1:] + ":", grid(head, rows), *notes]))
    parts.append(f"Machine: {results['machine']}. Medians of {results['rounds']} interleaved rounds, 2 threads at most.")
    for warning in results["warnings"]:
        parts.append(f"Warning: {warning}.")
    return "\n\n".join(parts)


def write_between_marks(path, text):
    path = pathlib.Path(path)
    old = path.read_text(encoding="utf-8")
    block = f"<!-- bench:start -->\n{text}\n<!-- bench:end -->"
    new, count = re.subn(r"<!-- bench:start -->.*?<!-- bench:end -->", lambda _: block, old, flags=re.S)
    if count != 1:
        raise SystemExit(f"{path}: expected one block between <!-- bench:start --> and <!-- bench:end -->, found {count}")
    path.write_text(new, encoding="utf-8")
