"""Evaluation: loss and bits per byte of any model; `golf.evaluation.verify` is the flow from a file to a verdict."""
