#!/usr/bin/env bash
# From a fresh machine to the page: install, make the example clip as proof, open the page.
#   bash start.sh             the page stays until Ctrl-C; GRADIO_SERVER_PORT and GRADIO_SERVER_NAME choose its address
#   bash start.sh --no-page   stop after the example clip
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case "${1:-}" in
"" | --no-page) ;;
*)
  echo "start.sh knows one option, --no-page; it was given: $1" >&2
  exit 2
  ;;
esac

bash install.sh
mkdir -p out
.venv/bin/python -m pipeline talk examples/portraits/man_smiling.jpg examples/speech/hello_slt.wav -o out/example.mp4
echo "The example clip is $PWD/out/example.mp4"
[ "${1:-}" != --no-page ] || exit 0

show_page() { # where there is a screen, once the server answers
  [ "$(uname -s)" = Darwin ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || return 0
  .venv/bin/python - "http://127.0.0.1:${GRADIO_SERVER_PORT:-7860}" <<'PY'
import sys, time, urllib.request, webbrowser

for _ in range(120):
    time.sleep(0.5)
    try:
        urllib.request.urlopen(sys.argv[1], timeout=2).close()
    except OSError:
        continue
    webbrowser.open(sys.argv[1])
    break
PY
}
show_page &
exec .venv/bin/python app.py
