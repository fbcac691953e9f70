"""Cell type of the nearest cell in the other modality."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm.metrics._check import codes, real, same_rows, same_shape
from omicsfm.metrics._neighbors import neighbors


def partner_label_match(x: Any, y: Any, labels: Any) -> np.ndarray:
    """Whether the nearest cell of the other modality has the cell's own label, averaged over both directions.

    Parameters
    ----------
    x, y
        (n, d) embeddings of the two modalities; row i of `x` and row i of `y` are the same cell.
    labels
        (n,) label of each cell. With a single label every match is trivially right: all 1.

    Returns
    -------
    (n,) values 0, 0.5 or 1.

    Raises
    ------
    InputError
        On NaN, missing labels or shapes that do not agree.
    """
    x_nd, y_nd = real("partner_label_match", "x", x), real("partner_label_match", "y", y)
    label_n, _ = codes("partner_label_match", "labels", labels)
    same_shape("partner_label_match", x=x_nd, y=y_nd)
    same_rows("partner_label_match", x=x_nd, labels=label_n)
    from_x = label_n[neighbors(y_nd, 1, query=x_nd).indices[:, 0]] == label_n
    from_y = label_n[neighbors(x_nd, 1, query=y_nd).indices[:, 0]] == label_n
    return (from_x.astype(np.float64) + from_y) / 2
