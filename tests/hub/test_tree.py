"""What a model may hold comes back as it was: values, types, order, bits."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save
from sklearn.base import BaseEstimator

from omicsfm import InputError, hub

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64".split()


@hub.state
@dataclass(frozen=True)
class Pair:
    left: Any
    right: Any = None


@hub.saveable
class Box(BaseEstimator):
    def __init__(self, lid: Any = None):
        self.lid = lid


def round_trip(value: Any) -> Any:
    """Through JSON text and safetensors bytes, as in a saved model."""
    tree, arrays = hub.flatten(value)
    return hub.unflatten(json.loads(json.dumps(tree, allow_nan=False)), load(save(arrays)))


def same(a: Any, b: Any) -> bool:
    """Equal in value and in every type, NaN equal to itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return False
        return (
            all(map(same, a.ravel().tolist(), b.ravel().tolist())) if a.dtype == object else a.tobytes() == b.tobytes()
        )
    if isinstance(a, Pair | Box):
        return same(vars(a), vars(b))
    if isinstance(a, np.generic):
        return a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


text = st.text(st.characters(exclude_categories=()), max_size=6)  # lone surrogates too
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    text,
    st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))),
    hnp.arrays(
        object, hnp.array_shapes(min_dims=0, max_side=3), elements=st.one_of(text, st.none(), st.just(math.nan))
    ),
    hnp.arrays("U4", hnp.array_shapes(min_dims=0, max_side=3), elements=st.text("aé\U0001f9ec", max_size=4)),
)


def grow(inner: st.SearchStrategy) -> st.SearchStrategy:
    names = st.one_of(st.sampled_from(["float", "tuple", "dict", "array", "class", "a/b", "..", "__metadata__"]), text)
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(names, inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Box, inner),
    )


@given(st.recursive(leaves, grow, max_leaves=12))
def test_any_tree_comes_back(value):
    assert same(value, round_trip(value))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_equal_to_the_bit(dtype):
    raw = np.random.default_rng(0).integers(0, 256, size=(5, 7, 16), dtype=np.uint8)
    x = (raw[..., 0] > 99) if dtype == "bool" else raw.view(dtype)[..., 0]  # NaN payloads, denormals, all of it
    back = round_trip(x)
    assert back.dtype == x.dtype and back.tobytes() == x.tobytes()
    back[...] = 0  # a fitted model's arrays can be written to


VIEWS = {
    "fortran": np.asfortranarray,
    "transposed": np.transpose,
    "rows of fortran": lambda x: np.asfortranarray(x)[1:3],
    "strided": lambda x: x[::2, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[0], (4, 6)),
    "big-endian": lambda x: x.astype(">f8"),
    "axes moved": lambda x: np.moveaxis(x.reshape(2, 3, 4), 0, 1),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_memory_layout_does_not_mix_up_values(view):
    x = view(np.arange(24.0).reshape(4, 6))
    back = round_trip(x)
    np.testing.assert_array_equal(back, x)
    assert back.dtype == np.float64
    if x.strides[0] < x.strides[-1] and x.strides[0]:
        assert back.flags.f_contiguous  # the other order would give other bits in a matrix product


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "complex64"])
def test_numpy_scalars_keep_their_type(dtype):
    value = np.dtype(dtype).type(1)
    assert same(value, round_trip(value))


def test_pandas_names():
    index = pd.Index(["CD3", "CD4", "é/ü"], name="protein")
    assert round_trip(index).identical(index)
    assert round_trip(index[:0]).identical(index[:0])
    for series in (pd.Series(["a", None], name="x"), pd.Series(["a", "b"], index=["c1", "c2"]), pd.Series(index)):
        pd.testing.assert_series_equal(round_trip(series), series)


def test_nested_estimator_keeps_params_and_learnt_state():
    box = Box(lid=Box(lid=np.arange(2)))
    box.content_ = {"a": Box("x")}
    box._cache = object()  # neither parameter nor learnt: not saved
    back = round_trip(box)
    assert same(vars(back), {"lid": box.lid, "content_": box.content_})


def test_equal_names_from_different_places_do_not_collide():
    value = {"a": {"b": np.array([1.0])}, "a/b": np.array([2.0]), "a%2Fb": np.array([3.0])}
    assert same(value, round_trip(value))


