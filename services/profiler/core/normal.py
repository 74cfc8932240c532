"""Normal numbers where there are only as many uniform ones as something else needs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from statistics import NormalDist

import numpy as np

from services.profiler.core.network import Array

#: The distribution function as a table.
_SHARES = (np.arange(512) + 0.5) / 512
_NORMALS = np.array([NormalDist().inv_cdf(float(share)) for share in _SHARES])


def normals(uniforms: Array) -> Iterator[Array]:
    """Columns of standard normal numbers, without end, from columns that are used elsewhere too.

    Each comes in another order of the samples, so that it has nothing to do with what else its column decides.

    Args: `uniforms`: numbers from [0, 1), shape (samples, one or more).
    """
    samples, columns = uniforms.shape

    def column(number: int) -> Array:
        shifted = np.roll(uniforms[:, number % columns], (number + 1) * (samples // 7 + 1))
        return np.interp(shifted, _SHARES, _NORMALS)

    return map(column, count())
