"""How to make the run again."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import OmegaConf

from xrec import hookimpl
from xrec.report.section import Chapter, Code, Table, Text
from xrec.runs.run import Run


@dataclass(frozen=True)
class Reproduce:
    """The recipe in full, the versions, and the digests of what the run read."""

    def render(self, run: Run) -> Chapter:
        """Read `training.json` and the stages' records."""
        versions = run.store.json("training.json")["versions"]
        stages = [
            (each["stage"], f"{each['seconds']:.1f}", each["key"][:12])
            for each in run.store.records()
            if each["stage"] != "report"
        ]
        return Chapter(
            "How to make it again",
            [
                Text("Save this recipe as recipe.yaml, with the same versions, and run it:"),
                Code("xrec run recipe.yaml"),
                Code(OmegaConf.to_yaml(OmegaConf.create(dict(run.recipe.resolved))).strip()),
                Table(("made with", "version"), list(versions.items()), caption="Versions"),
                Table(("stage", "seconds", "digest of what it followed"), stages, caption="Stages"),
            ],
        )


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the section on how to make the run again."""
    return {"reproduce": Reproduce}
