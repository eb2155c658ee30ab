"""Exhibits whose front end is not sound."""

from __future__ import annotations

import math

from tests.attacks.museum import GOOD_INTEGER_SOUND, GOOD_SOUND, Parts, exhibit, setting

# Front ends: log_mel (steps of 20 samples, a window of 50, a spectrum of 64, 3 bands), standardise, gru0, dense, output

for _size in (0, 4, 63, 96, 32768, 64.0):
    setting(f"spectrum of {_size}", "nodes.0.fft_size", _size,
            f"nodes[0].fft_size is {_size}; expected a power of two from 8 to 16384", GOOD_SOUND)  # fmt: skip
setting("spectrum true", "nodes.0.fft_size", True, "nodes[0].fft_size is true; expected a power of two", GOOD_SOUND)
setting("window beyond the spectrum", "nodes.0.frame_length", 65, "frame_length is 65; expected an integer from 1",
        GOOD_SOUND)  # fmt: skip
setting("full scale of nothing", "nodes.0.full_scale", 0, "nodes[0].full_scale is 0; expected a number", GOOD_SOUND)
setting("no floor", "nodes.0.floor", 0.0, "nodes[0].floor is 0.0; expected a number from 2^-100", GOOD_SOUND)
setting("steps of another size", "nodes.0.input_size", 10, "node 'log_mel' reads 10 values; expected the input's 20",
        GOOD_SOUND)  # fmt: skip
setting("sound of two channels", "input", {"size": 2, "channels": ["a", "b"], "samples_per_step": 10},
        "front end 'log_mel' reads an input of 2 channels; expected one channel", GOOD_SOUND)  # fmt: skip
setting("another number of bands", "nodes.0.output_size", 4, "node 'standardise' takes 3 values; expected the 4 of",
        GOOD_SOUND)  # fmt: skip
setting("front end behind", "nodes.1.kind", "log_mel", "nodes[1] has an unknown field 'size'", GOOD_SOUND)
setting("input standardised beside a front end", "nodes.1.inputs", ["x"],
        "front end 'log_mel' is read by nobody; expected one standardise node", GOOD_SOUND)  # fmt: skip
setting("front end read twice", "nodes.2.inputs", ["log_mel"], "'log_mel' is read by 'standardise', 'gru0'", GOOD_SOUND)
setting("front end of a front end", "nodes.0.inputs", ["gru0"], "node 'log_mel' reads 'gru0'; expected x", GOOD_SOUND)
setting("floor below an integer", "nodes.0.floor", 1e-17, "floor 1e-17, which is no number of", GOOD_INTEGER_SOUND)
setting("floor beyond an integer", "nodes.0.floor", 1e5, "in a static scheme", GOOD_INTEGER_SOUND)


@exhibit("front end 'again' is not the first node", GOOD_SOUND)
def _two_front_ends(parts: Parts) -> None:
    parts.config["nodes"].insert(1, {**parts.config["nodes"][0], "name": "again"})


@exhibit("nodes hold 0 nodes of kind standardise or embedding and have a front end", GOOD_SOUND)
def _front_end_alone(parts: Parts) -> None:
    del parts.config["nodes"][1]


@exhibit("is read by 'embedding'; expected one standardise node", GOOD_SOUND)
def _sound_as_rows_of_a_table(parts: Parts) -> None:
    table = {"kind": "embedding", "name": "embedding", "inputs": ["log_mel"], "num_embeddings": 2, "output_size": 3}
    parts.config["nodes"][1] = table


@exhibit("tensor 'log_mel.window' is float32 (50,); expected int32 (50,)", GOOD_INTEGER_SOUND)
def _float_window_in_an_integer_scheme(parts: Parts) -> None:
    parts.remove_tensor("log_mel.window")
    parts.add_tensor("log_mel.window", "F32", [50], 200)


@exhibit("has no tensor 'log_mel.edges'", GOOD_SOUND)
def _no_edges(parts: Parts) -> None:
    parts.remove_tensor("log_mel.edges")


@exhibit("tensor 'log_mel.window' holds inf at index 3; expected finite numbers", GOOD_SOUND)
def _endless_window(parts: Parts) -> None:
    parts.write("log_mel.window", 3, math.inf)


@exhibit("tensor 'log_mel.window' holds 1073741825 at index 7; expected numbers from", GOOD_INTEGER_SOUND)
def _window_beyond_one(parts: Parts) -> None:
    parts.write("log_mel.window", 7, 2**30 + 1)


@exhibit("tensor 'log_mel.window' holds -1.5 at index 7; expected numbers from -1 to 1", GOOD_SOUND)
def _window_below_minus_one(parts: Parts) -> None:
    parts.write("log_mel.window", 7, -1.5)


@exhibit("tensor 'log_mel.edges' holds 34 at index 4; expected bins from 0 to 33 that never fall", GOOD_SOUND)
def _edges_beyond_the_spectrum(parts: Parts) -> None:
    parts.write("log_mel.edges", 4, 34)


@exhibit("tensor 'log_mel.edges' holds 0 at index 2; expected bins from 0 to 33 that never fall", GOOD_INTEGER_SOUND)
def _edges_that_fall(parts: Parts) -> None:
    parts.write("log_mel.edges", 2, 0)


@exhibit("tensor 'log_mel.edges' holds -1 at index 0", GOOD_INTEGER_SOUND)
def _edges_in_front_of_the_spectrum(parts: Parts) -> None:
    parts.write("log_mel.edges", 0, -1)


@exhibit("tensor 'log_mel.rising' holds -1 at index 32; expected numbers from 0 to 32768", GOOD_INTEGER_SOUND)
def _negative_share(parts: Parts) -> None:
    parts.write("log_mel.rising", 32, -1)


@exhibit("tensor 'log_mel.rising' holds 1.5 at index 0; expected numbers from 0 to 1", GOOD_SOUND)
def _more_than_all(parts: Parts) -> None:
    parts.write("log_mel.rising", 0, 1.5)


@exhibit("tensor 'log_mel.twiddles' has a pair beyond 1 at index 1; expected cosines and sines", GOOD_INTEGER_SOUND)
def _cosines_beyond_one(parts: Parts) -> None:
    parts.write("log_mel.twiddles", 1, 2**30)


@exhibit("tensor 'log_mel.twiddles' has a pair beyond 1 at index 0; expected cosines and sines", GOOD_SOUND)
def _minus_two(parts: Parts) -> None:
    parts.write("log_mel.twiddles", 0, -2.0)
