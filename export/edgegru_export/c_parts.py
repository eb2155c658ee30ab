"""What an exported C model has besides its step: the front end before it, the decisions behind it."""

from __future__ import annotations

from dataclasses import dataclass

from edgegru_export.c_decisions import CDecisions, decisions_in_c
from edgegru_export.c_front_end import CFrontEnd, front_end_in_c
from edgegru_export.c_source import Words
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.front_end import behind_front_end


@dataclass(frozen=True)
class CParts:
    """``texts``: files by their name. ``sources``: those that are compiled. ``headers``: of the kernel. ``readme``: how
    they are called.
    """

    texts: dict[str, str]
    sources: tuple[str, ...]
    headers: tuple[str, ...]
    readme: str


def network(artifact: Artifact) -> Artifact:
    """What the step computes: all behind the front end, whose features are its input."""
    return Artifact(behind_front_end(artifact.config), artifact.tensors)


def parts(artifact: Artifact, words: Words) -> CParts:
    """All parts of ``artifact``. Raises ExportError for what C cannot express."""
    prefix, integers = words.prefix, not words.float_io
    front_end = front_end_in_c(artifact, prefix, integers=integers)
    decisions = decisions_in_c(artifact, prefix, integers=integers)
    texts: dict[str, str] = {}
    headers: set[str] = set()
    readme = ""
    for name, part in (("log_mel", front_end), ("decisions", decisions)):
        if part is not None:
            texts |= {f"{prefix}_{name}.h": part.header, f"{prefix}_{name}.c": part.source}
            headers.update(part.sources)
    if front_end is not None:
        readme += _front_end_readme(front_end, words)
    if decisions is not None:
        readme += _decisions_readme(decisions, words)
    sources = tuple(name for name in texts if name.endswith(".c"))
    return CParts(texts, sources, tuple(sorted(headers)), readme)


def _front_end_readme(part: CFrontEnd, words: Words) -> str:
    prefix, macro = words.prefix, words.macro
    return f"""
## Sound

The network takes what `{prefix}_log_mel` makes of int16 samples, the numbers of the model's own front end in every bit.
Its tables have {part.table_bytes:,} bytes and its state {part.state_bytes:,}; it works in {part.scratch_bytes:,} bytes
that may hold anything else between two steps.

```c
static {prefix}_log_mel_state sound;                 /* zeros at the beginning, and whenever the model is reset */
static int32_t work[{macro}_LOG_MEL_WORK];
{prefix}_log_mel(&sound, samples, work, x);          /* {macro}_LOG_MEL_SAMPLES samples */
{prefix}_step(&state, x, y);
```
"""


def _decisions_readme(part: CDecisions, words: Words) -> str:
    prefix, macro = words.prefix, words.macro
    measured = f" {part.measured}," if part.measured else ""
    return f"""
## Decisions

What the outputs switch on and off, with the model's own settings, the same events as on a computer. State
{part.state_bytes:,} bytes.

```c
static {prefix}_decisions decisions;                 /* {prefix}_decisions_reset(&decisions) at the beginning */
egru_event events[{macro}_MAX_EVENTS];
unsigned count = {prefix}_decide(&decisions, y,{measured} events);
for (unsigned i = 0; i < count; i++)
    use(events[i].label, events[i].on, events[i].step);
```
"""
