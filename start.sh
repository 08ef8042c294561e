#!/usr/bin/env bash
# From a fresh machine to the page: install, make the example clip as proof, open the page.
#   bash start.sh             what follows goes to app.py
#   bash start.sh --no-page   stop after the example clip
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

page=yes
if [ "${1:-}" = "--no-page" ]; then
  page=no
  shift
fi

bash install.sh
mkdir -p out
.venv/bin/python -m pipeline talk examples/portraits/woman_spectacles.jpg examples/speech/hello_slt.wav -o out/example.mp4
echo "The example clip is $PWD/out/example.mp4"
if [ "$page" = yes ]; then
  exec .venv/bin/python app.py "$@"
fi
