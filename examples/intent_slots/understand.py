"""On the device: ``python understand.py MODEL`` reads commands, a line each, and says after every word what it is for.

Behind a command stand its intent and its slots, with the words that fill them.
"""

import sys

from edgegru_runtime import load

model = load(sys.argv[1])
outputs, stream = model.config.outputs, model.stream()
places = [[output.target for output in outputs].index(target) for target in ("step_label", "recording_label")]
for line in sys.stdin:
    stream.reset()
    slots = []
    for word in line.split():
        for number in model.tokenizer.encode(word):
            found = stream.step([number])
        best = [max(range(len(found[place])), key=found[place].__getitem__) for place in places]
        tag, intent = (outputs[place].labels[number] for place, number in zip(places, best, strict=True))
        probability = found[places[1]][best[1]]
        print(f"{word:16} {tag:24} {intent:22} {'█' * round(10 * probability):10} {probability:.2f}", flush=True)
        mark, _, kind = tag.partition("-")
        if mark == "I" and slots and slots[-1][0] == kind:
            slots[-1][1].append(word)
        else:
            slots.append((kind, [word]))
    if slots:
        filled = ", ".join(f"{kind} = {' '.join(words)}" for kind, words in slots if kind)
        print(f"→ {intent}: {filled}\n", flush=True)
