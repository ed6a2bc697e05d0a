"""The longer a feature's vector, the more it is said to matter."""

from dataclasses import dataclass

from xrec import Explanation, hookimpl, probe
from xrec.explain.game import Game


@dataclass(frozen=True)
class Loudness:
    """Options: power, to which the length of a vector is raised."""

    power: float = 1.0

    def explain(self, model, inputs, target):
        """Explain without a look at the model."""
        with probe(model) as cost:
            game = Game(model, inputs, target)
            score, base = game.everything(), game.nothing()
            values = inputs.values.norm(dim=-1) ** self.power
        return Explanation.of(inputs, values, score, base, cost, "loudness")


@hookimpl
def xrec_explainers():
    """Offer loudness."""
    return {"loudness": Loudness}
