"""Commands for a room that listens, made up from templates for this example: for a run without a download."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

PARTS = {"train": 600, "valid": 100, "test": 200}  # commands
TEMPLATES = {
    "PlayMusic": (
        "play {artist}",
        "play some {genre}",
        "play {genre} by {artist}",
        "put on some {genre} music in the {room}",
        "i want to hear {artist} in the {room}",
        "can you play something by {artist}",
    ),
    "SetTimer": (
        "set a timer for {duration}",
        "wake me in {duration}",
        "remind me to {task} in {duration}",
        "start a timer of {duration} to {task}",
        "in {duration} tell me to {task}",
    ),
    "SwitchLight": (
        "turn the light in the {room} {state}",
        "switch {state} the {room} light",
        "make the {room} {colour}",
        "please turn {state} the lights in the {room}",
        "i want {colour} light in the {room}",
    ),
    "GetWeather": (
        "will it rain in {city} {date}",
        "what is the weather like {date}",
        "how cold will it be {date} in {city}",
        "is it sunny in {city}",
        "weather in {city} for {date}",
    ),
}
VALUES = {
    "artist": (
        "the blue herons", "anna lind", "northern rail", "dj marble", "the quiet hours", "paulo reis", "big river band",
        "maria costa", "seven stones", "the night porters", "old lanterns", "kim and the wolves",
    ),
    "genre": ("jazz", "rock", "folk", "classical", "hip hop", "dance", "country", "opera"),
    "room": ("kitchen", "bedroom", "living room", "bathroom", "hall", "garage", "study"),
    "duration": (
        "ten minutes", "an hour", "five minutes", "half an hour", "twenty seconds", "two hours", "three minutes",
    ),
    "task": ("call home", "take out the bread", "water the plants", "stretch", "open the window", "feed the cat"),
    "state": ("on", "off"),
    "colour": ("red", "warm white", "blue", "green", "orange", "purple"),
    "city": (
        "rome", "new york", "oslo", "san diego", "berlin", "cape town", "lima", "kyoto", "lisbon", "new delhi",
    ),
    "date": ("tomorrow", "tonight", "on friday", "next week", "this weekend", "on monday", "in the morning"),
}  # fmt: skip


def write_commands(folder: Path, seed: int = 0) -> Path:
    """The three parts in the layout of the public set; the same seed gives the same commands."""
    generator = random.Random(seed)
    for part, count in PARTS.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        columns = zip(*(command(generator) for _ in range(count)), strict=True)
        for name, lines in zip(("seq.in", "seq.out", "label"), columns, strict=True):
            (folder / part / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def command(generator: random.Random) -> tuple[str, str, str]:
    """One command: its words, their tags, its intent."""
    intent = generator.choice(sorted(TEMPLATES))
    words: list[str] = []
    tags: list[str] = []
    for piece in generator.choice(TEMPLATES[intent]).split():
        name = piece.strip("{}")
        value = generator.choice(VALUES[name]).split() if piece != name else [piece]
        words += value
        tags += slot_tags(name, value) if piece != name else ["O"]
    return " ".join(words), " ".join(tags), intent


def slot_tags(name: str, value: Sequence[str]) -> list[str]:
    """B for the first word of a slot, I for each other one."""
    return [f"{'I' if index else 'B'}-{name}" for index in range(len(value))]
