"""One training's folder: its lock, metrics and checkpoints, and the workspace that folders of runs lie in."""
