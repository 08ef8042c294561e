"""What a newcomer relies on: true pins, commands that exist, a light import, safe weights, a small repository."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
HEAVY = ("torch", "gradio", "mediapipe", "librosa", "diffusers", "numba", "cv2")
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "requirements-train.txt")
MEBIBYTE = 1 << 20


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows; all files outside .venv where there is no git (an unpacked archive)."""
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return [p for pattern in patterns or ("*",) for p in ROOT.rglob(pattern) if p.is_file() and ".venv" not in p.parts]


def requirements(file: str) -> list[Requirement]:
    """The requirements of a file that hold for this Python, without those it includes."""
    lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return [one for one in found if one.marker is None or one.marker.evaluate()]


def imports(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


# --- pins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [one for kind in REQUIREMENTS for one in requirements(kind)], ids=str)
def test_pin_is_what_is_installed(one: Requirement) -> None:
    assert one.specifier.contains(importlib.metadata.version(one.name).split("+")[0])


def test_constraints_are_what_is_installed() -> None:
    """An install that was not made by install.sh would let the tests pass on versions that nobody gets."""
    wrong = []
    for one in requirements("constraints.txt"):
        try:
            version = importlib.metadata.version(one.name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue  # wanted on another system only
        if not one.specifier.contains(version):
            wrong.append(f"{one} but {version}")
    assert not wrong


@pytest.mark.skipif(sys.platform != "linux" or sys.version_info < (3, 11), reason="constraints.txt is made for these")
def test_constraints_hold_everything_that_requirements_bring_along() -> None:
    pinned = {canonicalize_name(one.name) for one in requirements("constraints.txt")}
    waiting = [one for kind in REQUIREMENTS for one in requirements(kind)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        extras = one.extras or {""}
        if (name, ",".join(sorted(extras))) in seen:
            continue
        seen.add((name, ",".join(sorted(extras))))
        for text in importlib.metadata.requires(name) or []:
            child = Requirement(text)
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in {*extras, ""}):
                waiting.append(child)
    # PyTorch's own companions differ from build to build; it pins them itself. Setuptools comes with Python.
    own = {
        name for name, _ in seen if name.startswith(("nvidia-", "cuda-", "triton")) or name in ("torch", "setuptools")
    }
    assert {name for name, _ in seen} - own <= pinned


def test_every_import_is_required_and_every_requirement_imported() -> None:
    homes = importlib.metadata.packages_distributions()
    using, developing, training = ({canonicalize_name(one.name) for one in requirements(kind)} for kind in REQUIREMENTS)
    brought = {"gradio-client", "mcp", "starlette", "uvicorn"}  # by gradio[mcp]
    local = {path.stem for path in tracked("*.py")} | {"pipeline", "tests"}
    used: set[str] = set()
    for path in tracked("*.py"):
        relative = path.relative_to(ROOT)
        allowed = using | training | developing if relative.parts[0] == "tests" else using
        if relative.parts[:2] == ("pipeline", "training"):
            allowed = using | training
        for name in {module.split(".")[0] for module in imports(path)}:
            if name in sys.stdlib_module_names or name in local:
                continue
            found = {canonicalize_name(home) for home in homes.get(name, [])}
            assert found & (allowed | brought), f"{relative} imports {name}, which the requirements do not name"
            used |= found
    assert using - used - {"protobuf"} == set(), "protobuf is pinned for MediaPipe; all else should be used"


def test_only_one_opencv() -> None:
    """Two of them overwrite each other's files."""
    names = {canonicalize_name(one.metadata["Name"]) for one in importlib.metadata.distributions()}
    assert {name for name in names if name.startswith("opencv")} == {"opencv-contrib-python"}
    assert "torchvision" not in {canonicalize_name(one.name) for one in requirements("requirements.txt")}


def test_requirements_do_not_name_where_packages_come_from() -> None:
    for path in [*ROOT.glob("requirements*.txt"), ROOT / "constraints.txt", *ROOT.glob("*.sh")]:
        assert not re.search(r"--(extra-)?index-url|--find-links|://", path.read_text().replace("http://127.0.0.1", ""))


# --- Spaces and README ----------------------------------------------------------------------------------------------


def front_matter() -> dict:
    return yaml.safe_load(README.split("---")[1])


def test_front_matter_agrees_with_the_repository() -> None:
    space = front_matter()
    gradio = next(one for one in requirements("requirements.txt") if one.name == "gradio")
    assert space["sdk"] == "gradio"
    assert f"=={space['sdk_version']}" == str(gradio.specifier)
    assert (ROOT / space["app_file"]).is_file()
    pyproject = (ROOT / "pyproject.toml").read_text()
    pythons = SpecifierSet(re.search(r'requires-python = "(.*)"', pyproject)[1])
    assert pythons.contains(str(space["python_version"])) and not pythons.contains("3.13")
    assert space["license"] == "apache-2.0" and "Apache License" in (ROOT / "LICENSE").read_text()
    assert len(space["short_description"]) <= 60


def test_readme_gives_two_commands_to_set_up() -> None:
    section = README.split("## Set up")[1].split("##")[0]
    block = re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1]
    assert [line.split("#")[0].strip() for line in block.splitlines()] == ["bash start.sh", "bash check.sh"]
    assert "bash check.sh" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_readme_commands_are_understood() -> None:
    from pipeline.cli import _parser

    known = 0
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:3] == ["python", "-m", "pipeline"]:
                assert callable(_parser().parse_args(words[3:]).run)
                known += 1
            elif words[:1] == ["bash"]:
                assert (ROOT / words[1]).is_file()
    assert known >= 5


