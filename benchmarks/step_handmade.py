"""The contestants of step.py that are built from the weights alone: MNN, ncnn, torch and NumPy by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from step_models import OUTPUT_SIZE, Case, Floats
from step_peers import Peer


class Mnn(Peer):
    """A session of single operators (MNN has no GRU), read and written through the arrays of its tensors.

    ``transposed``: weights as (columns, rows), which is faster for small matrices.
    """

    def __init__(self, case: Case, transposed: bool) -> None:
        import MNN

        path = os.fspath(case.folder / "model.mnn")
        self._write(case, path, transposed)
        self.interpreter = MNN.Interpreter(path)
        settings = {"backend": "CPU", "numThread": 1, "precision": "normal", "saveTensors": ("y", "h0_next")}
        self.session = self.interpreter.createSession(settings)
        inputs = (self.interpreter.getSessionInput(self.session, name) for name in ("x", "h0"))
        outputs = (self.interpreter.getSessionOutput(self.session, name) for name in ("y", "h0_next"))
        self.tensors = (*inputs, *outputs)
        self.x, self.h, self.y, self.h_next = (tensor.getNumpyData() for tensor in self.tensors)
        self.h[:] = 0

    @staticmethod
    def _write(case: Case, path: str, transposed: bool) -> None:
        import MNN.expr as mnn

        w, size = case.weights, case.hidden_size
        rz, n_rows = slice(0, 2 * size), slice(2 * size, None)

        def constant(value: Floats) -> Any:
            return mnn.const(np.ascontiguousarray(value), list(value.shape), mnn.NCHW)

        def linear(v: Any, weight: Floats, bias: Floats) -> Any:
            matrix = constant(weight.T if transposed else weight)
            return mnn.matmul(v, matrix, False, not transposed) + constant(bias[np.newaxis])

        x, h = (mnn.placeholder([1, width], mnn.NCHW) for width in (case.input_size, size))
        both = np.hstack([w["weight_ih"], w["weight_hh"]])
        gates = mnn.sigmoid(linear(mnn.concat([x, h], 1), both[rz], (w["bias_ih"] + w["bias_hh"])[rz]))
        r, z = mnn.split(gates, [size, size], 1)
        kept = r * linear(h, w["weight_hh"][n_rows], w["bias_hh"][n_rows])
        n = mnn.tanh(linear(x, w["weight_ih"][n_rows], w["bias_ih"][n_rows]) + kept)
        h_next = n + z * (h - n)
        y = linear(h_next, w["weight"], w["bias"])
        x.name, h.name, y.name, h_next.name = "x", "h0", "y", "h0_next"
        mnn.save([y, h_next], path)

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        run, session, read = self.interpreter.runSession, self.session, self.y.item
        x_place, h, h_next = self.x[0], self.h, self.h_next
        for x in samples:
            x_place[:] = x
            run(session)
            h[:] = h_next
            read(0)
        return np.array(self.y)


class Ncnn(Peer):
    """Its GRU layer and an InnerProduct in float32, one extractor a step."""

    def __init__(self, case: Case) -> None:
        import ncnn

        w, size = case.weights, case.hidden_size
        layers = (
            "Input x 0 1 x",
            "Input h0 0 1 h0",
            f"GRU gru0 2 2 x h0 h h0_next 0={size} 1={w['weight_ih'].size} 2=0",
            f"InnerProduct dense 1 1 h y 0={OUTPUT_SIZE} 1=1 2={w['weight'].size}",
        )
        joint = w["bias_ih"] + w["bias_hh"]
        biases = np.concatenate([joint[: 2 * size], w["bias_ih"][2 * size :], w["bias_hh"][2 * size :]])
        float32 = bytes(4)  # what comes before the numbers, but for the bias of InnerProduct
        tagged = (w["weight_ih"], biases, w["weight_hh"], w["weight"])
        weights = b"".join(float32 + tensor.tobytes() for tensor in tagged) + w["bias"].tobytes()
        self.net = ncnn.Net()
        option = self.net.opt
        option.num_threads, option.use_vulkan_compute = 1, False
        option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = option.use_bf16_storage = False
        path = os.fspath(case.write("ncnn.bin", weights))
        if self.net.load_param_mem("\n".join(("7767517", "4 5", *layers, ""))) or self.net.load_model(path):
            raise RuntimeError(f"ncnn refuses {path}")
        self.x, self.zeros = (np.zeros((1, width), np.float32) for width in (case.input_size, size))
        self.x_mat, self.h = ncnn.Mat(self.x), ncnn.Mat(self.zeros).clone()

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        begin, place, x_mat, h, y = self.net.create_extractor, self.x[0], self.x_mat, self.h, self.h
        for x in samples:
            place[:] = x
            extractor = begin()
            extractor.input(0, x_mat)  # blobs by their index: x, h0, h, h0_next, y
            extractor.input(1, h)
            h = extractor.extract(3)[1]
            y = extractor.extract(4)[1]
            y[0]
        self.h = h
        return np.array(y)


class Torch(Peer):
    """``nn.GRU`` or ``nn.GRUCell``, then ``nn.Linear``: eager, in inference mode."""

    def __init__(self, case: Case, kind: str) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.cell = torch, kind == "GRUCell"
        with torch.inference_mode():  # parameters made outside it cost more at every step
            self.gru: Any = getattr(torch.nn, kind)(case.input_size, case.hidden_size)
            self.linear = torch.nn.Linear(case.hidden_size, OUTPUT_SIZE)
            for module in (self.gru, self.linear):
                for name, parameter in module.named_parameters():
                    parameter.copy_(torch.from_numpy(case.weights[name.removesuffix("_l0")].copy()))
            self.h = torch.zeros((1, case.hidden_size) if self.cell else (1, 1, case.hidden_size))

    def samples(self, inputs: Floats) -> list[Any]:
        rows = inputs[:, np.newaxis] if self.cell else inputs[:, np.newaxis, np.newaxis]
        return [self.torch.from_numpy(x.copy()) for x in rows]

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        gru, linear, h, y = self.gru, self.linear, self.h, self.h
        with self.torch.inference_mode():
            if self.cell:
                for x in samples:
                    h = gru(x, h)
                    y = linear(h)
                    y[0, 0].item()
            else:
                for x in samples:
                    output, h = gru(x, h)
                    y = linear(output)
                    y[0, 0, 0].item()
            self.h = h
            return np.array(y)


class NumPy(Peer):
    """By hand: x, 1 and h side by side, so that products include biases; gates by one tanh; nothing is allocated."""

    def __init__(self, case: Case) -> None:
        w, size, inputs = case.weights, case.hidden_size, case.input_size
        bias_ih, bias_hh = w["bias_ih"][:, np.newaxis], w["bias_hh"][:, np.newaxis]
        over_x, over_h = np.hstack([w["weight_ih"], bias_ih]), np.hstack([bias_hh, w["weight_hh"]])
        joint = np.hstack([w["weight_ih"], bias_ih + bias_hh, w["weight_hh"]])
        halves = joint[: 2 * size] * np.float32(0.5)  # σ(v) = (1 + tanh(v / 2)) / 2
        dense = np.hstack([w["bias"][:, np.newaxis], w["weight"]])
        self.matrices = [np.ascontiguousarray(m) for m in (halves, over_x[2 * size :], over_h[2 * size :], dense)]
        self.values = np.zeros(inputs + 1 + size, np.float32)
        self.values[inputs] = 1
        self.x, self.h = self.values[:inputs], self.values[inputs + 1 :]
        self.with_x, self.with_h = self.values[: inputs + 1], self.values[inputs:]
        self.gates, self.n, self.kept = (np.zeros(k * size, np.float32) for k in (2, 1, 1))
        self.r, self.z = self.gates[:size], self.gates[size:]
        self.y = np.zeros(OUTPUT_SIZE, np.float32)

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        dot, add, multiply, subtract, tanh, half = np.dot, np.add, np.multiply, np.subtract, np.tanh, np.float32(0.5)
        (rz_rows, x_rows, h_rows, dense), y, read = self.matrices, self.y, self.y.item
        values, with_x, with_h, place, h = self.values, self.with_x, self.with_h, self.x, self.h
        gates, r, z, n, kept = self.gates, self.r, self.z, self.n, self.kept
        for x in samples:
            place[:] = x
            dot(rz_rows, values, gates)
            dot(x_rows, with_x, n)
            dot(h_rows, with_h, kept)
            tanh(gates, gates)
            multiply(gates, half, gates)
            add(gates, half, gates)
            multiply(r, kept, kept)
            add(n, kept, n)
            tanh(n, n)
            subtract(h, n, h)
            multiply(z, h, h)
            add(n, h, h)
            dot(dense, with_h, y)
            read(0)
        return y.copy()


HANDMADE_PEERS: dict[str, Callable[[Case], Peer]] = {
    "MNN float32": lambda case: Mnn(case, transposed=False),
    "MNN float32, transposed": lambda case: Mnn(case, transposed=True),
    "NumPy float32": NumPy,
    "ncnn float32": Ncnn,
    "torch float32, nn.GRU": lambda case: Torch(case, "GRU"),
    "torch float32, nn.GRUCell": lambda case: Torch(case, "GRUCell"),
}
