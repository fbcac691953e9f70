"""Learnt state to JSON and arrays, and back.

In the JSON, a list is a list and None, bool, int, str and finite floats stand for themselves; everything else is an
object with one key, the tag, so that nothing a model holds can be mistaken for a tag.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm.hub._registry import SAVEABLES, STATES, find, is_registered

# What a safetensors file holds and NumPy reads.
NUMERIC = {
    name: np.dtype(name).type
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64"),
    )
}
# object with pandas 2, str with pandas 3
_STRING = pd.Index(["a"]).dtype

Arrays = dict[str, np.ndarray]


def flatten(obj: Any, *, prefix: str = "model") -> tuple[Any, Arrays]:
    """Take a value apart into a tree that JSON can hold and its numeric arrays.

    Parameters
    ----------
    obj
        None, bool, int, float, str, NumPy scalars and arrays (bool, integers, float16 to float64, complex64, strings),
        pandas Index and Series of strings, classes marked `state` or `saveable`, and lists, tuples and dictionaries
        with string keys of these.
    prefix
        First part of the arrays' names.

    Returns
    -------
    The tree, and the arrays by name: C-contiguous, in the machine's byte order; not copied where they were so before.

    Raises
    ------
    InputError
        If something in it is none of these; the message says where.
    """
    arrays: Arrays = {}
    return _encode(obj, prefix, arrays), arrays


def unflatten(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Put together again what `flatten` took apart.

    Parameters
    ----------
    tree, arrays
        What `flatten` gave; arrays that the tree does not name are ignored.

    Returns
    -------
    The value, with the types it had; arrays are not copied. Strings in pandas objects take the type that the installed
    pandas gives strings.

    Raises
    ------
    InputError
        If an array is missing or has another dtype or shape than the tree says, a class is not registered, or the tree
        is not one that `flatten` makes.
    """
    try:
        return _decode(tree, arrays)
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as err:
        raise InputError(
            f"unflatten: the tree does not fit this version of omicsfm ({type(err).__name__}: {err}). "
            "Fix: load it with the version that wrote it, or save it anew from the fitted model."
        ) from err


def _refuse(name: str, found: str, fix: str) -> InputError:
    return InputError(f"flatten: '{name}' cannot be saved: found {found}. Fix: {fix}.")


def _below(name: str, key: str) -> str:
    return f"{name}/{quote(key, safe='', errors='surrogatepass')}"  # quoted: no two places share a name


def _encode(value: Any, name: str, arrays: Arrays) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is np.str_:
        return str(value)
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is list:
        return [_encode(item, f"{name}/{i}", arrays) for i, item in enumerate(value)]
    if kind is tuple:
        return {"tuple": _encode(list(value), name, arrays)}
    if kind is dict:
        if not all(type(key) is str for key in value):
            raise _refuse(name, "a dictionary with keys that are no strings", "use strings as its keys")
        # Pairs: the manifest sorts the keys of JSON objects, and a dictionary has its own order.
        return {"dict": [[key, _encode(item, _below(name, key), arrays)] for key, item in value.items()]}
    if isinstance(value, np.generic) and value.dtype.name in NUMERIC:
        return {"scalar": [value.dtype.name, _encode(value.item(), name, arrays)]}
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray | np.matrix):
        return _encode_array(np.asarray(value), name, arrays)  # a memory map or an anndata view becomes plain
    if kind in (pd.Index, pd.Series):
        return _encode_pandas(value, name)
    if is_registered(kind, STATES):
        content = {field.name: getattr(value, field.name) for field in fields(value)}
        return {"state": {"class": kind.__name__, "fields": _encode_named(content, name, arrays)}}
    if is_registered(kind, SAVEABLES):
        return {"saveable": _encode_saveable(value, name, arrays)}
    raise _refuse(
        name,
        f"a {kind.__module__}.{kind.__qualname__}",
        "keep it as arrays, strings and numbers, or in a class marked @hub.state (frozen dataclass) or @hub.saveable "
        "(estimator)",
    )


def _encode_named(values: Mapping[str, Any], name: str, arrays: Arrays) -> dict[str, Any]:
    return {key: _encode(item, _below(name, key), arrays) for key, item in values.items()}


def _encode_saveable(model: Any, name: str, arrays: Arrays) -> dict[str, Any]:
    params = model.get_params(deep=False)
    learnt = {key: item for key, item in vars(model).items() if _is_learnt(key)}
    lost = [key for key in vars(model) if key not in {*params, *learnt} and not key.startswith("_")]
    if lost:
        raise _refuse(name, f"attributes {lost} of {type(model).__name__}", "end the names of learnt attributes in '_'")
    return {
        "class": type(model).__name__,
        "params": _encode_named(params, f"{name}/params", arrays),
        "attributes": _encode_named(learnt, name, arrays),
    }