def test_cards_name_commands_that_are_understood() -> None:
    from pipeline.cli import _parser

    commands = [line for path in tracked("weights/*.md") for line in re.findall(r"`python -m (.+?)`", path.read_text())]
    assert commands
    for command in commands:
        words = command.split()
        assert words[0] == "pipeline" and callable(_parser().parse_args(words[1:]).run)


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "weights").iterdir() if path.is_dir()))
def test_each_component_can_be_trained_again(folder: str) -> None:
    """`python -m pipeline train` hands every component's module the same arguments."""
    component = {"face": "morphable", "mesh": "surroundings"}.get(folder, folder)
    main = importlib.import_module(f"pipeline.training.{component}").main
    inspect.signature(main).bind(Path("corpus"), Path("output"), cache=Path("cache"), minutes=1.0)
    assert f"train {component}`" in (ROOT / "weights" / folder / "README.md").read_text()


def test_readme_names_only_files_that_exist() -> None:
    named = set(re.findall(r"(?:examples|pipeline|tests)/[\w./-]*\w", README)) | set(
        re.findall(r"\]\((\w[^):]*)\)", README)
    )
    missing = {name for name in named if not (ROOT / name).exists()}
    assert named and not missing


def test_readme_python_fits_the_interfaces() -> None:
    import app_requests
    from pipeline import ConversationalHeadPipeline

    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    calls = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    checked = 0
    for call in calls:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        keywords = {keyword.arg for keyword in call.keywords}
        if name in ("talk", "listen", "reenact", "from_pretrained"):
            assert keywords <= set(inspect.signature(getattr(ConversationalHeadPipeline, name)).parameters)
            checked += 1
        elif name == "predict":
            (asked,) = (keyword.value.value for keyword in call.keywords if keyword.arg == "api_name")
            served = getattr(app_requests, asked.removeprefix("/"))
            assert keywords - {"api_name"} <= set(inspect.signature(served).parameters)
            checked += 1
    assert checked >= 4


# --- code -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["-c", "import pipeline"], ["-m", "pipeline", "--help"]], ids=["import", "help"])
def test_importing_is_light(command: list[str]) -> None:
    listed = subprocess.run(
        [sys.executable, "-X", "importtime", *command], cwd=ROOT, capture_output=True, text=True, check=True
    ).stderr
    modules = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in listed.splitlines() if "|" in line}
    assert "pipeline" in modules
    assert modules.isdisjoint(HEAVY)


