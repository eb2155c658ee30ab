"""State dicts of PyTorch: what is told from names and shapes, what is refused, and that nothing in a file ever runs."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import edgegru
from edgegru.imports import parity, state_dict, weight_stack
from edgegru.imports.assembling import Naming, assemble
from edgegru.imports.source import Options
from edgegru_runtime import load
from edgegru_runtime.errors import ImportModelError

REPORTED = "no activation or skip connection is visible in weights"


class Audio(nn.Module):
    """The usual network of amplifier models: rec and lin."""

    def __init__(self, hidden: int = 8, layers: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.rec = nn.GRU(1, hidden, layers, bias=bias)
        self.lin = nn.Linear(hidden, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin(self.rec(x)[0])


def saved(folder: Path, content: object, name: str = "model.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def refusal(path: Path) -> str:
    """The one sentence of a refused file; nothing is written."""
    output = path.with_name("refused.safetensors")
    with pytest.raises(ImportModelError) as caught:
        edgegru.import_model(path, output)
    assert not output.exists()
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text.removeprefix(f"{path}: ")


def streamed(path: Path, xs: np.ndarray) -> np.ndarray:
    stream = load(path).stream()
    return np.array([stream.step(x) for x in xs])


def names(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "model.net.", "_orig_mod."])
@pytest.mark.parametrize("wrap", [None, "state_dict", "model_state_dict", "model"])
def test_a_checkpoint_streams_as_its_module(tmp_path: Path, prefix: str, wrap: str | None):
    torch.manual_seed(0)
    module = Audio(layers=2)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.zeros(2, 1, 1)).sum().backward()
    optimizer.step()
    content: object = names(module.state_dict(), prefix)
    if wrap:
        content = {wrap: content, "epoch": 3, "optimizer": optimizer.state_dict(), "loss": 0.5}
    output = tmp_path / "imported.safetensors"
    report = edgegru.import_model(saved(tmp_path, content), output)
    assert REPORTED in report.format
    assert f"{prefix}rec: GRU(1 → 8, 2 layers) → {prefix}lin: Linear(8 → 1)" in report.format
    assert report.checked_against == f"torch {torch.__version__}"
    xs = np.random.default_rng(1).normal(size=(20, 1)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(xs).unsqueeze(1)).reshape(20, 1).numpy()
    np.testing.assert_allclose(streamed(output, xs), expected, atol=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
)
def test_any_plain_stack_is_told_from_its_shapes(
    tmp_path_factory: pytest.TempPathFactory,
    inputs: int,
    hidden: int,
    layers: int,
    bias: bool,
    before: bool,
    after: bool,
    outputs: int,
):
    size = hidden + 7 if before else inputs  # distinct sizes: one order
    tensors = names(nn.GRU(size, hidden, layers, bias=bias).state_dict(), "gru.")
    if before:
        tensors |= names(nn.Linear(inputs + 20, size, bias=bias).state_dict(), "first.")
    if after:
        tensors |= names(nn.Linear(hidden, outputs + 30, bias=bias).state_dict(), "fc.")
    folder = tmp_path_factory.mktemp("stack")
    for path in (saved(folder, tensors), folder / "model.safetensors"):
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(tensors, path)
        report = edgegru.import_model(path, folder / "imported.safetensors", force=True)
        assert sum(layer.startswith("gru") for layer in report.layers) == layers
        assert report.largest_error <= report.allowed_error


def test_the_numpy_equations_are_those_of_torch():
    torch.manual_seed(1)
    tensors = names(nn.GRU(3, 5, 2).state_dict(), "a.") | names(nn.Linear(5, 2).state_dict(), "b.")
    blocks = weight_stack.stack_of({name: tensor.double().numpy() for name, tensor in tensors.items()})
    from edgegru.imports.torch_weights import TorchStack

    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        xs = np.random.default_rng(0).normal(size=(30, 3)).astype(dtype)
        found, expected = weight_stack.equations(blocks, xs), TorchStack(blocks).run(xs)[0]
        assert found.dtype == expected.dtype == dtype
        np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("with_torch", [True, False])
def test_another_formulation_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_torch: bool):
    if not with_torch:
        monkeypatch.setattr(state_dict, "find_spec", lambda name: None)
    safetensors.torch.save_file(Audio().state_dict(), tmp_path / "m.safetensors")
    model = state_dict.read(tmp_path / "m.safetensors", Options())
    assert ("torch" in type(model.source).__name__.lower()) == with_torch
    parity.check_parity(assemble(model.layers, Naming(), {}), model.source)
    for change in ("reset", "rows"):
        model = state_dict.read(tmp_path / "m.safetensors", Options())
        gru = model.layers.outputs[0].layer.inputs[0]
        if change == "reset":
            gru.fields["reset"] = "before"
        else:
            gru.arrays["weight_ih"] = np.roll(gru.arrays["weight_ih"], 8, axis=0)
        with pytest.raises(ImportModelError, match="differs from"):
            parity.check_parity(assemble(model.layers, Naming(), {}), model.source)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_are_converted(tmp_path: Path, dtype: torch.dtype):
    tensors = {name: tensor.to(dtype) for name, tensor in Audio().state_dict().items()}
    of_torch = edgegru.import_model(saved(tmp_path, tensors), tmp_path / "a.safetensors")
    safetensors.torch.save_file(tensors, tmp_path / "m.safetensors")
    of_safetensors = edgegru.import_model(tmp_path / "m.safetensors", tmp_path / "b.safetensors")
    assert of_torch.identity == of_safetensors.identity


def test_cells_and_embeddings_are_known_by_their_names(tmp_path: Path):
    tensors = names(nn.GRUCell(4, 6).state_dict(), "cell.") | names(nn.Linear(6, 3).state_dict(), "out.")
    tensors |= names(nn.Embedding(11, 4).state_dict(), "embedding.")
    report = edgegru.import_model(saved(tmp_path, tensors), tmp_path / "m.safetensors")
    assert report.layers == ("embedding", "gru0", "linear0", "output")


def gru(prefix: str = "gru.", inputs: int = 2, hidden: int = 3, **options: object) -> dict[str, torch.Tensor]:
    return names(nn.GRU(inputs, hidden, **options).state_dict(), prefix)


def linear(prefix: str, inputs: int, outputs: int, bias: bool = True) -> dict[str, torch.Tensor]:
    return names(nn.Linear(inputs, outputs, bias=bias).state_dict(), prefix)


REFUSED = {
    "bidirectional": (lambda: gru(bidirectional=True), "gru.weight_ih_l0_reverse: the GRU is bidirectional"),
    "LSTM": (lambda: nn.LSTM(2, 3).state_dict(), "weight_hh of layer 0 has 4 gates: an LSTM, expected a GRU"),
    "LSTM proj": (lambda: nn.LSTM(2, 3, proj_size=2).state_dict(), "LSTM with a projection, expected a GRU"),
    "RNN": (lambda: nn.RNN(2, 3).state_dict(), "weight_hh of layer 0 has 1 gates: an RNN, expected a GRU"),
    "no GRU": (lambda: nn.Linear(2, 3).state_dict(), "holds no tensor named weight_ih or weight_ih_l0"),
    "two Linear": (
        lambda: gru() | linear("fc1.", 3, 5) | linear("fc2.", 5, 1),
        "fc1: Linear(3 → 5) and fc2: Linear(5 → 1) follow each other, and an activation between them is not seen",
    ),
    "two orders": (
        lambda: gru("gru.", 3, 3) | linear("a.", 3, 3) | linear("b.", 3, 3),
        "the weights fit a: Linear(3 → 3) → gru: GRU(3 → 3) → b: Linear(3 → 3) or b: Linear(3 → 3)",
    ),
    "no order": (lambda: gru() | linear("fc.", 4, 1), "no order fits their sizes"),
    "batch norm": (lambda: gru() | names(nn.BatchNorm1d(3).state_dict(), "bn."), "bn.running_mean: is of batch norm"),
    "layer norm": (lambda: gru() | names(nn.LayerNorm(3).state_dict(), "ln."), "ln: is a normalisation, expected"),
    "convolution": (lambda: gru() | names(nn.Conv1d(2, 2, 3).state_dict(), "c."), "c: is a convolution, expected"),
    "other": (lambda: gru() | {"scale": torch.ones(2)}, "scale: is of no GRU, Linear or Embedding"),
    "weight norm": (lambda: gru() | {"fc.weight_g": torch.ones(2, 1)}, "fc.weight_g: is of weight normalisation"),
    "one bias": (
        lambda: {k: v for k, v in gru().items() if "bias_hh" not in k},
        "layer 0 has weight_ih, weight_hh, bias_ih",
    ),
    "hole": (lambda: {k.replace("l1", "l2"): v for k, v in gru(num_layers=2).items()}, "there are layers [0, 2]"),
    "rows": (lambda: gru() | {"gru.bias_ih_l0": torch.ones(4)}, "gru.bias_ih of layer 0 has shape (4,), expected (9,)"),
    "sparse": (lambda: gru() | {"gru.weight_hh_l0": torch.ones(9, 3).to_sparse()}, "gru.weight_hh_l0: is sparse"),
    "integers": (lambda: gru() | {"gru.bias_ih_l0": torch.ones(9, dtype=torch.int8)}, "gru.bias_ih_l0: is torch.int8"),
    "expanded": (
        lambda: gru() | {"gru.weight_hh_l0": torch.ones(1).expand(9000, 3000)},
        "has tensors of more numbers than the file has bytes",
    ),
    "infinite": (lambda: gru() | {"gru.bias_ih_l0": torch.full((9,), torch.inf)}, "not finite"),
    "two models": (lambda: {"model": gru(), "ema": gru()}, "holds state dicts model and ema, expected one GRU's"),
    "skip": (
        lambda: {"config": {"skip": 1}, "state_dict": gru()},
        "config says 'skip' = '1', a connection that weights do not show, expected edgegru.from_torch(model)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_state_dict_is_refused_by_name(tmp_path: Path, case: str):
    make, sentence = REFUSED[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch about sparse tensors
        path = saved(tmp_path, make())
        assert sentence in refusal(path)


class Malicious:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("environment", [None, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_a_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str | None):
    if environment:
        monkeypatch.setenv(environment, "1")
    made = tmp_path / "made"
    path = saved(tmp_path, {"state_dict": gru(), "extra": Malicious(made)})
    assert "objects are never unpickled" in refusal(path)
    old = tmp_path / "old.pt"
    torch.save(Malicious(made), old, _use_new_zipfile_serialization=False)
    assert "format from before 1.6, a pickle, which is never opened" in refusal(old)
    plain = tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps(Malicious(made)))
    assert "is a pickle, which can run any code" in refusal(plain)
    assert not made.exists()
    torch.load(path, weights_only=False)  # the file would have done it
    assert made.exists()


def test_whole_modules_and_programs_are_refused_with_the_way_out(tmp_path: Path):
    assert "not weights alone" in (text := refusal(saved(tmp_path, Audio())))
    assert "torch.save(model.state_dict(), ...), or edgegru.from_torch(model)" in text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Audio()).save(tmp_path / "script.pt")
        torch.export.save(torch.export.export(Audio(), (torch.zeros(3, 1, 1),)), tmp_path / "program.pt2")
    assert "is a TorchScript file, which holds code" in refusal(tmp_path / "script.pt")
    assert "is a program of torch.export (.pt2)" in refusal(tmp_path / "program.pt2")


def test_damaged_files_give_one_error(tmp_path: Path):
    torch_file = saved(tmp_path, gru()).read_bytes()
    safetensors.torch.save_file(gru(), tmp_path / "m.safetensors")
    safe_file = (tmp_path / "m.safetensors").read_bytes()
    broken = tmp_path / "broken"
    for content in (torch_file, safe_file):
        for cut in (20, len(content) // 2, len(content) - 30, len(content) - 1):
            broken.write_bytes(content[:cut])
            refusal(broken)
    with (
        zipfile.ZipFile(tmp_path / "model.pt") as archive,
        zipfile.ZipFile(broken, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    assert "is a compressed zip file, which torch.save never writes" in refusal(broken)
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("a/data.pkl", b"\0" * (2**24 + 1))
    assert "has a data.pkl of more than" in refusal(broken)
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + b"(" * 10**5)
    assert "cannot be read as weights" in refusal(broken)


def test_names_that_would_spoil_a_message_are_refused(tmp_path: Path):
    for name in ("a\nb.weight", "x" * 1000, "\x1b[31m"):
        assert "a tensor is named" in refusal(saved(tmp_path, gru() | {name: torch.ones(1)}))
        safetensors.torch.save_file(gru() | {name: torch.ones(1)}, tmp_path / "m.safetensors")
        assert "a tensor is named" in refusal(tmp_path / "m.safetensors")
    refusal(saved(tmp_path, {"a\nb": gru(), "c": gru()}))


def test_safetensors_of_other_kinds_are_refused(tmp_path: Path):
    path = tmp_path / "m.safetensors"
    safetensors.numpy.save_file({"gru.weight_ih_l0": np.ones((9, 2), np.int8)}, path)
    assert "gru.weight_ih_l0: has numbers of type I8, expected floats" in refusal(path)
    safetensors.torch.save_file(gru(), path, {"skip": "1"})
    assert "its metadata says 'skip' = '1'" in refusal(path)
    safetensors.torch.save_file(gru(), path, {"format": "pt", "skip": "0"})
    edgegru.import_model(path, tmp_path / "ours.safetensors")
    assert "is a model of EdgeGRU already" in refusal(tmp_path / "ours.safetensors")


def test_safetensors_need_no_torch_and_torch_files_say_what_to_install(tmp_path: Path):
    safetensors.torch.save_file(Audio().state_dict(), tmp_path / "m.safetensors")
    saved(tmp_path, gru())
    program = """
import sys, importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else found(name, *rest)
import edgegru
folder = sys.argv[1]
print(edgegru.import_model(f"{folder}/m.safetensors", f"{folder}/a.safetensors").checked_against)
assert "torch" not in sys.modules
try:
    edgegru.import_model(f"{folder}/model.pt", f"{folder}/b.safetensors")
except edgegru.EdgegruError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    way_out = "which only torch reads: install edgegru[train], or save the weights as .safetensors"
    assert result.stdout.splitlines() == [
        "the equations of PyTorch's documentation",
        f"{tmp_path}/model.pt: is a PyTorch file, {way_out}",
    ]
