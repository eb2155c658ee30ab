"""Reader of weights in .npz files as they were saved in Theano's time: Lasagne's and those of the dl4mt tutorial.

Such a file has arrays and no architecture. What its layout leaves open (nonlinearities, direction) is what that source
has as its default, and the words in ``ForeignModel.format`` say what was taken.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgegru.imports import dl4mt_weights, lasagne_weights
from edgegru.imports.npz_archive import Archive
from edgegru.imports.source import ForeignModel, Options
from edgegru.imports.theano_layers import Equations
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.strict_json import shown

_READERS = {"lasagne": lasagne_weights.read, "dl4mt": dl4mt_weights.read}


def read(path: Path, options: Options) -> ForeignModel:
    """The layers of an .npz file. ``options.layout``: "lasagne" or "dl4mt"; None: told from names, where that is
    certain. Raises ImportModelError.
    """
    archive = Archive(path)
    layout = options.layout or _layout(archive)
    if layout not in _READERS:
        raise ImportModelError(f"layout {shown(layout)} is not known, expected lasagne or dl4mt")
    layers, stages, words = _READERS[layout](archive)
    return ForeignModel(f".npz of {words}", layers, Equations(f"the equations of {layout} in NumPy", stages))


def _layout(archive: Archive) -> str:
    names = archive.shapes
    if dl4mt_weights.prefixes(names):
        return "dl4mt"
    if any(lasagne_weights.TELLING in name for name in names):
        return "lasagne"
    if names and all(re.fullmatch(r"arr_\d+", name) for name in names):
        return "lasagne"
    few = ", ".join(shown(name) for name in list(names)[:4])
    raise ImportModelError(
        f"names such as {few or 'none at all'} do not tell how its weights are laid out; say --layout lasagne or "
        "--layout dl4mt"
    )
