"""The whole audit without models on many rows: processor time and peak memory, beside datasketch and semhash alone.

    python benchmarks/scale.py [--rows 1000000] [--peer-rows 100000] [--peers PYTHON]

The rows are those of four real sets, repeated, with a tenth to four fifths of their words replaced or added, so that
some nearly repeat and most do not. `--peers` is a Python that has datasketch, semhash and wordllama: they do one part
of the audit (near duplicates; semhash with the static vectors of wordllama) on the first `--peer-rows` rows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared" / "data"
SETS = ("banking77/train.jsonl", "snips/train.jsonl", "tldr/examples.jsonl", "xquad/questions.jsonl")

OURS = """
import json, resource, sys, time
from luthier.api import Project
stages, began, last = {}, time.process_time(), ["", 0.0]
def progress(stage, done, total, remark):
    now = time.process_time()
    stages[last[0]] = stages.get(last[0], 0.0) + now - last[1]
    last[:] = [remark or stage, now]
checked = Project(sys.argv[1], progress=progress).check()
progress("", 0, 0, "")
print(json.dumps({
    "seconds": time.process_time() - began,
    "peak": int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024,
    "rows": checked.rows,
    "findings": {f.code: f.count for f in checked.findings},
    "stages": {name: round(seconds, 1) for name, seconds in stages.items() if name},
}))
"""

PEER = """
import json, resource, sys, time
texts = [json.loads(line)["prompt"] for line in open(sys.argv[1], encoding="utf-8")][: int(sys.argv[3])]
began = time.process_time()
if sys.argv[2] == "datasketch":
    from datasketch import MinHash, MinHashLSH
    index = MinHashLSH(threshold=0.8, num_perm=128)
    found = 0
    for i, text in enumerate(texts):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([text[k : k + 5].lower().encode() for k in range(max(1, len(text) - 4))])
        found += bool(index.query(sketch))
        index.insert(i, sketch)
else:
    from pathlib import Path
    import wordllama
    from semhash import SemHash
    words = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    class Encoder:
        def encode(self, inputs, **kwargs):
            return words.embed(list(inputs), norm=True)
    found = len(SemHash.from_records(texts, model=Encoder()).self_deduplicate(threshold=0.95).filtered)
print(json.dumps({
    "seconds": time.process_time() - began,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "found": found,
}))
"""


def changed_rows(count: int) -> Iterator[str]:
    """JSON lines of real rows with changed words; the same for every call."""
    rng = random.Random(0)
    rows = [json.loads(line) for file in SETS for line in (SHARED / file).read_text("utf-8").splitlines()]
    vocabulary = sorted({word for row in rows for word in row["prompt"].split()})
    for _ in range(count):
        row = rng.choice(rows)
        words = row["prompt"].split()
        for _ in range(max(1, int(len(words) * rng.choice((0.1, 0.3, 0.5, 0.8))))):
            place = rng.randrange(len(words) + 1)
            if rng.random() < 0.5 and place < len(words):
                words[place] = rng.choice(vocabulary)
            else:
                words.insert(place, rng.choice(vocabulary))
        yield json.dumps({"prompt": " ".join(words), "completion": row["completion"]}, ensure_ascii=False)


def run(python: str, code: str, *arguments: str) -> dict[str, object]:
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=100_000)
    parser.add_argument("--peers", help="a Python that has datasketch, semhash and wordllama")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in changed_rows(options.rows))
        # an endpoint that is never asked: what the rows teach on a base is not part of this
        task = {"task": "scale", "goal": "g", "examples": "rows.jsonl", "score": {"kind": "exact"}}
        (folder / "luthier.yaml").write_text(json.dumps(task | {"base": "http://127.0.0.1:9/v1#none"}))
        ours = run(sys.executable, OURS, str(folder))
        print("luthier check", json.dumps(ours))
        if "error" in ours:
            return 1
        seconds, peak, rows = float(str(ours["seconds"])), float(str(ours["peak"])), int(str(ours["rows"]))
        each = seconds / rows * 100_000 / 60
        print(f"{rows:,} rows: {each:.2f} processor-minutes per 100,000 rows, peak {peak / 1e9:.2f} GB")
        for peer in ("datasketch", "semhash") if options.peers else ():
            theirs = run(options.peers, PEER, str(folder / "rows.jsonl"), peer, str(options.peer_rows))
            print(peer, json.dumps(theirs))
            if "error" not in theirs:
                ratio = float(str(theirs["seconds"])) / options.peer_rows / (seconds / rows)
                print(f"{peer} alone takes {ratio:.1f} times the whole audit's time per row")
    return 0 if each < 5 and peak < 2e9 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
