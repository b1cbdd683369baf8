"""Runs a measurement in a process of its own: threads of TensorFlow and kernels of XNNPACK are chosen only once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from cloud.errors import DemoError
from models.runtime.quiet import quiet_standard_error

P = ParamSpec("P")
T = TypeVar("T")


def in_fresh_process(measure: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of a module in a new interpreter and return what it returns.

    Args:
        measure: importable by name; arguments and result can be pickled.
        args: for it.
        kwargs: for it.

    Raises:
        DemoError: the process died.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        try:
            return pool.submit(_quietly, measure, args, kwargs).result()
        except BrokenProcessPool:
            raise DemoError(f"the process that measured ({measure.__name__}) died") from None


def _quietly(measure: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> T:
    with quiet_standard_error():
        return measure(*args, **kwargs)
