#!/usr/bin/env bash
# Build the source archive and the wheel of both distributions and look at what is inside. Needs .venv (make).
# The wheels are left in the folder given as argument, for whoever installs them next; default: dist/.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-dist}
rm -rf "$folder"

for source in runtime .; do
    .venv/bin/python -m build --no-isolation --outdir "$folder" "$source" >"$folder.log" 2>&1 ||
        { cat "$folder.log"; rm -f "$folder.log"; exit 1; }
done
rm -f "$folder.log"
.venv/bin/python tests/jobs/distributions.py "$folder"
