"""Keep a model's parameters small while it trains."""

from dataclasses import dataclass

from xrec import hookimpl


@dataclass(frozen=True)
class Shrink:
    """Options: weight of the squared length of all parameters in the loss."""

    weight: float = 1e-3

    @hookimpl
    def xrec_loss(self, module):
        """One more term."""
        return {"shrink": self.weight * sum(p.square().sum() for p in module.parameters())}

    @hookimpl
    def xrec_finished(self, run):
        """Leave a word in the run's folder."""
        (run.folder / "shrink.txt").write_text(f"shrunk with weight {self.weight}")


@hookimpl
def xrec_hooks():
    """Offer shrink."""
    return {"shrink": Shrink}
