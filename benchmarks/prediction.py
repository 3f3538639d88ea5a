"""What prediction would have spared: attempts on the fast path that are undone, with and without it.

Each batch is predicted before anything is learnt from it. Figures are counts, not times: the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tables

from supervm_core.control.controller import Outcome, Sizing
from supervm_core.control.prediction import Prediction, Score
from supervm_core.execution.meetings import Meetings

ACCOUNTS = 1_000_000
BATCH = 1_000
BATCHES = 200
SEEDS = range(5)
MOVES_AFTER = 20
"""Batches after which the wandering hot key is another one."""


def zipf(generator: np.random.Generator, exponent: float) -> Iterator[np.ndarray]:
    """Yield receivers by Zipf's law over a hundred thousand accounts that lie anywhere."""
    popular = generator.permutation(ACCOUNTS)[:100_000]
    weights = np.arange(1.0, popular.size + 1) ** -exponent
    for _ in range(BATCHES):
        yield generator.choice(popular, BATCH, p=weights / weights.sum())


def one_key(generator: np.random.Generator, share: float, moves_after: int = BATCHES) -> Iterator[np.ndarray]:
    """Yield receivers of which a share is one account."""
    for index in range(BATCHES):
        hot = 7 + index // moves_after * 1_009
        yield np.where(generator.random(BATCH) < share, hot, generator.integers(0, ACCOUNTS, BATCH))


LOADS = {
    "uniform": lambda generator: one_key(generator, 0.0),
    "Zipf 0.8": lambda generator: zipf(generator, 0.8),
    "Zipf 1.2": lambda generator: zipf(generator, 1.2),
    "Zipf 1.5": lambda generator: zipf(generator, 1.5),
    "Zipf 2.0": lambda generator: zipf(generator, 2.0),
    "30 % one key": lambda generator: one_key(generator, 0.3),
    "99 % one key": lambda generator: one_key(generator, 0.99),
    f"30 % one key, another every {MOVES_AFTER} batches": lambda generator: one_key(generator, 0.3, MOVES_AFTER),
}


def score(name: str, seed: int) -> Score:
    generator = np.random.default_rng(seed)
    predictor, meetings = Prediction(ACCOUNTS, route=False), Meetings(ACCOUNTS)
    for receivers in LOADS[name](generator):
        keys = np.stack([generator.integers(0, ACCOUNTS, BATCH), receivers], axis=1).astype(np.uint64)
        predictor.after(Outcome(Sizing(1, 1, BATCH), keys, meetings.of(keys), 1.0, 1.0, 0))
    return predictor.score


def percent(values: list[float]) -> str:
    return tables.spread([100 * value for value in values])


def main() -> None:
    rows = []
    for name in LOADS:
        scores = [score(name, seed) for seed in SEEDS]
        rows.append(
            [
                name,
                percent([one.undone_without for one in scores]),
                percent([one.undone_with for one in scores]),
                percent([one.misled for one in scores]),
                percent([one.accuracy for one in scores]),
            ]
        )
    tables.write(
        "prediction",
        "What prediction spares",
        f"Percent of attempts on the fast path that meet another transaction of their batch, when everybody tries (A) "
        f"and when those stay away who are expected to meet one (B); percent of the others that are sent the slower "
        f"way in vain; percent of right guesses. {BATCHES} batches of {BATCH:,} transfers over {ACCOUNTS:,} accounts, "
        f"senders uniform, receivers as named; {len(SEEDS)} seeds. Counts, not times.",
        ["load", "undone, A", "undone, B", "misled", "right"],
        rows,
    )


if __name__ == "__main__":
    main()
