"""A result as a user has it: integrated, imputed, annotated."""

from __future__ import annotations

import warnings

import pytest

import omicsfm as ofm
from omicsfm.testing import toy_mosaic


@pytest.fixture(scope="session")
def made():
    mdata = toy_mosaic(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ofm.OmicsfmWarning)  # some cells have nothing to predict protein from
        model = ofm.tl.integrate(mdata, "LinearMosaic")
        ofm.tl.impute(mdata, "protein", model)
        ofm.tl.annotate(mdata, model)
    return mdata


@pytest.fixture
def result(made):
    """A copy, to be changed."""
    return ofm.contract.subset(made, made.obs_names)
