"""Model cards: what weights are for, what they were learned from, what they cannot do and who may use them.

A card is a README.md with a few lines of YAML before it, as the Hub shows it. Before weights are pushed, sections that
a component's own card lacks are taken from the card of the whole, or said to be unknown, so that none goes without.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.hub import EMBEDDED, read_index

SECTIONS = ("Intended use", "Data", "Limits", "Licence")
_MADE = ("Components", "Use")  # written anew at each push
_UNKNOWN = {
    "Data": "Whoever saved these weights did not say what they were learned from.",
    "Licence": "Whoever saved these weights did not say who may use them: ask before you do.",
}
_DEFAULTS = {"library_name": "tete-a-tete", "pipeline_tag": "image-to-video"}


@dataclass
class Card:
    """A model card in parts.

    Attributes:
        title: its heading.
        intro: what stands before the first section.
        sections: text by heading, in order.
        facts: the YAML before it: licence, tags, library.
    """

    title: str
    intro: str = ""
    sections: dict[str, str] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)

    @staticmethod
    def parse(text: str) -> Card:
        """Take a README.md apart; text without a heading gets an empty title."""
        from huggingface_hub import ModelCard

        facts: dict[str, object] = {}
        if text.startswith("---"):
            card = ModelCard(text, ignore_metadata_errors=True)
            facts, text = card.data.to_dict(), card.text
        parts = re.split(r"^## +(.+?) *$", text, flags=re.MULTILINE)
        title, _, intro = parts[0].strip().partition("\n") if parts[0].strip().startswith("# ") else ("", "", parts[0])
        sections = {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
        return Card(title.removeprefix("# ").strip(), intro.strip(), sections, facts)

    @staticmethod
    def read(path: Path) -> Card | None:
        """The card in a file, None where there is none."""
        return Card.parse(path.read_text(encoding="utf-8")) if path.is_file() else None

    def text(self) -> str:
        """The README.md."""
        from huggingface_hub import ModelCardData

        head = f"---\n{ModelCardData(**self.facts).to_yaml().strip()}\n---\n\n" if self.facts else ""
        sections = "".join(f"\n\n## {name}\n\n{body}" for name, body in self.sections.items() if body)
        return f"{head}# {self.title}\n\n{self.intro}".rstrip() + sections + "\n"

    def completed(self, other: Card | None) -> Card:
        """This card with the sections that it lacks from another, or with a word that they are unknown."""
        sections = dict(self.sections)
        for name in SECTIONS:
            known = other.sections.get(name) if other else None
            if name not in sections and (known or name in _UNKNOWN):
                sections[name] = known or _UNKNOWN[name]
        return Card(self.title, self.intro, sections, self.facts)


def write_cards(folder: Path, repository: str | None = None, main: str | None = None) -> None:
    """Write the cards of a folder of weights: one for the whole, one for each component.

    What is known stays; the table of components and the lines of code that load them are written anew.

    Args:
        folder: weights with `model_index.json`.
        repository: "owner/repo" that the code on the card names; None names the folder.
        main: the component whose card speaks for the whole, where the whole has none.

    Raises:
        WeightsError: if the folder has no readable index.
    """
    index = {name: entry for name, entry in read_index(folder).items() if not name.startswith("_")}
    general = Card.read(EMBEDDED / "README.md") or Card("Weights")
    shared = {name: general.sections[name] for name in ("Intended use", "Limits") if name in general.sections}
    known = Card.read(folder / "README.md")
    whole = known or Card(f"Tête-à-tête: {', '.join(index)}", "Weights for conversational heads from one portrait.")
    rows = ["| component | class | MB |", "|---|---|---|"]
    cards = {}
    for name, entry in index.items():
        card = Card.read(folder / name / "README.md") or Card(f"Component {name}")
        cards[name] = card.completed(known or Card("", sections=shared))
        kind = entry[-1] if isinstance(entry, list) and entry else ""
        size = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file()) / 1e6
        rows.append(f"| [{name}]({name}/README.md) | {kind} | {size:.1f} |")
    if known is None and main in cards:
        whole = Card(cards[main].title, cards[main].intro, cards[main].sections)
    whole = whole.completed(Card("", sections=shared))
    whole.sections = {name: body for name, body in whole.sections.items() if name not in _MADE}
    whole.sections |= {"Components": "\n".join(rows), "Use": _use(index, repository or str(folder))}
    whole.facts = _DEFAULTS | {"license": "other", "license_name": "see-card"} | whole.facts
    for name, card in cards.items():
        (folder / name / "README.md").write_text(card.text(), encoding="utf-8")
    (folder / "README.md").write_text(whole.text(), encoding="utf-8")


def _use(index: dict[str, object], source: str) -> str:
    lines = [
        "from pipeline import ConversationalHeadPipeline",
        "",
        f'pipe = ConversationalHeadPipeline.from_pretrained("{source}")  # what is not here is embedded',
    ]
    for name, entry in index.items():
        if isinstance(entry, list) and len(entry) == 2:
            where = f'"{source}"' + (f', subfolder="{name}"' if "/" in name else "")
            made = f"{name.replace('/', '_')} = {entry[1]}.from_pretrained({where})"
            lines += ["", f"from {entry[0]} import {entry[1]}", made]
    return "```python\n" + "\n".join(lines) + "\n```"
