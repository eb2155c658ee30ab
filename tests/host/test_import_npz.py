"""Weights of Theano's time: which array is which, what they compute, and what is refused."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru.importing import import_model
from edgegru.imports import dl4mt_weights, lasagne_weights, npz_weights, theano_layers
from edgegru.imports.assembling import Naming, assemble
from edgegru.imports.parity import check_parity
from edgegru.imports.source import ForeignModel, Options
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.reference import Reference

Arrays = dict[str, Any]
GATES = ("updategate", "resetgate", "hidden_update")


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng([seed, *shape])
    return generator.uniform(-0.9, 0.9, shape).astype(np.float32)


def lasagne_gru(size_in: int, size: int, seed: int = 0) -> Arrays:
    """By Lasagne's names, in the order in which GRULayer adds them."""
    arrays: Arrays = {}
    for index, gate in enumerate(GATES):
        arrays[f"W_in_to_{gate}"] = numbers(size_in, size, seed=seed + 10 * index + 1)
        arrays[f"W_hid_to_{gate}"] = numbers(size, size, seed=seed + 10 * index + 2)
        arrays[f"b_{gate}"] = numbers(size, seed=seed + 10 * index + 3)
    return {**arrays, "hid_init": np.zeros((1, size), np.float32)}


def dl4mt_gru(size_in: int, size: int, prefix: str = "encoder_", seed: int = 0) -> Arrays:
    shapes = {
        "W": (size_in, 2 * size),
        "b": (2 * size,),
        "U": (size, 2 * size),
        "Wx": (size_in, size),
        "bx": (size,),
        "Ux": (size, size),
    }
    return {prefix + name: numbers(*shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def run_lasagne(p: Arrays, xs: np.ndarray) -> np.ndarray:
    """Lasagne's step, written out once more from its documentation."""
    h, hs = p["hid_init"][0].astype(np.float64), []
    for x in xs.astype(np.float64):
        u, r = (sigmoid(x @ p[f"W_in_to_{g}"] + h @ p[f"W_hid_to_{g}"] + p[f"b_{g}"]) for g in GATES[:2])
        c = np.tanh(x @ p["W_in_to_hidden_update"] + r * (h @ p["W_hid_to_hidden_update"]) + p["b_hidden_update"])
        h = (1 - u) * h + u * c
        hs.append(h)
    return np.array(hs)


def run_dl4mt(p: Arrays, xs: np.ndarray, prefix: str = "encoder_") -> np.ndarray:
    w, u, b, wx, ux, bx = (p[prefix + name] for name in ("W", "U", "b", "Wx", "Ux", "bx"))
    h, hs = np.zeros(len(bx)), []
    for x in xs.astype(np.float64):
        gates = sigmoid(x @ w + h @ u + b)
        r, z = gates[: len(bx)], gates[len(bx) :]
        h = z * h + (1 - z) * np.tanh(x @ wx + r * (h @ ux) + bx)
        hs.append(h)
    return np.array(hs)


def read(path: Path, layout: str | None = None) -> ForeignModel:
    return npz_weights.read(path, Options(layout=layout))


def saved(tmp_path: Path, *values: Any, **arrays: Any) -> Path:
    path = tmp_path / "weights.npz"
    np.savez(path, *values, **arrays)
    return path


def converted(path: Path, layout: str | None = None) -> Artifact:
    model = read(path, layout)
    artifact = assemble(model.layers, Naming(), {"imported_from": model.format})
    check_parity(artifact, model.source)
    return artifact


def computed(artifact: Artifact, xs: np.ndarray) -> np.ndarray:
    engine = Reference(artifact)
    state = engine.new_state()
    return np.array([engine.step(state, x)[0] for x in xs])


XS = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)


def test_lasagne_by_place(tmp_path: Path) -> None:
    gru = lasagne_gru(3, 5)
    artifact = converted(saved(tmp_path, *gru.values()))
    np.testing.assert_allclose(computed(artifact, XS), run_lasagne(gru, XS), atol=1e-5)


def test_eleven_arrays_come_by_number_not_by_text(tmp_path: Path) -> None:
    gru, second = lasagne_gru(3, 5), lasagne_gru(5, 4, seed=50)
    names = [f"arr_{index}" for index in range(20)]
    arrays = dict(zip(names, [*gru.values(), *second.values()], strict=True))
    artifact = converted(saved(tmp_path, **dict(sorted(arrays.items()))))
    np.testing.assert_allclose(computed(artifact, XS), run_lasagne(second, run_lasagne(gru, XS)), atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "gru.", "l_recurrent/"])
