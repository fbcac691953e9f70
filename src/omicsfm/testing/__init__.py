"""Checks that every estimator must pass, for this package's own and for anyone else's.

    import omicsfm.testing
    omicsfm.testing.check_estimator(MyModel)

or, one test per check::

    @pytest.mark.parametrize("check", omicsfm.testing.CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(MyModel)

A check takes a factory (a class, or a function without arguments that makes the estimator) and, if you wish, a MuData
of your own; it raises AssertionError with what was found. An estimator need not do everything: checks of `embed`,
`impute`, `annotate` and `save` pass over what it does not have. Estimators that predict responses to perturbations have
their own: `RESPONSE_CHECKS`.
"""

from __future__ import annotations

from omicsfm.testing._answers import outputs
from omicsfm.testing._checks import (
    CHECKS,
    check_any_subset,
    check_bad_input,
    check_data_untouched,
    check_estimator,
    check_new_cells,
    check_not_fitted,
    check_output,
    check_parameters,
    check_round_trip,
    check_rows,
    check_seed,
)
from omicsfm.testing._responses import RESPONSE_CHECKS, toy_design, toy_screen
from omicsfm.testing._toy import toy_mosaic

__all__ = [
    "CHECKS",
    "RESPONSE_CHECKS",
    "check_any_subset",
    "check_bad_input",
    "check_data_untouched",
    "check_estimator",
    "check_new_cells",
    "check_not_fitted",
    "check_output",
    "check_parameters",
    "check_round_trip",
    "check_rows",
    "check_seed",
    "outputs",
    "toy_design",
    "toy_mosaic",
    "toy_screen",
]
