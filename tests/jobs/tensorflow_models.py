"""Models of Keras 2 on TensorFlow, saved in every way it knows, imported and compared with what Keras computes.

The folder given as argument is made and filled.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tf_keras as keras

import edgegru
from edgegru_runtime import read_artifact
from edgegru_runtime.reference import Reference

L = keras.layers


def sequential(*layers, shape=(None, 3)):
    return keras.Sequential([keras.Input(shape), *layers])


def functional(build, size=3):
    x = keras.Input((None, size))
    return keras.Model(x, build(x))


def nested(*, trainable):
    inner = keras.Sequential(
        [
            L.GRU(4, return_sequences=True, dropout=0.1),
            L.BatchNormalization(),
            L.TimeDistributed(L.Dense(4, activation="relu")),
            L.GRU(4, return_sequences=True, trainable=False),
            L.GRU(4, return_sequences=True),
        ],
        name="inner",
    )
    inner.trainable = inner.trainable and trainable

    def build(x):
        h = inner(x)
        h = L.Dropout(0.1)(L.Add()([h, L.RNN(L.GRUCell(4, reset_after=False), return_sequences=True)(h)]))
        last, state = L.GRU(5, return_state=True)(h)
        return [L.Dense(2, activation="softmax")(last), state]

    return functional(build)


def deferred():
    model = keras.Sequential([L.GRU(5, return_sequences=True), L.Dense(2)])
    model(np.zeros((1, 4, 3), np.float32))
    return model


def shared(x):
    dense = L.Dense(3)
    return L.GRU(4)(dense(dense(x)))


MODELS = {
    "sequential": sequential(L.GRU(50, activation="tanh"), L.Dense(1), shape=(None, 1)),
    "input_shape": keras.Sequential([L.GRU(5, input_shape=(None, 3), return_sequences=True), L.Dense(2)]),
    "deferred": deferred(),
    "hard": sequential(
        L.GRU(5, reset_after=False, return_sequences=True, recurrent_activation="hard_sigmoid"),
        L.Dense(2, activation="hard_sigmoid"),
    ),
    "nested": nested(trainable=True),
    "frozen": nested(trainable=False),
    "convolutions": sequential(
        L.Conv1D(6, 3, padding="causal", activation="relu"),
        L.Conv1D(4, 2, padding="causal", dilation_rate=2),
        L.GRU(4, return_sequences=True),
        L.Activation("softmax"),
    ),
    "stateful": keras.Sequential([L.GRU(4, stateful=True, batch_input_shape=(1, 7, 3)), L.Dense(1)]),
    "normalisation": sequential(L.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0]), L.GRU(4), L.Dense(1)),
    "residual": functional(lambda x: L.Dense(2)(L.GRU(3, return_sequences=True)(x) + x)),
    "shared": functional(shared),
    "layer_normalisation": sequential(L.GRU(4, return_sequences=True), L.LayerNormalization(), L.Dense(2)),
    "dense": sequential(L.GRU(4, return_sequences=True), L.Dense(4), L.ReLU(), L.Dense(4), L.GRU(4), L.Dense(4)),
}


def randomised(model):
    """Weights that show every mistake: none is zero, variances are positive."""
    generator = np.random.default_rng(0)
    weights = [
        generator.normal(0, len(w) ** -0.5, w.shape) if w.ndim > 1 else np.abs(generator.normal(0, 0.4, w.shape)) + 0.1
        for w in model.get_weights()
    ]
    model.set_weights(weights)
    return model


def saved(model, folder, name):
    """Every file of a model: (file, weights)."""
    model.compile("adam", "mse")
    model.save(folder / f"{name}.keras")
    model.save(folder / f"{name}.h5")
    model.save(folder / name, save_format="tf")
    model.save_weights(folder / f"{name}.weights.h5")
    (folder / f"{name}.json").write_text(model.to_json())
    files = ((f"{name}.keras", None), (f"{name}.h5", None), (name, None), (f"{name}.json", f"{name}.weights.h5"))
    return [(folder / file, None if weights is None else folder / weights) for file, weights in files]


def main(folder: Path) -> None:
    folder.mkdir()
    for name, model in MODELS.items():
        randomised(model)
        size, steps = model.input_shape[-1], model.input_shape[1] or 9
        xs = np.random.default_rng(1).normal(size=(steps, size)).astype(np.float32)
        found = model.predict_on_batch(xs[None])
        expected = [np.asarray(output)[0] for output in (found if isinstance(found, list) else [found])]
        for file, weights in saved(model, folder, name):
            output = folder / "imported.safetensors"
            report = edgegru.import_model(file, output, weights=weights, force=True)
            engine = Reference(read_artifact(output))
            state = engine.new_state()
            columns = zip(*(engine.step(state, x) for x in xs), strict=True)
            for column, theirs in zip(columns, expected, strict=True):
                ours = np.array(column)
                np.testing.assert_allclose(ours if theirs.ndim == 2 else ours[-1], theirs, atol=2e-5, err_msg=str(file))
            print(f"{file.name}: {report.format}, checked against {report.checked_against}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