def test_nothing_reads_or_writes_pickles() -> None:
    for path in tracked("*.py"):
        tree = ast.parse(path.read_text())
        loaded = {name.split(".")[0] for name in imports(path)}
        assert loaded.isdisjoint({"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}), path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                forbidden = {"torch.load", "torch.save", "eval", "exec", "os.system"}
                if "converters" in path.parts and "weights_only=True" in ast.unparse(node):
                    forbidden -= {"torch.load"}  # foreign checkpoints are read without running what is in them
                if "tests" in path.parts:
                    forbidden -= {"torch.save"}  # and tests make such checkpoints
                assert name not in forbidden, f"{path}:{node.lineno}"
                unsafe = {k.arg for k in node.keywords if isinstance(k.value, ast.Constant) and k.value.value is True}
                assert unsafe.isdisjoint({"allow_pickle", "shell"}), f"{path}:{node.lineno}"


def test_imports_point_one_way() -> None:
    """app, cli → conversation → drivers, renderers → face, audio; measuring and training look on from outside."""
    above = {
        "face": {"drivers", "renderers", "conversation", "cli", "evaluation", "training", "bench"},
        "audio": {"drivers", "renderers", "conversation", "cli", "evaluation", "training", "bench", "face"},
        "video": {"drivers", "renderers", "conversation", "cli", "evaluation", "training", "bench", "face"},
        "drivers": {"renderers", "conversation", "cli", "evaluation", "bench"},
        "renderers": {"drivers", "conversation", "cli", "evaluation", "bench"},
        "postprocess": {"drivers", "renderers", "conversation", "cli", "evaluation", "training", "bench"},
    }
    wrong = []
    for path in tracked("pipeline/*.py"):
        part = path.relative_to(ROOT).parts[1]
        for name in imports(path):
            names = name.split(".")
            if names[0] in ("app", "gradio") or (names[0] == "pipeline" and set(names[1:2]) & above.get(part, set())):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_files_stay_readable() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in tracked("*.py") if "tests" not in path.parts}
    assert not {path: count for path, count in lines.items() if count >= 400}


# --- what lies in the repository ------------------------------------------------------------------------------------


def test_nothing_in_git_is_large() -> None:
    large = {str(p.relative_to(ROOT)): p.stat().st_size for p in tracked() if p.stat().st_size > 20 * MEBIBYTE}
    assert not large


def test_weights_are_small_safe_and_say_what_they_are_for() -> None:
    files = [path for path in (ROOT / "weights").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    assert sum(path.stat().st_size for path in files) < 60 * MEBIBYTE
    folders = [path for path in (ROOT / "weights").iterdir() if path.is_dir() and any(path.iterdir())]
    assert folders
    for folder in folders:
        card = (folder / "README.md").read_text().lower()
        assert "non-commercial" in card and "research" in card, folder


def test_no_corpus_file_was_committed() -> None:
    media = {".mp4", ".mov", ".webm", ".mkv", ".avi"}
    assert not [path for path in tracked() if path.suffix.lower() in media and path.stat().st_size > MEBIBYTE]


# --- install.sh -----------------------------------------------------------------------------------------------------


def test_install_says_in_one_sentence_what_to_do_without_a_python_that_fits(tmp_path: Path) -> None:
    """A machine whose only Python is too new, without apt-get, uv or ffmpeg."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "cat", "dirname", "grep", "id", "mktemp", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    for name, script in {
        "uname": "echo Linux",
        "ldconfig": "echo libGL.so.1 libglib-2.0.so.0",
        "python3": "exit 1",  # neither the right version, nor pip, nor venv
    }.items():
        (tools / name).write_text(f"#!/bin/bash\n{script}\n")
        (tools / name).chmod(0o755)
    for name in ("install.sh", "requirements.txt", "requirements-dev.txt", "constraints.txt", "packages.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        [tools / "bash", "install.sh"], cwd=tmp_path, env={"PATH": str(tools), "TMPDIR": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    system, sentence = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert system == "Please install these system packages, which the pictures and the page need: ffmpeg"
    assert sentence.startswith("Tête-à-tête needs Python 3.10, 3.11 or 3.12") and "run this again" in sentence
    assert not (tmp_path / ".venv").exists()
    assert not [name for name in os.listdir(tmp_path) if name.startswith("tmp.")]


def test_packages_are_those_that_install_looks_for() -> None:
    script = (ROOT / "install.sh").read_text()
    for name in (ROOT / "packages.txt").read_text().split():
        assert f"echo {name}" in script
