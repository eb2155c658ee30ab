"""On the device: ``python verdict.py MODEL`` reads sentences, a line each, and gives its verdict after every word."""

import sys

from edgegru_runtime import load

model = load(sys.argv[1])
labels, stream = model.config.outputs[0].labels, model.stream()
for line in sys.stdin:
    stream.reset()
    for number in model.tokenizer.encode(line):
        probabilities = stream.step([number])
        best = max(range(len(labels)), key=probabilities.__getitem__)
        word, bar = model.tokenizer.decode([number]), "█" * round(20 * probabilities[best])
        print(f"{word:16} {labels[best]:10} {bar:20} {probabilities[best]:.2f}", flush=True)
    print()
