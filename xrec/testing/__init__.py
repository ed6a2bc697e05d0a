"""The conformance kit that a plugin author runs."""

from xrec.testing.compressing import check_compressor
from xrec.testing.conformance import check_explainer, check_model
from xrec.testing.gates import GATES, check_gates, gates
from xrec.testing.tracing import check_influence
from xrec.testing.world import small_data, small_model

__all__ = [
    "GATES",
    "check_compressor",
    "check_explainer",
    "check_gates",
    "check_influence",
    "check_model",
    "gates",
    "small_data",
    "small_model",
]
