"""golf: the best language model that fits in a byte cap, and the proof of it.

A recipe says what is made. `train` turns it and a text into a checkpoint: a small transformer whose matrices NuMuon
keeps compressible. `pack` turns the checkpoint into one file under the cap: it measures on training text what an error
in each weight costs (Fisher information), rounds every matrix by steps that follow from that, with error feedback
(GPTQ), on plain integers that are then fine-tuned or along a trellis, and codes the integers by how far each should
spread. One number, the global step, is searched for until the file fills its budget; of a few methods the one with the
lowest measured loss is kept. `verify` needs the file and a text: it rebuilds the model, measures it, and holds size and
loss against what the file claims of itself.

    recipe → train → checkpoint → pack → artifact → verify → verdict

The flows know nothing of one another; they meet at the two files. The same steps are the commands `golf train`,
`golf pack` and `golf verify`. From Python (golf/api.py, docs/python.md):

    import golf

    golf.train("quickstart")                             # golf.training.results.TrainResult
    golf.pack("quickstart", cap=200_000)                 # golf.packing.results.PackResult
    golf.verify("quickstart", max_bpb=2).passed          # golf.evaluation.results.Verdict
    golf.evaluate("quickstart", data="other.txt").bpb    # golf.evaluation.results.Evaluation
    golf.open_artifact("artifact.bin").manifest          # golf.artifact.Artifact, without torch
"""

from importlib import import_module
from typing import Any

__version__ = "0.11.1"

# Loaded when first asked for: `import golf` takes milliseconds, torch seconds. As strings, so that a script which ships
# golf's modules takes only those that it needs.
_DOOR = dict.fromkeys(("train", "pack", "verify", "evaluate"), "golf.api") | {"open_artifact": "golf.artifact"}


def __getattr__(name: str) -> Any:
    """The package's API: train, pack, verify, evaluate and open_artifact."""
    if name not in _DOOR:
        raise AttributeError(f"module 'golf' has no attribute {name!r}")
    return getattr(import_module(_DOOR[name]), name)
