"""How far back the rows for training go, because what is true of them may have changed since.

Each window, from all rows to the newest eighth, is fitted without the newest fifth of all rows, and compared
on these by log loss. The best is used: all rows, unless the older ones say something else than the newer.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline

from training.data import Data

SHARES = (1.0, 0.5, 0.25, 0.125)
VALIDATION_SHARE = 0.2
MIN_ROWS = 50


def choose_window(data: Data, make_model: Callable[[], Pipeline]) -> Data:
    """Return the newest rows, as many as give the best model of the newest.

    Args:
        data: oldest row first.
        make_model: returns an untrained classifier.
    """
    newest = newest_share(data, VALIDATION_SHARE)
    count = len(data.x) - len(newest.x)
    older = replace(data, x=data.x[:count], y=data.y[:count])
    labels = np.arange(len(data.classes))
    losses = {}
    for share in SHARES:
        part, whole = newest_share(older, share), newest_share(data, share)
        if _is_sufficient(part) and _is_sufficient(whole):
            model = make_model().fit(part.x, part.y)
            losses[share] = log_loss(newest.y, model.predict_proba(newest.x), labels=labels)
    return newest_share(data, min(losses, key=lambda share: (losses[share], -share), default=1.0))


def newest_share(data: Data, share: float) -> Data:
    """Return the newest rows of data whose oldest row is the first."""
    start = len(data.x) - round(len(data.x) * share)
    return replace(data, x=data.x[start:], y=data.y[start:])


def _is_sufficient(data: Data) -> bool:
    """Return whether there are rows of every class, and not too few."""
    return len(data.x) >= MIN_ROWS and len(np.unique(data.y)) == len(data.classes)
