"""What a policy of `kvfpga lab` is: a row of contenders.py, and a function that says which touches of a stream hit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...contract import parameters
from ...contract.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..stream import Stream


class Options(NamedTuple):
    """What a device's policies depend on. `final_accuracy`: the share of FINAL hints that is right, None for no such hints.
    `seed` draws which of them are wrong. `classes`: of the device's rank table (R45)."""

    entries: int = 65536
    step_ms: float = 100.0
    final_accuracy: float | None = None
    seed: int = 0
    classes: int = 256

    def checked(self) -> Options:
        """Itself. UsageError where a value is out of range."""
        if self.entries < 1:
            raise UsageError(f"a directory of {self.entries} entries", "give 1 or more; the largest device has 65536")
        if not 0.001 <= self.step_ms < float("inf"):
            raise UsageError(f"decode steps of {self.step_ms:g} ms", "give --step-ms 0.001 or more")
        if self.final_accuracy is not None and not 0 <= self.final_accuracy <= 1:
            raise UsageError(f"a FINAL accuracy of {self.final_accuracy:g}", "give a share from 0 to 1, such as 0.9")
        parameters.check("classes", self.classes, "--classes")
        return self


class Run(NamedTuple):
    """What a policy did. `hits`: int64[n], touches of each request that hit; `prefix_hits`: int64[n], those of them before its
    first miss; `fills`: blocks that moved into tier 1, from below or from nowhere; `device`: what only a device counts;
    `samples`: its state over time, where asked for."""

    hits: NDArray[np.int64]
    prefix_hits: NDArray[np.int64]
    fills: int
    device: dict[str, int] = {}
    samples: Mapping[str, NDArray[Any]] | None = None


Prepare = Callable[["Stream", Options], Any]
"""What is made of a stream once for all capacities."""
Runner = Callable[["Stream", int, Options, Any], Run]
"""A run at a capacity in blocks, with what was prepared (None where there is nothing to prepare)."""


class Contender(NamedTuple):
    """A policy of the lab.

    name          on the command line
    about         what it keeps and what it evicts, in a few words
    source        where it comes from
    run, prepare  see above
    depends       the fields of `Options` that its result depends on
    libraries     the installed packages that it depends on
    code          the files and folders of this package that it depends on, beside those that all do
    uses_future   it knows what a host cannot know when it would have to
    draws         it draws random numbers from a state of its process: the result is the same only in a new one
    published     one of the field's, which the best published policy is chosen from
    """

    name: str
    about: str
    source: str
    run: Runner
    prepare: Prepare | None = None
    depends: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    uses_future: bool = False
    draws: bool = False
    published: bool = False
