"""Count the tests of some junit files, and fail on a skip that tests/allowed_skips.txt does not list with a reason.

The last line is plain: `N passed, N failed, N skipped`. A file that is missing, or a run without a test, is a failure.
"""

from __future__ import annotations

import argparse
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path


def allowed_skips(text: str) -> list[re.Pattern[str]]:
    """The patterns of a list whose lines are `module::test: reason`; `*` stands for anything, `#` begins a comment."""
    patterns = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        test, separator, reason = line.partition(": ")
        if not separator or not reason.strip():
            raise ValueError(f"line {number} of the allowed skips has no reason: {line!r}")
        patterns.append(re.compile(".*".join(map(re.escape, test.strip().split("*")))))
    return patterns


def outcomes(path: Path) -> list[tuple[str, str, str]]:
    """Each test of a junit file as (id, outcome, message). An expected failure counts as passed."""
    found = []
    for case in ET.parse(path).iter("testcase"):
        test = f"{case.get('classname')}::{case.get('name')}".removeprefix("::")
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            found.append((test, "failed", ""))
        elif skip is not None and skip.get("type") != "pytest.xfail":
            found.append((test, "skipped", skip.get("message") or ""))
        else:
            found.append((test, "passed", ""))
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allowed", type=Path, required=True, help="the list of allowed skips")
    parser.add_argument("files", type=Path, nargs="+", help="junit files")
    options = parser.parse_args(arguments)
    patterns = allowed_skips(options.allowed.read_text(encoding="utf-8"))
    total: Counter[str] = Counter()
    wrong = False
    for path in options.files:
        tests = outcomes(path) if path.is_file() else []
        counts = Counter(outcome for _, outcome, _ in tests)
        print(f"{path.stem}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
        if not tests:
            wrong = True
            print(f"{path.stem}: no test ran")
        for test, outcome, message in tests:
            if outcome == "skipped":
                listed = any(pattern.fullmatch(test) for pattern in patterns)
                wrong = wrong or not listed
                print(
                    f"  {'skipped' if listed else 'SKIPPED, and not in the list of allowed skips'}: {test}: {message}"
                )
        total += counts
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return int(wrong or total["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
