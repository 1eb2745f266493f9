"""Evaluation: loss and bits per byte of any model; `golf.evaluation.verify` is the flow from artifact to verdict."""
