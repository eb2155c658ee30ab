"""On the device: ``python say.py FOLDER`` reads sentences, a line each, and says them in the other language."""

import sys
import time

from edgegru_runtime.translation import load_translator

translator = load_translator(sys.argv[1])
for line in sys.stdin:
    started = time.perf_counter()
    translation = translator.translate(line)
    milliseconds = 1000 * (time.perf_counter() - started)
    print(f"{translation.text}    [{translation.score:.2f} bits a token, {milliseconds:.0f} ms]", flush=True)
