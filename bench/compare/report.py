"""Writes what a run came to: as text, and as the part of a page between two marks.

    report.py RESULTS.json TEXT.txt [PAGE.md PICTURES...]

Pictures are files beside the page, in the folder `assets`.
"""

import json
import os
import sys

BEGIN = "<!-- Made by `make compare`: -->"
END = "<!-- until here. -->"
UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))


def time(nanoseconds):
    if nanoseconds is None:
        return "-"
    for size, unit in UNITS:
        if nanoseconds >= size or size == 1:
            return f"{short(nanoseconds / size)} {unit}"


def short(number):
    """Three digits."""
    if number >= 100:
        return f"{number:.0f}"
    if number >= 10:
        return f"{number:.1f}"
    return f"{number:.2f}"


def megabytes(size):
    return "-" if size is None else short(size / 1e6) + " MB"


def ratio(number):
    if number is None:
        return "-"
    return f"{number:.3f}" if number < 0.1 else short(number)


def jobs(results):
    """(title, columns, [cells or reason]) of each table."""
    titles = {row["name"]: row["title"] for row in results["rows"]}
    for job in results["jobs"]:
        columns = [
            "",
            "median",
            "p99",
            "rounds",
            "processor time",
            "memory",
            "to the floor",
            "to ports",
        ]
        lines = []
        for row in job["rows"]:
            title = titles[row["name"]]
            if "median" not in row:
                lines.append((title, reason(row)))
                continue
            rounds = f"{time(min(row['rounds']))} - {time(max(row['rounds']))}"
            floor = (
                "floor"
                if row["name"] == job["floor"] and row["to_floor"] == 1
                else ratio(row["to_floor"])
            )
            lines.append(
                (
                    title,
                    time(row["median"]),
                    time(row["p99"]),
                    rounds,
                    time(row["processor_time"]),
                    megabytes(row["memory"]),
                    floor,
                    ratio(row["to_ports"]),
                )
            )
        yield (
            f"{job['title'][0].upper()}{job['title'][1:]}, per {job['unit']}",
            columns,
            lines,
        )
    columns = ["", "first worker", "its memory", "each further worker", "its memory"]
    lines = [
        (
            titles[row["name"]],
            time(row["first_time"]),
            megabytes(row["first_memory"]),
            time(row["next_time"]),
            megabytes(row["next_memory"]),
        )
        if "first_time" in row
        else (titles[row["name"]], reason(row))
        for row in results["starts"]
    ]
    yield "Start and memory of workers", columns, lines


def reason(row):
    return (
        f"left out: {row['skipped']}"
        if "skipped" in row
        else f"failed: {row['failed']}"
    )


def setting(results):
    about = results["setting"]
    memory = (
        f"{int(about['memory']) / 1024**2:.0f} GB of memory, "
        if about["memory"]
        else ""
    )
    lines = [
        (
            f"erlang_python {about['library']}, OTP {about['otp']} (ERTS {about['erts']}), Python {about['python']}, "
            f"{about['system']}"
        ),
        f"{about['processor'] or 'unknown processor'}, {about['schedulers']} cores, {memory}{about['workers']} workers",
        (
            f"{about['date']}, {about['rounds']} rounds of {about['turn']} ms for each row and job, {about['took']} s in all, "
            f"load average at the end {about['load'] or 'unknown'}"
        ),
    ]
    return lines + (
        ["few and short rounds, for a first look only"] if about["quick"] else []
    )


def text(results):
    out = setting(results)
    for title, columns, lines in jobs(results):
        full = [columns] + [line for line in lines if len(line) == len(columns)]
        widths = [max(len(line[i]) for line in full) for i in range(len(columns))]
        widths[0] = max(widths[0], *(len(line[0]) for line in lines))
        out += ["", title, "-" * len(title)]
        for line in [columns, *lines]:
            if len(line) == len(columns):
                cells = [line[0].ljust(widths[0])] + [
                    c.rjust(w) for c, w in zip(line[1:], widths[1:])
                ]
                out.append("  ".join(cells).rstrip())
            else:
                out.append(f"{line[0].ljust(widths[0])}  {line[1]}")
    return "\n".join(out) + "\n"


def page(results, pictures):
    out = ["", *(f"- {line}" for line in setting(results))]
    for picture in pictures:
        name = os.path.basename(picture)
        out += ["", f"![{os.path.splitext(name)[0].replace('-', ' ')}](assets/{name})"]
    for title, columns, lines in jobs(results):
        out += [
            "",
            f"#### {title}",
            "",
            f"| {' | '.join(columns)} |",
            "|" + "---|" * len(columns),
        ]
        left = {}
        for line in lines:
            if len(line) == len(columns):
                out.append(f"| {' | '.join(line)} |")
            else:
                left.setdefault(line[1], []).append(line[0])
        # Short: what takes no part, together with why.
        out += (
            ["", *(f"- {why}: {', '.join(names)}" for why, names in left.items())]
            if left
            else []
        )
    return "\n".join(out) + "\n\n"


def main():
    results_file, text_file, *rest = sys.argv[1:]
    with open(results_file, encoding="utf-8") as file:
        results = json.load(file)
    with open(text_file, "w", encoding="utf-8") as file:
        file.write(text(results))
    if rest:
        with open(rest[0], encoding="utf-8") as file:
            before, rest_of_page = file.read().split(BEGIN)
            _, after = rest_of_page.split(END)
        with open(rest[0], "w", encoding="utf-8") as file:
            file.write(before + BEGIN + "\n" + page(results, rest[1:]) + END + after)


if __name__ == "__main__":
    main()
