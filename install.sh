#!/usr/bin/env bash
# Install into .venv what requirements.txt asks for (with --dev, requirements-dev.txt), and the system packages that
# packages.txt lists where they are missing and may be installed. start.sh and check.sh call it; a second run is quick.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

requirements=requirements.txt
[ "${1:-}" = "--dev" ] && requirements=requirements-dev.txt
python=.venv/bin/python

may_apt() {
  command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}
apt_install() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  say "Installing with apt-get: $*"
  { "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >&2
}

# --- system packages -----------------------------------------------------------------------------------------------
has_library() { { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null | grep -q "$1"; }
missing_packages() {
  command -v ffmpeg >/dev/null || echo ffmpeg
  [ "$(uname -s)" = Linux ] || return 0
  has_library libGL.so.1 || echo libgl1
  has_library libglib-2.0.so.0 || echo libglib2.0-0
}
install_packages() {
  local missing
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086  # one word a package
  if may_apt && apt_install $missing; then return 0; fi
  say "Please install these system packages, which the pictures and the page need:" $missing
  [ "$missing" = ffmpeg ] || exit 1 # without ffmpeg only the page's live streaming is missing
}

# --- Python --------------------------------------------------------------------------------------------------------
# MediaPipe 0.10.21, the last that carries its models, has wheels for Python up to 3.12.
fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }
has_pip() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
make_venv() {
  local candidate found=""
  for candidate in ${PYTHON:-} python3 python3.12 python3.11 python3.10; do
    command -v "$candidate" >/dev/null && fits "$candidate" || continue
    found=$candidate
    has_pip "$found" && break
  done
  if [ -n "$found" ]; then
    if ! has_pip "$found" && may_apt; then # Debian keeps venv in a package of its own
      apt_install "$("$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" || true
    fi
    if has_pip "$found"; then
      "$found" -m venv --clear .venv
      return
    fi
  fi
  local uv temporary=""
  uv=$(command -v uv || true)
  if [ -z "$uv" ]; then
    temporary=$(mktemp -d)
    python3 -m pip install -q --target "$temporary" uv >/dev/null 2>&1 && uv="$temporary/bin/uv"
    if [ -z "$uv" ] && python3 -m venv "$temporary/venv" >/dev/null 2>&1; then
      "$temporary/venv/bin/pip" install -q uv >/dev/null 2>&1 && uv="$temporary/venv/bin/uv"
    fi
  fi
  if [ -n "$uv" ] && say "Getting Python 3.12 with uv" && "$uv" venv -q --clear --seed --python 3.12 .venv; then
    [ -z "$temporary" ] || rm -rf "$temporary"
    return
  fi
  [ -z "$temporary" ] || rm -rf "$temporary"
  fail "Tête-à-tête needs Python 3.10, 3.11 or 3.12 with venv, and found none: install one (for example" \
    "python3.12 and python3.12-venv) or uv, then run this again."
}

# --- what the tests' browser needs ---------------------------------------------------------------------------------
install_browser() {
  local name
  [ -z "${CHROMIUM:-}" ] || return 0
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null && return 0
  done
  if may_apt && apt_install chromium; then return 0; fi
  "$python" -m playwright install chromium >&2 ||
    say "Please install Chromium, or set CHROMIUM to its path: the tests of the page need it."
}

install_packages
fits "$python" || make_venv
stamp=.venv/.installed-$requirements
wanted=$({ cat requirements*.txt constraints.txt && "$python" --version; } | "$python" -c \
  'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
  say "Installing $requirements into .venv (some minutes the first time)"
  "$python" -m pip install -q --disable-pip-version-check -r "$requirements" -c constraints.txt >&2 ||
    fail "pip could not install $requirements; its message above says why."
  echo "$wanted" >"$stamp"
  [ "$requirements" = requirements.txt ] || echo "$wanted" >.venv/.installed-requirements.txt
fi
[ "$requirements" = requirements.txt ] || install_browser
