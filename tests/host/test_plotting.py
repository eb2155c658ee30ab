"""The training curve: drawn for any history, the same for the same one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegru.plotting import plot_history

HISTORY = [
    {
        "epoch": epoch + 1.0,
        "train_loss": 1 / (epoch + 1),
        "train_mse": 3.0,
        "validation_loss": 0.5,
        "validation_mse": 4.0,
    }
    for epoch in range(5)
]


@pytest.mark.parametrize("epochs", [1, 5])
@pytest.mark.parametrize("validated", [True, False])
def test_curve_is_a_png_and_repeats(tmp_path: Path, epochs: int, validated: bool) -> None:
    history = [
        {name: value for name, value in row.items() if validated or not name.startswith("validation")}
        for row in HISTORY[:epochs]
    ]
    for name in ("first.png", "second.png"):
        plot_history(history, best_epoch=epochs, path=tmp_path / name)
    content = (tmp_path / "first.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 5000
    assert (tmp_path / "second.png").read_bytes() == content
    plot_history(history, best_epoch=epochs - 1, path=tmp_path / "other.png")
    assert (tmp_path / "other.png").read_bytes() != content
