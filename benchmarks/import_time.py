"""What `import segkit` and `from segkit import miou` cost over `import numpy`: medians of interleaved processes.

python benchmarks/import_time.py [processes]
"""

from __future__ import annotations

import statistics
import subprocess
import sys

STATEMENTS = {
    "numpy": "import numpy",
    "segkit": "import numpy, segkit",
    "miou": "import numpy; from segkit import miou",
}


def seconds(statement: str) -> float:
    """The time of a statement in a new process, without the start of the interpreter."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def measure(processes: int = 21) -> dict[str, float]:
    """The median time of each statement; the processes take turns, so that a busy machine slows all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(processes):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    medians = measure(count)
    print(f"median of {count} processes | ms | over numpy, ms | ratio\n---|---:|---:|---:")
    for name, value in medians.items():
        over = value - medians["numpy"]
        print(f"`{STATEMENTS[name]}` | {1000 * value:.1f} | {1000 * over:.1f} | {value / medians['numpy']:.2f}")
