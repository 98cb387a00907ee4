"""Prints the cases of the newest Common Test run that failed, a line or two for each.

    failed-cases.py LOGS_DIRECTORY
"""

import html
import re
import sys
from pathlib import Path

LONGEST = 700


def newest_run(logs: Path) -> Path | None:
    return max(logs.glob("ct_run*"), key=lambda run: run.stat().st_mtime, default=None)


def failures(suite_log: str) -> list[str]:
    """Of a `suite.log`: each case begins with `=case`, and says how it ended with `=result`."""
    found = []
    for case in re.split(r"(?m)^=case\s+", suite_log)[1:]:
        name = case.split("\n")[0]
        if not re.search(r"(?m)^=result\s", case):
            found.append(f"{name}: has not ended: the node has, or was stopped")
        failed = re.search(r"(?m)^=result\s+failed: (.*(?:\n(?!=).*)*)", case)
        if failed:
            reason = re.sub(r"\s+", " ", html.unescape(failed[1]))
            found.append(f"{name}: {reason[:LONGEST]}")
    return found


def main() -> None:
    run = newest_run(Path(sys.argv[1]))
    if run is None:
        return
    for suite_log in sorted(run.glob("*/run*/suite.log")):
        for failure in failures(suite_log.read_text(errors="replace")):
            print(failure)


main()