def test_lasagne_by_name_in_any_order(tmp_path: Path, prefix: str) -> None:
    gru = lasagne_gru(3, 5)
    artifact = converted(saved(tmp_path, **{prefix + name: array for name, array in reversed(gru.items())}))
    np.testing.assert_allclose(computed(artifact, XS), run_lasagne(gru, XS), atol=1e-5)


def test_lasagne_with_trained_parameters_alone_has_no_hid_init(tmp_path: Path) -> None:
    gru = lasagne_gru(3, 5)
    arrays = [array for name, array in gru.items() if name != "hid_init"]
    w, b = numbers(5, 2, seed=8), numbers(2, seed=9)
    artifact = converted(saved(tmp_path, *arrays, w, b))
    np.testing.assert_allclose(computed(artifact, XS), run_lasagne(gru, XS) @ w + b, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_lasagne_from_embedding_to_dense(tmp_path: Path, named: bool, bias: bool) -> None:
    table, w, b = numbers(7, 3, seed=4), numbers(6, 2, seed=5), numbers(2, seed=6)
    first, second = lasagne_gru(3, 5), lasagne_gru(5, 6, seed=50)
    last = {"out.W": w, "out.b": b} if bias else {"out.W": w}
    layers = {**{f"gru1.{n}": a for n, a in first.items()}, **{f"gru2.{n}": a for n, a in second.items()}}
    arrays = {"words.W": table, **layers, **last}
    artifact = converted(saved(tmp_path, **arrays) if named else saved(tmp_path, *arrays.values()))
    rows = np.array([3, 0, 6, 6, 2, 1])
    expected = run_lasagne(second, run_lasagne(first, table[rows])) @ w + (b if bias else 0)
    np.testing.assert_allclose(computed(artifact, rows[:, None].astype(np.float32)), expected, atol=1e-5)


@pytest.mark.parametrize("with_initial", [True, False])
@pytest.mark.parametrize("with_dense", [True, False])
def test_one_unit_does_not_confuse_hid_init_and_dense(tmp_path: Path, with_initial: bool, with_dense: bool) -> None:
    gru, w, b = lasagne_gru(3, 1), numbers(1, 1, seed=5), numbers(1, seed=6)
    arrays = list(gru.values())[: 10 if with_initial else 9] + ([w, b] if with_dense else [])
    expected = run_lasagne(gru, XS) @ w + b if with_dense else run_lasagne(gru, XS)
    np.testing.assert_allclose(computed(converted(saved(tmp_path, *arrays)), XS), expected, atol=1e-5)


def test_a_learned_hid_init_is_where_the_stream_begins(tmp_path: Path) -> None:
    gru = {**lasagne_gru(3, 5), "hid_init": numbers(1, 5, seed=77)}
    artifact = converted(saved(tmp_path, *gru.values()))
    np.testing.assert_allclose(computed(artifact, XS), run_lasagne(gru, XS), atol=1e-5)


@pytest.mark.parametrize("prefix", ["encoder_", "", "my_gru_", "decoder_"])
def test_dl4mt(tmp_path: Path, prefix: str) -> None:
    gru = dl4mt_gru(3, 5, prefix)
    artifact = converted(saved(tmp_path, **gru))
    np.testing.assert_allclose(computed(artifact, XS), run_dl4mt(gru, XS, prefix), atol=1e-5)


def test_dl4mt_stack_by_number(tmp_path: Path) -> None:
    stack = {index: dl4mt_gru(size, 3, f"gru{index}_", seed=index) for index, size in ((10, 3), (2, 3), (1, 3))}
    artifact = converted(saved(tmp_path, **stack[10], **stack[2], **stack[1]))
    expected = XS
    for index in (1, 2, 10):
        expected = run_dl4mt(stack[index], expected, f"gru{index}_")
    np.testing.assert_allclose(computed(artifact, XS), expected, atol=1e-5)


def test_dl4mt_takes_the_encoder_and_names_what_it_leaves(tmp_path: Path) -> None:
    """The arrays of session1/nmt.py, with what its last save adds."""
    table, gru = numbers(9, 3, seed=2), dl4mt_gru(3, 5)
    decoder = {**dl4mt_gru(3, 5, "decoder_", seed=9), "decoder_Wc": numbers(5, 10), "decoder_Wcx": numbers(5, 5)}
    others = {"Wemb_dec": numbers(8, 3), "ff_state_W": numbers(5, 5), "ff_state_b": numbers(5)}
    copy = np.empty((), object)
    copy[()] = {"encoder_W": gru["encoder_W"]}
    extra = {"history_errs": np.array([3.5, 2.5]), "uidx": np.array(17), "zipped_params": copy}
    path = saved(tmp_path, Wemb=table, **gru, **decoder, **others, **extra)
    assert read(path).format == ".npz of dl4mt: 'encoder'; left out: 'Wemb_dec', 'decoder', 'ff_state'"
    rows = np.array([8, 0, 4, 4, 1])
    result = computed(converted(path), rows[:, None].astype(np.float32))
    np.testing.assert_allclose(result, run_dl4mt(gru, table[rows]), atol=1e-5)


def test_an_embedding_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    path = saved(tmp_path, Wemb=numbers(9, 4), **dl4mt_gru(3, 5))
    assert "left out: 'Wemb'" in read(path).format
    assert converted(path).config.input.size == 3


def test_files_of_other_precisions_and_orders(tmp_path: Path) -> None:
    gru = dl4mt_gru(3, 5)
    other = {name: np.asfortranarray(array.astype(">f8")) for name, array in gru.items()}
    np.testing.assert_allclose(computed(converted(saved(tmp_path, **other)), XS), run_dl4mt(gru, XS), atol=1e-5)


def test_a_compressed_file_is_imported_from_end_to_end(tmp_path: Path) -> None:
    gru = lasagne_gru(3, 5)
    path = tmp_path / "weights.npz"
    np.savez_compressed(path, *gru.values(), numbers(5, 2), numbers(2))
    report = import_model(path, tmp_path / "model.safetensors", rate=50.0)
    assert report.format == ".npz of Lasagne: GRULayer × 1, DenseLayer without its nonlinearity"
    assert report.layers == ("standardise", "gru0", "linear0", "output")
    artifact = read_artifact(tmp_path / "model.safetensors")
    assert artifact.config.provenance["imported_from"] == report.format


# Formulations: with any of them the other way round, import says so.


@pytest.mark.parametrize("fault", ["reset", "blend", "gates", "h0"])
def test_check_parity_tells_lasagnes_formulation(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gru = {**lasagne_gru(3, 5), "hid_init": numbers(1, 5, seed=77)}
    if fault == "blend":

        def other_blend(inputs: Arrays, hidden: Arrays, bias: Arrays) -> Any:
            flipped = [{**part, "z": -part["z"]} for part in (inputs, hidden, bias)]
            return from_lasagne(*flipped)

        from_lasagne = lasagne_weights.from_lasagne
        monkeypatch.setattr(lasagne_weights, "from_lasagne", other_blend)
    if fault == "gates":
        monkeypatch.setattr(lasagne_weights, "GATES", {"z": "resetgate", "r": "updategate", "n": "hidden_update"})
    model = read(saved(tmp_path, *gru.values()))
    layer = model.layers.outputs[0].layer
    if fault == "reset":
        layer.fields["reset"] = "before"
    if fault == "h0":
        layer.arrays["h0"] = -layer.arrays["h0"]
    with pytest.raises(ImportModelError, match="output 0 differs from the equations of lasagne in NumPy by"):
        check_parity(assemble(model.layers, Naming(), {}), model.source)


@pytest.mark.parametrize("fault", ["reset", "blend", "gates"])
def test_check_parity_tells_dl4mts_formulation(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(w: Any, u: Any, b: Any, *candidate: Any) -> Any:
        if fault == "gates":
            w, u, b = (np.concatenate(np.split(part, 2, axis=-1)[::-1], axis=-1) for part in (w, u, b))
        if fault == "blend":
            w, u, b = (part * np.repeat([1, -1], part.shape[-1] // 2) for part in (w, u, b))
        return from_dl4mt(w, u, b, *candidate)

    from_dl4mt = dl4mt_weights.from_dl4mt
    monkeypatch.setattr(dl4mt_weights, "from_dl4mt", faulty)
    model = read(saved(tmp_path, **dl4mt_gru(3, 5)))
    if fault == "reset":
        model.layers.outputs[0].layer.fields["reset"] = "before"
    with pytest.raises(ImportModelError, match="output 0 differs from the equations of dl4mt in NumPy by"):
        check_parity(assemble(model.layers, Naming(), {}), model.source)


def test_the_sources_own_equations_are_those_of_their_documentation() -> None:
    """theano_layers, which imports are compared with, against the functions of this file."""
    gru = {**lasagne_gru(3, 5), "hid_init": numbers(1, 5, seed=77)}
    np.testing.assert_allclose(theano_layers.lasagne_gru(gru)(XS.astype(float)), run_lasagne(gru, XS), atol=1e-12)
    other = dl4mt_gru(3, 5, "")
    np.testing.assert_allclose(theano_layers.dl4mt_gru(other)(XS.astype(float)), run_dl4mt(other, XS, ""), atol=1e-12)
    assert theano_layers.dl4mt_gru(other)(XS).dtype == np.float32


# What is refused


def lstm(size_in: int, size: int, peepholes: bool) -> list[np.ndarray]:
    gates = [array for _ in range(4) for array in (numbers(size_in, size), numbers(size, size), numbers(size))]
    return [*gates, *([numbers(size)] * 3 if peepholes else []), *[np.zeros((1, size), np.float32)] * 2]


GRU = lasagne_gru(3, 5)
TEN = list(GRU.values())
NAMED = {f"a.{name}": array for name, array in GRU.items()}
REFUSED: dict[str, tuple[Callable[[Path], Path], str | None, str]] = {
    "lstm": (lambda p: saved(p, *lstm(3, 5, False)), None, "'arr_0' begins a layer of 4 gates (an LSTMLayer has 4)"),
    "lstm of equal sizes": (lambda p: saved(p, *lstm(5, 5, False)), None, "a layer of 4 gates"),
    "lstm with peepholes": (lambda p: saved(p, *lstm(3, 5, True)), None, "a layer of 4 gates"),
    "named lstm": (
        lambda p: saved(p, **{"l.W_in_to_ingate": numbers(3, 5)}), None, "'l.W_in_to_ingate' is a gate of an LSTMLayer"
    ),
    "bidirectional": (
        lambda p: saved(p, *TEN, *TEN, numbers(10, 2), numbers(2)), None,
        "'arr_10' reads 3 numbers: two GRULayers side by side, such as a bidirectional pair, but the layer before"
    ),
    "two dense layers": (
        lambda p: saved(p, *TEN, numbers(5, 4), numbers(4), numbers(4, 2), numbers(2)), None,
        "'arr_12' (4, 2) follows a DenseLayer, whose nonlinearity is not in the file"
    ),
    "dense before": (
        lambda p: saved(p, numbers(3, 3), numbers(3), *TEN), None,
        "'arr_0' has shape (3, 3), expected in its place a GRU"
    ),
    "batch normalisation": (lambda p: saved(p, *TEN, *[numbers(5)] * 4), None, "'arr_10' has shape (5,), expected in"),
    "dense of another size": (
        lambda p: saved(p, *TEN, numbers(4, 2), numbers(2)), None, "'arr_10' has shape (4, 2), expected (5, 2) as W"
    ),
    "pickled list": (
        lambda p: saved(p, np.array([*TEN, None], object)), None, "array 'arr_0' holds Python objects, a pickle, which"
    ),
    "pickled parameter": (
        lambda p: saved(p, **dl4mt_gru(3, 5), note=np.array([{}])), None, "array 'note' holds Python objects"
    ),
    "missing parameter": (
        lambda p: saved(p, **{n: a for n, a in NAMED.items() if n != "a.b_resetgate"}), None,
        "there is no array 'a.b_resetgate', expected all parameters of the GRU"
    ),
    "wrong shape": (
        lambda p: saved(p, **{**NAMED, "a.W_hid_to_resetgate": numbers(4, 5)}), None,
        "'a.W_hid_to_resetgate' has shape (4, 5), expected (5, 5) as W_hid_to_resetgate of its layer"
    ),
    "unknown parameter": (lambda p: saved(p, **NAMED, scale=numbers(5)), None, "array 'scale' is unknown, expected"),
    "two named GRUs": (
        lambda p: saved(p, **NAMED, **{f"b.{n}": a for n, a in GRU.items()}), None,
        "several GRUs are in the file: 'a', 'b'"
    ),
    "bias alone": (lambda p: saved(p, **NAMED, **{"x.b": numbers(5)}), None, "array 'x.b' stands without a W"),
    "embedding or dense": (
        lambda p: saved(p, **{f"a.{n}": a for n, a in lasagne_gru(5, 5).items()}, **{"x.W": numbers(5, 5)}), None,
        "array 'x.W' (5, 5) may be an embedding or a DenseLayer without bias"
    ),
    "second dense": (
        lambda p: saved(p, **NAMED, **{f"{n}.W": numbers(5, 2) for n in "xy"}, **{f"{n}.b": numbers(2) for n in "xy"}),
        None,
        "array 'y.W' is a second dense layer",
    ),
    "other names": (lambda p: saved(p, weight=numbers(3, 5)), None, "say --layout lasagne or --layout dl4mt"),
    "empty": (saved, None, "names such as none at all"),
    "other names, lasagne": (
        lambda p: saved(p, weight=numbers(3, 5)), "lasagne", "names 'weight', expected those of Lasagne"
    ),
    "nothing, lasagne": (saved, "lasagne", "have the names none, expected"),
    "no dl4mt": (lambda p: saved(p, *TEN), "dl4mt", "no GRU of the dl4mt layout is in the file"),
    "another layout": (lambda p: saved(p, *TEN), "keras", "layout 'keras' is not known, expected lasagne or dl4mt"),
    "bidirectional encoder": (
        lambda p: saved(p, **dl4mt_gru(3, 5), **dl4mt_gru(3, 5, "encoder_r_")), None,
        "'encoder_r' reads the sequence from its end: the encoder, with 'encoder', is bidirectional"
    ),
    "decoder alone": (
        lambda p: saved(p, **dl4mt_gru(3, 5, "decoder_"), decoder_Wc=numbers(5, 10)), None,
        "'decoder' is a conditional GRU, a decoder that reads a context too ('decoder_Wc')"
    ),
    "two dl4mt GRUs": (
        lambda p: saved(p, **dl4mt_gru(3, 5, "up_"), **dl4mt_gru(5, 5, "down_")), None,
        "several GRUs are in the file: 'up', 'down'; expected one, or one stack, numbered"
    ),
    "stack that does not fit": (
        lambda p: saved(p, **dl4mt_gru(3, 5, "gru1_"), **dl4mt_gru(3, 5, "gru2_")), None,
        "'gru2_Wx' reads 3 numbers, but"
    ),
    "dl4mt shape": (
        lambda p: saved(p, **{**dl4mt_gru(3, 5), "encoder_U": numbers(5, 15)}), None,
        "'encoder_U' has shape (5, 15), expected (5, 10) beside 'encoder_Wx' (3, 5)"
    ),
    "dl4mt of one dimension": (
        lambda p: saved(p, **{**dl4mt_gru(3, 5), "encoder_Wx": numbers(5)}), None,
        "'encoder_Wx' has shape (5,), expected"
    ),
    "text": (
        lambda p: saved(p, **{**dl4mt_gru(3, 5), "encoder_bx": np.array(["a"] * 5)}), None,
        "'encoder_bx' is <U1, expected numbers"
    ),
    "not finite": (
        lambda p: saved(p, **{**dl4mt_gru(3, 5), "encoder_bx": np.full(5, np.nan, np.float32)}), None,
        "array 'encoder_bx' has numbers that are not finite"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(tmp_path: Path, case: str) -> None:
    make, layout, sentence = REFUSED[case]
    path = make(tmp_path)
    with pytest.raises(ImportModelError) as caught:
        assemble(read(path, layout).layers, Naming(), {})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def refusal(path: Path) -> str | None:
    try:
        read(path)
    except ImportModelError as error:
        return str(error)
    return None


class _Trap:
    """Unpickled, it would leave a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("name", ["zipped_params", "encoder_note"])
def test_no_pickle_is_ever_opened(tmp_path: Path, name: str) -> None:
    trap = np.empty((), object)
    trap[()] = _Trap(tmp_path / "trapped")
    path = saved(tmp_path, **dl4mt_gru(3, 5), **{name: trap})
    assert "never opened" in (refusal(path) or "never opened")
    assert not (tmp_path / "trapped").exists()


# Hostile files


def archive(path: Path, members: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def npy(array: Any, **header: Any) -> bytes:
    stream = io.BytesIO()
    described = {**np.lib.format.header_data_from_array_1_0(array), **header}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue() + array.tobytes()


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("Wemb", npy(numbers(4, 3), shape=(10**9, 3)), "its weights have 12,000,000,540 bytes, expected at most 536,"),
        ("encoder_bx", npy(numbers(4), shape=(5,)), "array 'encoder_bx' is cut short or longer than (5,) numbers"),
        ("encoder_bx", npy(numbers(6), shape=(5,)), "array 'encoder_bx' is cut short or longer than (5,) numbers"),
        ("encoder_bx", npy(numbers(5), shape=(-5,)), "array 'encoder_bx' is damaged: shape (-5,)"),
        ("encoder_bx", npy(numbers(5), shape="boom"), "array 'encoder_bx' is damaged: shape is not valid: 'boom'"),
        ("encoder_bx", b"\x93NUMPY\x09\x00", "array 'encoder_bx' is damaged: version (9, 0) of .npy"),
        ("encoder_bx", b"", "array 'encoder_bx' is damaged: EOF: reading magic string"),
    ],
)
def test_arrays_that_lie(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    members = {f"{array}.npy": npy(values) for array, values in dl4mt_gru(3, 5).items()}
    path = archive(tmp_path / "weights.npz", {**members, f"{name}.npy": data})
    with pytest.raises(ImportModelError) as caught:
        read(path)
    assert sentence in str(caught.value)


def test_python_2_headers_are_read_in_silence(tmp_path: Path) -> None:
    gru = dl4mt_gru(3, 5)
    members = {f"{name}.npy": npy(array) for name, array in gru.items()}
    members["encoder_Wx.npy"] = npy(gru["encoder_Wx"]).replace(b"(3, 5), }  ", b"(3L, 5L), }")
    assert b"3L" in members["encoder_Wx.npy"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        artifact = converted(archive(tmp_path / "weights.npz", members))
    np.testing.assert_allclose(computed(artifact, XS), run_dl4mt(gru, XS), atol=1e-5)


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", npy(numbers(3)))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.npy", npy(numbers(3)))
    with pytest.raises(ImportModelError, match="has two arrays called 'a'"):
        read(path)


@pytest.fixture(scope="module", params=["lasagne", "dl4mt", "compressed"])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "weights.npz"
    if request.param == "compressed":
        np.savez_compressed(path, *TEN)
    else:
        np.savez(path, **(NAMED if request.param == "lasagne" else dl4mt_gru(3, 5)))
    return path.read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_give_one_sentence(
    good: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(good))) :]
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(bytes(damaged))
    assert "\n" not in (refusal(path) or "")
