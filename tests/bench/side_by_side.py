"""What the comparisons of this folder share: our program and its peers run in processes of their own (so that peak memory
is each one's), round after round in turn (so that a busy machine hurts all alike); medians over the rounds are printed."""
import json
import os
import statistics
import subprocess
import sys

PROGRAM = os.environ.get("DOSEGRID", os.path.join(os.path.dirname(__file__), "../../build/release/bin/dosegrid"))
MPI_FREE = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_COMM", "PMI"))}


def ours(*arguments):
    """The JSON answer of `dosegrid bench ...`, or None with the reason printed."""
    return run([PROGRAM, "bench", *map(str, arguments), "--json"])


def peer(script, *arguments):
    """The last line of a peer's process: JSON."""
    return run([sys.executable, script, *map(str, arguments)])


def run(command):
    done = subprocess.run(command, env=MPI_FREE, capture_output=True, text=True)
    if done.returncode != 0:
        tail = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        print(f"  {' '.join(command[:6])}: failed: {tail[0][:160]}", flush=True)
        return None
    return json.loads(done.stdout if done.stdout.lstrip().startswith("{\n") else done.stdout.strip().splitlines()[-1])


def alternate(runners, rounds):
    """{name: call} -> {name: {"median_s", "min_s", "peak_mb", "extra"}} over rounds in turn; failures are left out."""
    kept = {name: [] for name in runners}
    for _ in range(rounds):
        for name, call in runners.items():
            answer = call()
            if answer is not None:
                kept[name].append(answer)
    return {name: {"median_s": statistics.median(a["median_s"] for a in answers),
                   "min_s": min(a["min_s"] for a in answers),
                   "peak_mb": max(a.get("peak_mb", 0) for a in answers), "last": answers[-1]}
            for name, answers in kept.items() if answers}


def table(title, results, reference="dosegrid"):
    print(title)
    base = results.get(reference)
    for name, r in results.items():
        ratio = f"{r['median_s'] / base['median_s']:6.2f}x" if base else ""
        memory = f"{r['peak_mb']:8.0f} MB" if r["peak_mb"] else ""
        print(f"  {name:28s} median {r['median_s']:8.4f} s  min {r['min_s']:8.4f} s  {ratio} {memory}", flush=True)
