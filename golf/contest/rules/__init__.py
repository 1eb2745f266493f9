"""The contest's rules that a program can test, on a submission's folder. Nothing in the folder is executed.

`golf.model.contest_names.rules.folder` reads, `golf.model.contest_names.rules.judge` judges; findings are here, without heavy imports.
"""

from golf.model.contest_names.rules.findings import PROFILES, Finding, Profile, State

__all__ = ["PROFILES", "Finding", "Profile", "State"]
