"""The contest's rules that a program can test, on a submission's folder. Nothing in the folder is executed.

`golf.contest.rules.folder` reads, `golf.contest.rules.judge` judges; findings are here, without heavy imports.
"""

from golf.contest.rules.findings import PROFILES, Finding, Profile, State

__all__ = ["PROFILES", "Finding", "Profile", "State"]
