"""Find the text that a model is measured on: the claim's own, the recipe's, or the one that the caller chose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from golf.artifact import Claim
from golf.artifact.layout import RESTORING_FROM
from golf.data import EvaluationText, evaluation_text, holds_shards, tokenizer_of_shards, whole_evaluation_text
from golf.errors import DataError
from golf.evaluation.loss import Score, scored_targets
from golf.evaluation.rebuild import Rebuilt
from golf.evaluation.results import Measured
from golf.evaluation.score_text import text_sha256
from golf.recipe import Data
from golf.runtime.regular import user_path

# Tokens of the verifier's text that are scored, unless --tokens says otherwise: four times the quickstart's claim.
MOST_TOKENS = 131_072
# Bytes that are read of a text that only the artifact names.
MOST_BYTES = 1 << 30
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
    text_field: str | None = None
    """The key of .jsonl records; None: the recipe's where the text is read as the recipe reads its own, else "text"."""
    tokenizer: Path | None = None
    """The tokenizer of shards, where it is not next to them."""

    @property
    def of_own_text(self) -> bool:
        """Whether anything says how the verifier's text is read, beside where it is."""
        return any((self.tokens, self.window, self.val_fraction, self.text_field not in (None, "text")))

    @property
    def limit(self) -> int:
        """Tokens that are read: one more than targets, so that a power of two of them are scored."""
        return (self.tokens or MOST_TOKENS) + 1


@dataclass(frozen=True)
class NamedText:
    """A text to score; the other fields are those of Measured."""

    name: str
    chosen_by: str
    text: EvaluationText
    counted_by: str | None = None

    def measured(self, score: Score) -> Measured:
        """The score as a result: figures in bytes only where the bytes of the text are known."""
        known = self.text.documents is not None or self.counted_by is not None
        return Measured(
            text=self.name,
            chosen_by=self.chosen_by,
            loss=score.loss,
            bpb=score.bpb if known else None,
            contest_bpb=score.contest_bpb if known else None,
            tokens=score.tokens,
            bytes=score.bytes if known else None,
            restoring_bits=score.restoring_bits,
            counted_by=self.counted_by,
        )


@dataclass(frozen=True)
class TextFinder:
    """Finds the texts for one model; `check` may raise to stop, `note` says which of the user's files are read."""

    rebuilt: Rebuilt
    choice: TextChoice
    check: Callable[[], None]
    note: Callable[[str], None]
    own_run: str | None = None
    """The name of the user's own run that the model is of; None for an artifact, whose word is not taken."""

    def as_recipe_reads(self, tokens: int | None) -> NamedText:
        """Up to `tokens` tokens of `choice.data`, read as the recipe reads its own text, else of the recipe's split."""
        data, section = self.choice.data, self.rebuilt.recipe.data
        if data is None:
            return self._named_by_recipe(tokens)
        if holds_shards(data):
            return self._shards(data, tokens, _VERIFIER)
        if self.choice.text_field is not None:
            section = section.model_copy(update={"text_field": self.choice.text_field})
        elif section.text_field != "text":
            self.note(f"records are read by their field {section.text_field}, which the model's recipe names")
        return _sound(NamedText(str(data), _VERIFIER, self._whole(data, section, tokens)))

    def verifiers(self) -> NamedText:
        """The text that the verifier chose, read as they chose; else the validation split that the artifact names."""
        data, choice = self.choice.data, self.choice
        if data is None:
            return self._named_by_recipe(choice.limit)
        if holds_shards(data):
            return self._shards(data, choice.limit, _VERIFIER)
        section = Data(source="text", path=str(data), text_field=choice.text_field or "text")
        if choice.val_fraction is None:
            return _sound(NamedText(str(data), _VERIFIER, self._whole(data, section, choice.limit)))
        section = section.model_copy(update={"val_fraction": choice.val_fraction})
        return _sound(NamedText(f"the validation split of {data}", _VERIFIER, self._split(section, choice.limit)))

    def claims(self, claim: Claim, *, version: int) -> NamedText | None:
        """The text that the claim is about; None where the text at hand is another one.

        At `choice.data` it is the validation split of that text, as the artifact's recipe splits its own, or all of it.
        """
        recipe, tokenizer = self.rebuilt.recipe, self.rebuilt.tokenizer
        for each in self._candidates(min(claim.tokens, recipe.verify.tokens) + 1):
            targets = scored_targets(len(each.text.tokens), recipe.train.sequence_length)
            if text_sha256(each.text, tokenizer, targets, decoded=version < RESTORING_FROM) == claim.text_sha256:
                return each
        return None

    def _candidates(self, limit: int) -> Iterator[NamedText]:
        section, data = self.rebuilt.recipe.data, self.choice.data
        if data is None:
            yield self._named_by_recipe(limit)
        elif holds_shards(data):
            yield self._shards(data, limit, _VERIFIER)
        else:
            plain = section if section.source == "text" else Data(source="text", path=str(data))
            # what is not the recipe's kind of text is no claim's; the verifier's options read it, or refuse it
            if section.source == "text":
                moved = section.model_copy(update={"val_path" if section.val_path else "path": str(data)})
                with suppress(DataError):
                    yield NamedText(
                        f"the validation split of {data}", _VERIFIER, self._split(moved, limit, most_bytes=MOST_BYTES)
                    )
            with suppress(DataError):
                yield NamedText(str(data), _VERIFIER, self._whole(data, plain, limit))

    def _named_by_recipe(self, limit: int | None) -> NamedText:
        """The validation split of the recipe; of what an artifact names no more than MOST_BYTES are read."""
        section, theirs = self.rebuilt.recipe.data, self.own_run is None
        chosen_by = self.own_run or _ARTIFACT
        place = section.val_path or section.path
        if place is None:
            return _sound(NamedText(_STDLIB, chosen_by, self._split(section, limit)))
        if theirs and not user_path(place).exists():
            raise DataError(f"{place}, the text that the artifact names, is not here; name it, or another, with --data")
        if theirs:
            self.note(f"reading {place}, the text that the artifact names")
        if section.source == "shards":
            return self._shards(user_path(place), limit, chosen_by)
        text = self._split(section, limit, most_bytes=MOST_BYTES if theirs else None)
        return _sound(NamedText(f"the validation split of {place}", chosen_by, text))

    def _shards(self, data: Path, limit: int | None, chosen_by: str) -> NamedText:
        """The shard at `data`, or a folder's validation shards."""
        counted_by = tokenizer_of_shards(data, self.rebuilt.tokenizer, given=self.choice.tokenizer) or self.own_run
        section = Data(source="shards", path=str(data))
        one = data.suffix == ".bin"
        text = self._whole(data, section, limit) if one else self._split(section, limit)
        return _sound(NamedText(str(data), chosen_by, text, counted_by))

    def _split(self, section: Data, limit: int | None, *, most_bytes: int | None = None) -> EvaluationText:
        return evaluation_text(section, self.rebuilt.tokenizer, limit=limit, stop=self.check, most_bytes=most_bytes)

    def _whole(self, data: Path, section: Data, limit: int | None) -> EvaluationText:
        return whole_evaluation_text(data, section, self.rebuilt.tokenizer, limit=limit, stop=self.check)


def _sound(found: NamedText) -> NamedText:
    if len(found.text.tokens) < 2:
        raise DataError(f"{found.name} holds no text to score; name another with --data")
    return found
