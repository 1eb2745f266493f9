"""The contest's rules that a program can test, on a submission's folder. Nothing in the folder is executed.

`golf.rules.folder` reads, `golf.rules.judge` judges; what they find is here, light, for whoever shows it.
"""

from golf.rules.findings import PROFILES, Finding, Profile, State

__all__ = ["PROFILES", "Finding", "Profile", "State"]
