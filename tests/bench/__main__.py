# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.bench`: runs the cases, says how far it is, prints the table, writes the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from tests.bench import measure, report
from tests.bench.build import OUTPUT
from tests.bench.case import QUICK, Settings
from tests.bench.cases import CASES

REPORT = OUTPUT / "report.json"
WIDTH = 140
# What a lab or a measurement can fail of: no peer, no answer in time, a program that says no.
FAILURES = (RuntimeError, TimeoutError, OSError, AssertionError, subprocess.SubprocessError)
NAMES = [case.name for case in CASES]


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds of each case; the default is 3.")
@click.option("--cases", "chosen", default=",".join(NAMES), show_default=True, help="Cases, with commas.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of the table.")
@click.option("--quick", is_flag=True, help="Only try whether it works: the figures mean nothing.")
@click.option("--output", type=click.Path(path_type=Path), default=REPORT, help="Where the report goes.")
def main(rounds: int | None, chosen: str, as_json: bool, quick: bool, output: Path) -> None:
    """Measure TrIKESec side by side with what else there is."""
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root; cure: sudo make bench")
    unknown = set(chosen.split(",")) - set(NAMES)
    if unknown:
        raise click.BadParameter(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    settings = QUICK if quick else Settings()
    if rounds is not None:
        settings = replace(settings, rounds=rounds)
    console = Console(stderr=True)
    results, failed = [], {}
    with console.status("starting") as status:
        for case in CASES:
            if case.name not in chosen.split(","):
                continue
            try:
                results.append((case, measure.run(case, settings, status.update)))
            except FAILURES as error:
                # The other cases are still worth measuring.
                failed[case.name] = "\n".join([str(error), *getattr(error, "__notes__", [])])
                console.print(f"case {case.name} failed: {failed[case.name]}", style="red", markup=False)
    document = report.document(settings, results, failed)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        # Without a terminal rich would guess 80 columns and cut the names.
        Console(width=None if sys.stdout.isatty() else WIDTH).print(*report.tables(results))
        console.print(f"every sample: {output}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
