"""`python -m benchmarks.challenger [--short]`: how often the challenger's gate is right, in simulations.

The gate is `model_loader/registry/challenger_gate.py` with `rule = "better"`; only the scores are simulated,
with a fixed seed. Models are right or wrong together in a share of the rows, and independently in the others.
Exit code 0: of equal models at most 5 % pass, by the upper end of the interval, and of those that are five
points of accuracy better at least 95 %, where that is promised.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.gate import interval
from model_loader.evaluation_file import Evaluation
from model_loader.paired_comparison import compare
from model_loader.registry.challenger_gate import ChallengerRules, check
from model_loader.text_tables import table

SEED = 1
PAIRS, SHORT_PAIRS = 5_000, 200
ROWS = (100, 500, 2_000)
BETTER = 0.05
PROMISED_ROWS = 2_000
MAX_PASSED, MIN_PASSED = 0.05, 0.95
# Accuracy of the champion, and the share of rows on which both models are right or wrong together.
MODELS = ((0.98, 0.0), (0.9, 0.0), (0.9, 0.8), (0.75, 0.0), (0.6, 0.5))
# Of a row's loss: the log-normal distribution has a heavy tail, as a log loss has.
SIGMA = 1.0


@dataclass(frozen=True)
class Scenario:
    """A kind of evaluation.

    Attributes:
        accuracy: of the champion; None: both models have losses of the same distribution.
        gain: by how much the challenger's accuracy is higher.
        shared: share of the rows on which the models are right or wrong together.
    """

    rows: int
    accuracy: float | None
    gain: float = 0.0
    shared: float = 0.0

    @property
    def name(self) -> str:
        """What is compared."""
        if self.accuracy is None:
            return "equal losses"
        kind = f"{100 * self.gain:g} points better than" if self.gain else "equal at"
        return f"{kind} {100 * self.accuracy:g} %, {100 * self.shared:g} % shared"

    def evaluate(self, random: np.random.Generator) -> Evaluation:
        """Simulate the scores of both models, and compare them."""
        if self.accuracy is None:
            losses = [random.lognormal(0, SIGMA, self.rows) for _ in range(2)]
            comparison = compare("log_loss", "lower", losses[0], losses[1])
            return Evaluation("champion/1", "", self.rows, (comparison,))
        one, other = random.random(self.rows), random.random(self.rows)
        other = np.where(random.random(self.rows) < self.shared, one, other)
        right = [(one < self.accuracy).astype(float), (other < self.accuracy + self.gain).astype(float)]
        comparison = compare("accuracy", "higher", right[0], right[1])
        return Evaluation("champion/1", "", self.rows, (comparison,))

    @property
    def is_promised(self) -> bool:
        """Whether the figure is a condition of the exit code."""
        return not self.gain or self.rows == PROMISED_ROWS


def scenarios() -> Iterator[Scenario]:
    """Yield equal models, then better ones."""
    for rows in ROWS:
        yield from (Scenario(rows, accuracy, shared=shared) for accuracy, shared in MODELS)
        yield Scenario(rows, None)
    for rows in ROWS:
        for accuracy, shared in MODELS:
            if accuracy + BETTER <= 1:
                yield Scenario(rows, accuracy, BETTER, shared)


def count_passed(scenario: Scenario, pairs: int, random: np.random.Generator) -> int:
    """Return how many of some simulated pairs pass the gate."""
    rules = ChallengerRules("accuracy" if scenario.accuracy else "log_loss", "better", min_rows=min(ROWS))
    return sum(all(each.passed for each in check(rules, scenario.evaluate(random))) for _ in range(pairs))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        "challenger", description="Measure how often the challenger's gate is right."
    )
    parser.add_argument("--short", action="store_true", help="fewer pairs of each kind, in seconds")
    args = parser.parse_args(argv)
    pairs = SHORT_PAIRS if args.short else PAIRS
    shares: dict[str, list[str]] = {}
    is_ok = True
    for number, scenario in enumerate(scenarios()):
        passed = count_passed(scenario, pairs, np.random.default_rng([SEED, number]))
        low, high = interval(passed, pairs)
        if scenario.is_promised:
            # In the short form a few of the pairs may go wrong by chance.
            if scenario.gain:
                is_ok &= (high if args.short else low) >= MIN_PASSED
            else:
                is_ok &= (low if args.short else high) <= MAX_PASSED
        share = f"{100 * passed / pairs:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        shares.setdefault(scenario.name, []).append(share)
    header = ("THE CHALLENGER IS", *(f"{rows:,} ROWS" for rows in ROWS))
    print(table(header, [(name, *cells) for name, cells in shares.items()]))
    print(f"\n{pairs:,} pairs each, seed {SEED}; promises {'kept' if is_ok else 'broken'}")
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
