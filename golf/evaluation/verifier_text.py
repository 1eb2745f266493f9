"""Find the texts of a verdict: the claim's own, and the one that the verifier chose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from golf.artifact import Claim
from golf.artifact.layout import RESTORING_FROM
from golf.data import EvaluationText, evaluation_text, holds_shards, tokenizer_of_shards, whole_evaluation_text
from golf.errors import DataError
from golf.evaluation.loss import scored_targets
from golf.evaluation.rebuild import Rebuilt
from golf.evaluation.score_text import text_sha256
from golf.recipe import Data

# Tokens of the verifier's text that are scored, unless --tokens says otherwise: four times the quickstart's claim.
MOST_TOKENS = 131_072
_STDLIB = "the validation split of this Python's standard library"
_ARTIFACT, _VERIFIER = "the artifact", "--data"


@dataclass(frozen=True)
class TextChoice:
    """The verifier's choice of a text; without `data` it is the one that the artifact names."""

    data: Path | None = None
    tokens: int | None = None
    """Most tokens that are scored; MOST_TOKENS where it is None."""
    window: int | None = None
    """Tokens of one window; those of the artifact's training where it is None."""
    val_fraction: float | None = None
    """Score the validation documents of golf's split by hash at this share; all documents where it is None."""
    text_field: str = "text"
    tokenizer: Path | None = None
    """The tokenizer of shards, where it is not next to them."""

    @property
    def limit(self) -> int:
        """Tokens that are read: one more than targets, so that a power of two of them are scored."""
        return (self.tokens or MOST_TOKENS) + 1


@dataclass(frozen=True)
class NamedText:
    """A text to score, its name, and who chose it; `counted_by` as in Measured, `counted` whether bytes are known."""

    name: str
    chosen_by: str
    text: EvaluationText
    counted_by: str | None = None

    @property
    def counted(self) -> bool:
        """Whether the bytes that the tokens stand for are known."""
        return self.text.documents is not None or self.counted_by is not None


def verifiers_text(rebuilt: Rebuilt, choice: TextChoice, check: Callable[[], None]) -> NamedText:
    """The text that the verifier chose, read as they chose; else the validation split that the artifact names."""
    data, tokenizer = choice.data, rebuilt.tokenizer
    if data is None:
        return _named_by_artifact(rebuilt, rebuilt.recipe.data, choice, choice.limit, check)
    if holds_shards(data):
        return _shards(rebuilt, data, choice, choice.limit, check, _VERIFIER)
    section = Data(source="text", path=str(data), text_field=choice.text_field)
    if choice.val_fraction is not None:
        section = section.model_copy(update={"val_fraction": choice.val_fraction})
        text = evaluation_text(section, tokenizer, limit=choice.limit, stop=check)
        return _sound(NamedText(f"the validation split of {data}", _VERIFIER, text))
    return _sound(
        NamedText(str(data), _VERIFIER, whole_evaluation_text(data, section, tokenizer, limit=choice.limit, stop=check))
    )


def claims_text(
    rebuilt: Rebuilt, choice: TextChoice, claim: Claim, check: Callable[[], None], *, version: int
) -> NamedText | None:
    """The text that the claim is about; None where the text at hand is another one.

    At `choice.data` it is the validation split of that text, as the artifact's recipe splits its own, or all of it.
    """
    limit = min(claim.tokens, rebuilt.recipe.verify.tokens) + 1
    for each in _candidates(rebuilt, choice, limit, check):
        targets = scored_targets(len(each.text.tokens), rebuilt.recipe.train.sequence_length)
        digest = text_sha256(each.text, rebuilt.tokenizer, targets, decoded=version < RESTORING_FROM)
        if digest == claim.text_sha256:
            return each
    return None


def _candidates(rebuilt: Rebuilt, choice: TextChoice, limit: int, check: Callable[[], None]) -> list[NamedText]:
    section, data = rebuilt.recipe.data, choice.data
    if data is None:
        return [_named_by_artifact(rebuilt, section, choice, limit, check)]
    if holds_shards(data):
        return [_shards(rebuilt, data, choice, limit, check, _VERIFIER)]
    found = []
    if section.source == "text":
        key = "val_path" if section.val_path else "path"
        moved = section.model_copy(update={key: str(data)})
        try:
            text = evaluation_text(moved, rebuilt.tokenizer, limit=limit, stop=check)
            found.append(NamedText(f"the validation split of {data}", _VERIFIER, text))
        except DataError:
            pass  # not the recipe's kind of text
    plain = section if section.source == "text" else Data(source="text", path=str(data))
    try:
        whole = whole_evaluation_text(data, plain, rebuilt.tokenizer, limit=limit, stop=check)
        found.append(NamedText(str(data), _VERIFIER, whole))
    except DataError:
        pass  # the verifier's text is read by the verifier's own options, and refused there
    return found


def _named_by_artifact(
    rebuilt: Rebuilt, section: Data, choice: TextChoice, limit: int, check: Callable[[], None]
) -> NamedText:
    """The validation split of the artifact's own recipe."""
    for name in (section.path, section.val_path):
        path = None if name is None else Path(name)
        if path is not None and path.exists() and not (path.is_file() or path.is_dir()):
            raise DataError(f"{name}, which the artifact names as its text, is no file or folder; name one with --data")
    if section.source == "shards":
        return _shards(rebuilt, Path(section.path or ""), choice, limit, check, _ARTIFACT)
    name = _STDLIB if section.source == "stdlib" else f"the validation split of {section.val_path or section.path}"
    return _sound(NamedText(name, _ARTIFACT, evaluation_text(section, rebuilt.tokenizer, limit=limit, stop=check)))


def _shards(
    rebuilt: Rebuilt, data: Path, choice: TextChoice, limit: int, check: Callable[[], None], chosen_by: str
) -> NamedText:
    """The shard at `data`, or a folder's validation shards."""
    counted_by = tokenizer_of_shards(data, rebuilt.tokenizer, given=choice.tokenizer)
    section = Data(source="shards", path=str(data))
    if data.suffix == ".bin":
        text = whole_evaluation_text(data, section, rebuilt.tokenizer, limit=limit, stop=check)
    else:
        text = evaluation_text(section, rebuilt.tokenizer, limit=limit, stop=check)
    return _sound(NamedText(str(data), chosen_by, text, counted_by))


def _sound(found: NamedText) -> NamedText:
    if len(found.text.tokens) < 2:
        raise DataError(f"{found.name} holds no text to score; name another with --data")
    return found
