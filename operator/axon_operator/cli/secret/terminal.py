"""What others wrote, on a terminal: it must not move the cursor, hide a line, or look like what we say."""

import json
import sys
from collections.abc import Iterator
from typing import Any


def visible(text: str) -> str:
    """With all that is no printable character written as JSON writes it: control characters, also C1, and turns of direction."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def on_output(text: str) -> str:
    """For standard output: as it is for a program, and line by line visible on a terminal."""
    return "\n".join(visible(line) for line in text.split("\n")) if sys.stdout.isatty() else text


def outlined(value: Any, indent: str = "") -> Iterator[str]:
    """All of a JSON value, one thing on each line. Texts stay in their quotes, so none is taken for a line of its own."""
    for name, below in value.items():
        if isinstance(below, dict) and below:
            yield f"{indent}{visible(name)}:"
            yield from outlined(below, f"{indent}  ")
        else:
            yield f"{indent}{visible(name)}: {visible(json.dumps(below, ensure_ascii=False))}"