class Child(Box):
    pass


class Loud(str):
    pass


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"a": [{1, 2}]}, r"/a/0' cannot be saved: found a builtins\.set"),
        ({1: "a"}, "keys that are no strings"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "datetime64"),
        (np.zeros(2, complex), "complex128"),
        (np.array([[1], None], dtype=object), "object array of more than"),
        (np.ma.masked_array([1.0], [True]), "MaskedArray"),
        (pd.Index([1.5]), "Index of dtype float64"),
        (pd.Series([1.0]), "Series of dtype float64"),
        (pd.Series(["a"], index=[7]), "found pandas Index of dtype int64"),
        (pd.Series(["a"], index=pd.RangeIndex(7, 8)), "Series with a RangeIndex"),
        (pd.Index(["a"], name=3), "named 3"),
        (pd.DataFrame({"a": ["b"]}), "DataFrame"),
        (np.random.default_rng(0), "Generator"),
        (Child(), "test_tree.Child"),
        (Loud("a"), "Loud"),
        (len, "builtin_function"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_place_and_type(value, found):
    with pytest.raises(InputError, match=f"flatten: 'model.*{found}.*Fix: "):
        hub.flatten(value)


def test_learnt_attribute_without_underscore_is_not_lost_in_silence():
    box = Box()
    box.weights = np.ones(2)
    with pytest.raises(InputError, match=r"\['weights'\] of Box.*end the names"):
        hub.flatten(box)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"float": "1"},
        {"float": "nan", "tuple": []},
        {"eval": "1"},
        {"tuple": 3},
        {"dict": [["a"]]},
        {"strings": ["object", [3], ["a"]]},
        {"strings": ["S3", [1], ["a"]]},
        {"scalar": ["object", 1]},
        {"array": {"name": "x"}},
        {"state": {"class": "Pair", "fields": {"no_such": 1}}},
        {"state": {"class": "Pair", "fields": {}}},
        {"saveable": {"class": "Box", "params": {"no_such": 1}, "attributes": {}}},
        {"saveable": {"class": "Box", "params": {}, "attributes": {"fit": 1}}},
        {"saveable": {"class": "Box", "params": {}, "attributes": {"__class__": 1}}},
        {"saveable": {"class": ["Box"], "params": {}, "attributes": {}}},
    ],
)
def test_foreign_tree_is_one_error(tree):
    with pytest.raises(InputError, match="unflatten: the tree does not fit"):
        hub.unflatten(tree, {"x": np.zeros(2)})


@pytest.mark.parametrize("name", ["os.system", "Child", "builtins.eval", "Pair"])
def test_only_registered_estimators_are_built(name):
    with pytest.raises(InputError, match=rf"'{name}' is not registered; registered are: .*Box"):
        hub.unflatten({"saveable": {"class": name, "params": {}, "attributes": {}}}, {})


def test_arrays_are_checked_against_the_tree():
    tree, arrays = hub.flatten({"a": np.zeros((2, 3))})
    with pytest.raises(InputError, match="array 'model/a' is missing"):
        hub.unflatten(tree, {})
    for other in (np.zeros((3, 2)), np.zeros((2, 3), np.float32)):
        with pytest.raises(InputError, match=r"must be float64 of shape \(2, 3\), found float(32|64) of shape"):
            hub.unflatten(tree, {"model/a": other})


def test_decorators_refuse_what_they_cannot_keep():
    with pytest.raises(TypeError, match="frozen dataclass"):
        hub.state(dataclass(type("Open", (), {})))
    with pytest.raises(TypeError, match="frozen dataclass"):
        hub.state(Child)
    with pytest.raises(TypeError, match="scikit-learn estimator"):
        hub.saveable(type("Bare", (), {}))
    with pytest.raises(TypeError, match="the name 'Box' is taken by .*test_tree.Box"):
        hub.saveable(type("Box", (BaseEstimator,), {"__module__": "elsewhere"}))


def test_a_class_defined_again_takes_its_place():
    again = dataclass(frozen=True)(type("Pair", (), {"__module__": __name__, "__annotations__": {"left": int}}))
    try:
        assert hub.state(again) is again
        assert type(hub.unflatten({"state": {"class": "Pair", "fields": {"left": 1}}}, {})) is again
    finally:
        hub.state(Pair)
