"""The Hub for tests: a small server stands for it, and its real client asks in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hub_server import Hub

PRELUDE = """
import json, os, sys
from pathlib import Path
from pipeline.errors import InputError
from pipeline.hub import find_component, find_weights
said = []
def attempt(function, *arguments, **options):
    try:
        found = function(*arguments, **options)
    except InputError as error:
        found = f"refused: {error}"
    said.append(str(getattr(found, "folder", found)))
"""


@pytest.fixture
def hub(debug_weights):
    with Hub() as server:
        server.add("someone/heads", debug_weights)
        yield server


@pytest.fixture
def ask(hub, tmp_path, repository):
    """Runs lines in a process of its own, since the client reads its settings once; returns what they `attempt`ed."""
    home = tmp_path / "home"

    def run(code: str, endpoint: str = hub.endpoint, **settings: str) -> list[str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        kept = {name: value for name, value in kept.items() if not name.startswith(("HF_", "HUGGING"))}
        # Xet is a protocol of its own between hf_xet and its storage; without it the client speaks plain HTTP.
        always = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        always |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", f"{PRELUDE}\n{code}\nprint(json.dumps(said))"], cwd=repository, text=True,
            env=kept | always | settings, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
