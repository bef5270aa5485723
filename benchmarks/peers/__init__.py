"""Published methods of telling deployments apart, all of one shape, so that each can be given the same answers."""

from benchmarks.peers.border_inputs import BorderInputs
from benchmarks.peers.logprob_tracking import LogprobTracking
from benchmarks.peers.model_equality import ModelEqualityTesting
from benchmarks.peers.peer import Peer, power, threshold
from benchmarks.peers.rank_uniformity import RankUniformity
from benchmarks.peers.token_difr import TokenDifr

__all__ = [
    "BorderInputs",
    "LogprobTracking",
    "ModelEqualityTesting",
    "Peer",
    "RankUniformity",
    "TokenDifr",
    "power",
    "threshold",
]