def _is_learnt(key: str) -> bool:
    return key.endswith("_") and not key.startswith("__")  # as in scikit-learn's check_is_fitted


def _encode_array(value: np.ndarray, name: str, arrays: Arrays) -> Any:
    if value.dtype.kind in "UO":
        width = "object" if value.dtype.kind == "O" else value.dtype.itemsize // 4
        items = [str(item) if isinstance(item, np.str_) else item for item in value.ravel().tolist()]
        if not all(item is None or type(item) in (bool, int, float, str) for item in items):
            raise _refuse(name, "an object array of more than strings and numbers", "use a list, or a numeric array")
        return {"strings": [width, list(value.shape), _encode(items, name, arrays)]}
    if value.dtype.name not in NUMERIC:
        raise _refuse(name, f"an array of dtype {value.dtype}", f"use one of {', '.join(NUMERIC)} or strings")
    spec = {"name": name, "dtype": value.dtype.name, "shape": list(value.shape)}
    steps = [abs(step) for step in value.strides]
    if steps != sorted(steps, reverse=True):  # columns first: whole, or rows of such a one
        spec["order"] = "F"  # kept, since BLAS rounds differently in the other order
        value = value.T
    # safetensors takes the bytes as they lie in memory, whatever the strides: they must be in order.
    arrays[name] = np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")
    return {"array": spec}


def _encode_pandas(value: pd.Index | pd.Series, name: str) -> Any:
    items = [str(item) if isinstance(item, np.str_) else item for item in value.tolist()]
    if not all(type(item) is str or item is None or (type(item) is float and math.isnan(item)) for item in items):
        raise _refuse(name, f"pandas {type(value).__name__} of dtype {value.dtype}", "use strings, or keep .to_numpy()")
    if not (value.name is None or type(value.name) is str):
        raise _refuse(name, f"pandas {type(value).__name__} named {value.name!r}", "name it with a string or None")
    labels: Any = _encode(items, name, {})
    if isinstance(value, pd.Index):
        return {"index": [value.name, labels]}
    plain = isinstance(value.index, pd.RangeIndex) and value.index.equals(pd.RangeIndex(len(value)))
    if not plain and type(value.index) is not pd.Index:
        raise _refuse(name, f"pandas Series with a {type(value.index).__name__}", "give it an index of strings")
    return {"series": [value.name, labels, None if plain else _encode_pandas(value.index, name)]}


def _decode(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, list):
        return [_decode(item, arrays) for item in node]
    ((tag, body),) = node.items()
    match tag:
        case "float":
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[body]
        case "tuple":
            return tuple(_decode(body, arrays))
        case "dict":
            return {key: _decode(item, arrays) for key, item in body}
        case "scalar":
            return NUMERIC[body[0]](_decode(body[1], arrays))
        case "array":
            return _decode_array(body, arrays)
        case "strings":
            width, shape, items = body
            dtype = object if width == "object" else f"U{int(width)}"
            flat = np.empty(len(items), dtype=dtype)
            flat[:] = _decode(items, arrays)
            return flat.reshape(shape)
        case "index":
            return pd.Index(_decode(body[1], arrays), dtype=_STRING, name=body[0])
        case "series":
            return pd.Series(_decode(body[1], arrays), dtype=_STRING, name=body[0], index=_decode(body[2], arrays))
        case "state":
            return find(body["class"], STATES)(**_decode_named(body["fields"], arrays))
        case "saveable":
            return _decode_saveable(body, arrays)
    raise ValueError(f"unknown tag {tag!r}")


def _decode_named(nodes: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {key: _decode(node, arrays) for key, node in nodes.items()}


def _decode_saveable(body: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    model = find(body["class"], SAVEABLES)(**_decode_named(body["params"], arrays))
    for key, item in _decode_named(body["attributes"], arrays).items():
        if not _is_learnt(key):
            raise ValueError(f"{key!r} is not the name of a learnt attribute")
        setattr(model, key, item)
    return model


def _decode_array(spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    name, shape = spec["name"], tuple(spec["shape"])
    if name not in arrays:
        raise InputError(
            f"unflatten: the array '{name}' is missing; found {len(arrays)} others. "
            "Fix: save it anew from the fitted model."
        )
    found = arrays[name].T if spec.get("order") == "F" else arrays[name]
    if (found.dtype.name, found.shape) != (spec["dtype"], shape):
        raise InputError(
            f"unflatten: the array '{name}' must be {spec['dtype']} of shape {shape}, found {found.dtype.name} of "
            f"shape {found.shape}. Fix: save it anew from the fitted model."
        )
    return found
