#!/usr/bin/env bash
# From a fresh machine to passed tests: install, lint, format, pytest on up to four cores (what follows goes to pytest).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

bash install.sh --dev
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
if [ -z "${CHROMIUM:-}" ]; then # a browser that Playwright fetched is not on the path
  fetched=$(.venv/bin/python -c 'from playwright.sync_api import sync_playwright as p
with p() as w: print(w.chromium.executable_path)' 2>/dev/null || true)
  if [ -x "$fetched" ] && ! command -v chromium >/dev/null; then export CHROMIUM="$fetched"; fi
fi
# A file stays with one process: its fixtures load models and start servers.
exec .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
