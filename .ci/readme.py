"""Print the README's two commands, a line each: the `bash` blocks after `<!-- command: one -->` and `two`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^<!-- command: (\w+) -->\n+```bash\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The two commands, word for word. Anything but one block of one line each is an error, never an empty run."""
    found = BLOCK.findall(text)
    if [name for name, _ in found] != ["one", "two"]:
        raise ValueError(f"expected the marked commands one and two, in this order; got {[name for name, _ in found]}")
    for name, command in found:
        if not command.strip() or "\n" in command:
            raise ValueError(f"command {name} must be one line; got {command!r}")
    return [command for _, command in found]


if __name__ == "__main__":
    print("\n".join(commands(Path(sys.argv[1]).read_text(encoding="utf-8"))))
