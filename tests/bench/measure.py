# SPDX-License-Identifier: Apache-2.0
"""Runs a case: every variant once a round, in turn, so that whatever else the machine does meets all alike.

Gives samples; what they mean is the report's business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from tests.bench.case import Case, Settings, Variant

Samples = dict[str, dict[str, list[float]]]  # variant → metric → one value a round
Progress = Callable[[str], None]


def run(case: Case, settings: Settings, progress: Progress) -> Samples:
    """Measure every variant of `case` `settings.rounds` times, telling `progress` before each."""
    samples: Samples = defaultdict(lambda: defaultdict(list))
    progress(f"{case.name}: building the lab")
    with case.lab(settings) as variants:
        for number in range(1, settings.rounds + 1):
            for variant in _order(variants, number):
                progress(f"{case.name}: round {number} of {settings.rounds}, {variant.name}")
                for metric, value in variant.measure().items():
                    samples[variant.name][metric].append(value)
    return {variant: dict(metrics) for variant, metrics in samples.items()}


def _order(variants: Sequence[Variant], number: int) -> Sequence[Variant]:
    # Every other round backwards: nobody is always the one who comes after the heaviest.
    return variants if number % 2 else list(reversed(variants))
