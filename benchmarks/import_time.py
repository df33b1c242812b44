"""What `import segkit` and `from segkit import miou` cost over `import numpy`: medians of interleaved processes.

    python benchmarks/import_time.py [processes]

Wall time is what a person waits. CPU time is the same on a quiet machine; on a busy one it leaves out others' work.
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
TIMED = """
import time
wall, cpu = time.perf_counter(), time.process_time()
{statement}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def seconds(statement: str) -> tuple[float, float]:
    """Wall and CPU time of a statement in a new process, without the start of the interpreter."""
    command = [sys.executable, "-c", TIMED.format(statement=statement)]
    wall, cpu = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(wall), float(cpu)


def measure(processes: int = 21) -> dict[str, tuple[float, float]]:
    """Each statement's median (wall, CPU) seconds; the processes take turns, so that what slows one slows all."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in STATEMENTS}
    for _ in range(processes):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    return {
        name: (statistics.median(wall for wall, _ in pairs), statistics.median(cpu for _, cpu in pairs))
        for name, pairs in times.items()
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    medians = measure(count)
    base_wall, base_cpu = medians["numpy"]
    print(f"| median of {count} processes | wall, ms | over numpy | CPU, ms | over numpy | ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, (wall, cpu) in medians.items():
        cells = [1000 * wall, 1000 * (wall - base_wall), 1000 * cpu, 1000 * (cpu - base_cpu)]
        print(f"| `{STATEMENTS[name]}` | {' | '.join(f'{cell:.1f}' for cell in cells)} | {cpu / base_cpu:.2f} |")


if __name__ == "__main__":
    main()
