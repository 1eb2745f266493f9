"""Training: `golf.training.train` is the flow; the others are its state, its diagnostics and its dry run."""
