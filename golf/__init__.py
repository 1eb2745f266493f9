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
`golf pack` and `golf verify`. From Python:

    import golf

    result = golf.train(recipe, run, cache=cache, device=device, stop=stop)   # golf.training.results.TrainResult
    result = golf.pack(run, cap=16_000_000, ...)                              # golf.packing.results.PackResult
    verdict = golf.verify(path, bounds=bounds, data=None, ...)                # golf.evaluation.results.Verdict
    artifact = golf.open_artifact(path)                                       # golf.artifact.Artifact, without torch
"""

from functools import partial
from importlib import import_module
from typing import Any

__version__ = "0.11.0"

# Loaded when first asked for: `import golf` takes milliseconds, torch seconds. As strings, so that a script which ships
# golf's modules takes only those that it needs.
_FLOWS = {
    "train": "golf.training.train",
    "pack": "golf.packing.pack",
    "verify": "golf.evaluation.verify",
    "open_artifact": "golf.artifact",
}


def __getattr__(name: str) -> Any:
    """The package's API: train, pack, verify and open_artifact."""
    if name not in _FLOWS:
        raise AttributeError(f"module 'golf' has no attribute {name!r}")
    found = getattr(import_module(_FLOWS[name]), name)
    # a training may have to leave time to its pack, which the packer alone can estimate
    return partial(found, reserve=import_module("golf.packing.timing").reserve) if name == "train" else found
