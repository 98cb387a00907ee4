"""Draws what a run came to.

    plot.py RESULTS.json FOLDER

It prints the names of the pictures. It needs matplotlib, see requirements.txt.
"""

import json
import os
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

OURS, OTHERS, FLOORS = "#1f77b4", "#9aa5b1", "#d9c58b"
# Those whose speed with several workers is drawn.
SCALING = ("primes", "text", "syntax")


def color(row):
    name = row["name"]
    if name == "processes" or name.startswith("direct"):
        return FLOORS
    return OURS if name.startswith(("owngil", "worker")) else OTHERS


def bars(axes, title, rows, titles, value, label, scale="log"):
    shown = [row for row in rows if value(row) is not None][::-1]
    values = [value(row) for row in shown]
    axes.barh(
        [titles[row["name"]] for row in shown],
        values,
        color=[color(row) for row in shown],
    )
    axes.set_xscale(scale)
    # Each bar says what it is.
    axes.xaxis.set_major_formatter(NullFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    for position, number in enumerate(values):
        axes.text(number, position, " " + label(number), va="center", fontsize=7)
    axes.margins(x=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def duration(nanoseconds):
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def megabytes(size):
    return f"{size / 1e6:.3g} MB"


def times(results, names, file, titles):
    chosen = [job for job in results["jobs"] if job["name"] in names]
    figure, axes = plt.subplots(
        len(chosen), figsize=(8, 3.2 * len(chosen)), squeeze=False
    )
    for ax, job in zip(axes[:, 0], chosen):
        bars(
            ax,
            f"{job['title']}: median time",
            job["rows"],
            titles,
            lambda row: row.get("median"),
            duration,
        )
    save(figure, file)


def scaling(results, file, titles):
    figure, axes = plt.subplots(1, len(SCALING), figsize=(10, 4.2), sharey=True)
    for ax, name in zip(axes, SCALING):
        steps = [job for job in results["jobs"] if job["name"] == name]
        floor = next(
            (
                r["median"]
                for r in steps[0]["rows"]
                if r["name"] == "direct" and "median" in r
            ),
            None,
        )
        lines = {}
        for job in steps:
            for row in job["rows"]:
                if "median" in row and not row["name"].startswith("direct") and floor:
                    lines.setdefault(row["name"], []).append(
                        (job["busy"], floor / row["median"])
                    )
        for row, points in lines.items():
            style = "-o" if row.startswith(("owngil", "worker")) else "--s"
            ax.plot(
                *zip(*points), style, label=titles[row], markersize=4, linewidth=1.2
            )
        ax.set_title(steps[0]["title"].split(" on ")[0], fontsize=10)
        ax.set_xticks([job["busy"] for job in steps])
        ax.set_xlabel("workers at work", fontsize=8)
        ax.tick_params(labelsize=8)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("work done, one plain Python process being 1", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="lower center", ncols=3, fontsize=8, frameon=False
    )
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    save(figure, file, fit=False)


def workers(results, file, titles):
    figure, axes = plt.subplots(2, figsize=(8, 6.4))
    rows = results["starts"]
    each = "each further worker: "
    bars(
        axes[0],
        each + "time until it has answered",
        rows,
        titles,
        lambda r: r.get("next_time"),
        duration,
        "linear",
    )
    bars(
        axes[1],
        each + "memory",
        rows,
        titles,
        lambda r: r.get("next_memory"),
        megabytes,
        "linear",
    )
    save(figure, file)


def save(figure, file, fit=True):
    if fit:
        figure.tight_layout()
    # The same results give the same file.
    figure.savefig(file, dpi=100, metadata={"Software": None})
    plt.close(figure)
    print(file)


def main():
    results_file, folder = sys.argv[1:]
    with open(results_file, encoding="utf-8") as file:
        results = json.load(file)
    os.makedirs(folder, exist_ok=True)
    titles = {row["name"]: row["title"] for row in results["rows"]}
    times(
        results,
        ("call", "callers"),
        os.path.join(folder, "comparison-calls.png"),
        titles,
    )
    times(
        results,
        ("bytes_10k", "bytes_10m", "document"),
        os.path.join(folder, "comparison-payloads.png"),
        titles,
    )
    scaling(results, os.path.join(folder, "comparison-work.png"), titles)
    workers(results, os.path.join(folder, "comparison-workers.png"), titles)


if __name__ == "__main__":
    main()
