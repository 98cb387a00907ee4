"""What callgrind has counted, as a table, beside what was recorded; see instructions.sh."""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

#: Where instructions are executed, by the names of the files that hold them.
PLACES = [
    ("library", re.compile(r"/py_nif\.so$")),
    ("floor", re.compile(r"/bench_floor\.so$")),
    ("CPython", re.compile(r"libpython|/lib-dynload/|/python3[.\d]*$")),
    ("emulator", re.compile(r"/beam\.smp$|libstdc\+\+")),
    ("Erlang", re.compile(r"^\?\?\?$|vmem|memfd")),
]
LABEL = re.compile(r"^desc: Trigger: Client Request: (.*)=(\d+)$")
NAME = re.compile(r"\((\d+)\)(?: (.*))?")
#: So much may a figure differ from run to run.
NOISE = 0.01

Counts = dict[str, Counter[str]]


def counted(file: Path) -> tuple[str, Counter[str]] | None:
    """The name of an operation, and the instructions of one by places."""
    label: re.Match[str] | None = None
    objects: dict[str, str] = {}
    here = "???"
    of_call = False
    sums: Counter[str] = Counter()
    with file.open(errors="replace") as lines:
        for line in lines:
            if line.startswith("desc:"):
                label = label or LABEL.match(line.rstrip())
            elif line.startswith(("ob=", "cob=")):
                match = NAME.match(line.split("=", 1)[1].rstrip())
                if match is None:
                    continue
                if match[2]:
                    objects[match[1]] = match[2]
                if line.startswith("ob="):
                    here = objects[match[1]]
            elif line.startswith("calls="):
                of_call = True
            elif line[0] in "0123456789+-*":
                if not of_call:
                    sums[here] += int(line.split()[1])
                of_call = False
    if label is None:
        return None
    times = int(label[2])
    places: Counter[str] = Counter()
    for name, count in sums.items():
        places[place(name)] += count
    return label[1], Counter(
        {name: round(count / times) for name, count in places.items()}
    )


def place(name: str) -> str:
    """Where the instructions of a file are executed."""
    return next(
        (where for where, pattern in PLACES if pattern.search(name)), "C library"
    )


def total(counts: Counter[str]) -> int:
    """All of one operation."""
    return sum(counts.values())


def figures(counts: Counter[str], *less: Counter[str]) -> Counter[str]:
    """What remains without others."""
    result = Counter(counts)
    for other in less:
        result.subtract(other)
    return result


def operations(counts: Counts) -> Iterator[tuple[str, Counter[str], str | None]]:
    """The rows: what it is, its instructions, and the floor beside it."""
    floors: dict[str, str] = {
        "py:call": "bare path",
        "py:call of a context": "bare path",
        "echo of the loop": "echo of the standard loop",
    }
    values = []
    for name, count in counts.items():
        value, _, part = name.partition(", ")
        if not part:
            yield name, count, floors.get(name)
        elif part == "there":
            values.append(value)
    for value in values:
        copy = counts[f"{value}, there, copy"]
        there = figures(counts[f"{value}, there"], copy)
        yield f"{value}, there", there, f"{value}, there, floor"
        yield f"{value}, copy of the request", copy, None
        yield f"{value}, back", counts[f"{value}, back"], f"{value}, back, floor"


def table(counts: Counts, before: dict[str, int]) -> str:
    """The report."""
    names = [name for name, _ in PLACES] + ["C library"]
    head = f"{'':<28}{'all':>9}{'floor':>9}{'ratio':>7}{'recorded':>10}{'change':>9}"
    lines = [head + "".join(f"{name:>10}" for name in names)]
    for name, count, floor in operations(counts):
        cells = [f"{name:<28}{total(count):>9}"]
        if floor is None:
            cells.append(f"{'':>16}")
        else:
            least = total(counts[floor])
            cells.append(f"{least:>9}{total(count) / max(least, 1):>7.2f}")
        cells.append(change(total(count), before.get(name)))
        cells += [f"{count[name]:>10}" for name in names]
        lines.append("".join(cells))
    return "\n".join(lines) + "\n"


def change(now: int, before: int | None) -> str:
    """Beside what was recorded."""
    if not before:
        return f"{'-':>10}{'':>9}"
    change = now / before - 1
    return f"{before:>10}" + (
        f"{change:>+9.1%}" if abs(change) > NOISE else f"{'=':>9}"
    )


def recorded(file: Path) -> dict[str, int]:
    """The figures of a file."""
    if not file.exists():
        return {}
    cells = (line.rsplit(maxsplit=1) for line in file.read_text().splitlines())
    return {name: int(figure) for name, figure in cells}


def main(counts: str, records: str, *options: str) -> None:
    """Report; with ``--record`` keep the figures as well."""
    versions = Path(counts, "versions").read_text().split()
    otp, python = versions[0], ".".join(versions[1].split(".")[:2])
    file = Path(records, f"otp{otp}-python{python}.txt")
    dumps = sorted(Path(counts).glob("out.*"), key=lambda path: int(path.suffix[1:]))
    every: Counts = {}
    for name, figure in filter(None, map(counted, dumps)):
        if name not in every or total(figure) < total(every[name]):
            every[name] = figure
    print(f"\nInstructions, OTP {otp}, Python {python}\n")
    print(table(every, recorded(file)))
    if "--record" in options:
        file.parent.mkdir(exist_ok=True)
        kept = (
            f"{name:<32}{total(count):>8}\n" for name, count, _ in operations(every)
        )
        file.write_text("".join(kept))
        print(f"written: {file}")


if __name__ == "__main__":
    main(*sys.argv[1:])
