"""The sections of a recipe and the bounds of every key.

Each room of golf receives its own section and never the whole recipe. Upper bounds exist because untrusted artifacts
contain recipes too: they keep every size computed from a recipe far from overflow.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from golf.recipe.section import Beta, Fraction, PathText, Section, Size, Strength, Tokens, refuse
from golf.recipe.shape import Model


class Budget(Section):
    """`[budget]`: most bytes of artifact and code, and which seconds count against `train.max_seconds`."""

    cap: Size = Field(16_000_000, description='size of artifact + code, e.g. "16MB" or 16_000_000')
    code_bytes: int = Field(0, ge=0, le=1 << 40, description="bytes of code counted into the cap")
    max_bpb: float | None = Field(None, gt=0, description="largest bits per byte that verify allows")
    clock: Literal["training", "calibration"] = Field(
        "training",
        description="what `train.max_seconds` bounds: the training, or also every use of training text by the pack",
    )

    @model_validator(mode="after")
    def _code_leaves_room(self) -> Self:
        if self.code_bytes >= self.cap:
            raise ValueError(f"code_bytes {self.code_bytes} leave no bytes for the artifact under the cap {self.cap}")
        return self


class Data(Section):
    """`[data]`: training text and validation text."""

    source: Literal["stdlib", "text", "shards"] = Field(
        "stdlib", description="Python's own standard library, text files, or token shards (.bin)"
    )
    path: PathText | None = Field(
        None, description="text: file, folder or .jsonl; shards: folder; seen from the working folder"
    )
    val_path: PathText | None = Field(
        None, description="text: a separate validation text, else documents are split by hash"
    )
    text_field: str = Field("text", description="text: the key that holds the text in .jsonl")
    val_fraction: float = Field(0.04, gt=0, lt=1, description="share of documents in the validation split")

    @model_validator(mode="after")
    def _path_fits_source(self) -> Self:
        stdlib = self.source == "stdlib"
        refuse(
            (stdlib and (self.path or self.val_path), 'data.path goes with source = "text" or "shards", not "stdlib"'),
            (not stdlib and not self.path, f'source = "{self.source}" needs data.path'),
            (self.source == "shards" and self.val_path, "shards name their own validation files; drop data.val_path"),
        )
        return self


class Tokenizer(Section):
    """`[tokenizer]`: how text becomes tokens."""

    kind: Literal["bytes", "sentencepiece"] = Field("sentencepiece", description="raw bytes, or SentencePiece BPE")
    vocab_size: int = Field(1024, ge=260, le=65536, description="sentencepiece: pieces, 256 byte pieces included")
    path: PathText | None = Field(
        None, description="sentencepiece: a ready .model; else one is trained on the training split"
    )

    @model_validator(mode="after")
    def _path_fits_kind(self) -> Self:
        if self.kind == "bytes" and self.path:
            raise ValueError('tokenizer.path goes with kind = "sentencepiece"')
        return self


class RankSchedule(Section):
    """`[optimizer.rank]`: NuMuon's rank fraction over training; times are fractions of the steps."""

    # docs/numuon.md: level with the cosine, and ahead of it on every seed of the quickstart
    kind: Literal["fixed", "piecewise", "cosine"] = Field("piecewise", description="numuon: shape of the fall")
    start: float = Field(1.0, gt=0, le=1, description="rank fraction at the first step")
    end: float = Field(0.25, gt=0, le=1, description="rank fraction reached at `finish` and kept")
    hold: Fraction = Field(0.1, description="share of training before the rank starts to fall")
    finish: Fraction = Field(0.8, description="share of training at which the rank has reached `end`")
    down_end: float | None = Field(
        None, gt=0, le=1, description="rank fraction that the MLP's down projection ends with; default: `end`"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.hold > self.finish:
            raise ValueError(f"hold {self.hold} lies after finish {self.finish}")
        return self


class RatePenalty(Section):
    """`[optimizer.rate_penalty]`: a price on the bits of the matrices; the embedding has none."""

    kind: Literal["none", "l1", "ggd"] = Field(
        "none",
        description="l1: W <- sign(W) max(abs(W) - lr * strength, 0) after each step; ggd: the same along the slope of "
        "a generalized Gaussian code, whose shape is estimated (BackSlash)",
    )
    strength: Strength = Field(
        "auto",
        description="entries move by lr * strength, at 0 they stop; auto: from the bits a weight that the cap affords",
    )
    codes: Literal["each", "one"] = Field("each", description="ggd: a code for each matrix, or one for all")
    start: Fraction = Field(0.0, description="share of the steps after which it begins")
    finish: Fraction = Field(1.0, description="share of the steps after which it ends")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start > self.finish:
            raise ValueError(f"start {self.start} lies after finish {self.finish}")
        return self


class Optimizer(Section):
    """`[optimizer]`: the optimizer of the matrices; embeddings and gains always have AdamW."""

    name: Literal["numuon", "muon", "adamw"] = Field(
        "numuon", description="optimizer of the matrices; muon is torch.optim.Muon"
    )
    lr: float = Field(0.02, gt=0, le=10, description="peak learning rate of the matrices")
    momentum: float = Field(0.95, ge=0, lt=1, description="muon and numuon: decay of the momentum buffer")
    momentum_warmup: Fraction = Field(
        0.0, description="muon and numuon: share of the steps over which momentum rises from 0.85"
    )
    nesterov: bool = Field(False, description="muon and numuon: Nesterov momentum")
    matmul_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="muon and numuon: dtype of their matrix products; auto: the device's fastest, kept when resumed",
    )
    spectral_decay: float = Field(
        0.0, ge=0, le=10, description="matrices: W <- W - lr * spectral_decay * polar(W) after each step"
    )
    weight_decay: float = Field(0.1, ge=0, le=10, description="decoupled: W <- (1 - lr * weight_decay) W")
    weight_decay_end: float | None = Field(
        None, ge=0, le=10, description="weight_decay at the last step, reached linearly; constant by default"
    )
    embedding_lr: float = Field(0.004, gt=0, le=10, description="AdamW's peak learning rate of the embedding")
    scalar_lr: float = Field(0.01, gt=0, le=10, description="AdamW's peak learning rate of gains")
    betas: tuple[Beta, Beta] = Field((0.9, 0.95), strict=False, description="AdamW's")
    eps: float = Field(1e-10, gt=0, le=1, description="AdamW's")
    rank: RankSchedule = RankSchedule()
    rate_penalty: RatePenalty = RatePenalty()

    @model_validator(mode="after")
    def _decay_has_an_optimizer(self) -> Self:
        if self.spectral_decay and self.name == "adamw":
            raise ValueError('spectral_decay goes with name = "muon" or "numuon"')
        return self


class Train(Section):
    """`[train]`: steps, batches, schedules, and how often to log, measure and save."""

    steps: int = Field(500, ge=1, le=10**9, description="optimizer steps")
    batch_tokens: int = Field(8192, ge=2, le=1 << 32, description="tokens of one optimizer step")
    sequence_length: int = Field(256, ge=2, le=1 << 20, description="T, tokens of one window")
    micro_batch_tokens: int = Field(
        32_768, ge=1, le=1 << 32, description="most tokens of one forward and backward pass"
    )
    warmup: Fraction = Field(0.05, description="share of the steps over which lr rises from 0")
    cooldown: Fraction = Field(0.4, description="share of the steps over which lr falls at the end")
    min_lr: Fraction = Field(0.01, description="lr at the last step over the peak lr")
    max_seconds: float | None = Field(
        None, gt=0, le=1e9, description="time limit of the training: schedules end at it; `steps` is an upper bound"
    )
    ema: Beta = Field(0.0, description="decay of a moving average of the weights, which is then packed; 0: none")
    clip: float = Field(1.0, gt=0, le=1e9, description="gradient clipping: largest norm of the whole gradient")
    log_every: int = Field(10, ge=1, le=10**9, description="steps between lines of metrics")
    eval_every: int = Field(
        100, ge=1, le=10**9, description="steps between measurements of validation loss, ranks, size"
    )
    eval_tokens: int = Field(
        32_768, ge=2, le=1 << 40, description="validation tokens of the measurements during training"
    )
    checkpoint_every: int = Field(100, ge=1, le=10**9, description="steps between checkpoints")
    compile: bool = Field(False, description="torch.compile the model (CUDA)")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        refuse(
            (
                self.batch_tokens % self.sequence_length,
                f"batch_tokens {self.batch_tokens} is not a multiple of sequence_length {self.sequence_length}",
            ),
            (
                self.warmup + self.cooldown > 1,
                f"warmup {self.warmup} + cooldown {self.cooldown} exceed the whole training",
            ),
        )
        return self


class Pack(Section):
    """`[pack]`: how weights become bytes."""

    calibration_tokens: int = Field(32_768, ge=2, le=1 << 32, description="TRAINING tokens of the Fisher estimate")
    row_smoothing: Fraction = Field(0.2, description="share of the tensor's mean in each row's Fisher information")
    damping: float = Field(
        0.01, gt=0, le=1, description="share of the mean diagonal added to the second moments of a matrix's inputs"
    )
    tune_tokens: Tokens = Field(
        "auto",
        description="TRAINING tokens on which symbols are fine-tuned after rounding, 0: none; auto: an eighth of those "
        "of the training, at least 262_144 and at most two a weight",
    )
    tune_text: Fraction = Field(
        0.5, description="share of the text's cross-entropy in fine-tuning's loss; the rest: KL from the float model"
    )
    tune_batch_tokens: int = Field(2048, ge=2, le=1 << 32, description="tokens of one batch of fine-tuning")
    target_gap: float = Field(
        5e-4, gt=0, le=10, description="predicted loss gap, nats per token, below which more bytes are not spent"
    )
    low_rank: Literal["auto", "off", "only"] = Field(
        "auto", description="low-rank factors where they lower the loss, never, or without a residual"
    )
    quantizer: Literal["auto", "trellis", "uniform"] = Field(
        "auto",
        description="the better by measured loss; trellis-coded; nearest integer, the only one that is fine-tuned",
    )
    coder: Literal["best", "zstd"] = Field("best", description="smallest of ANS and zstd, or zstd alone")


class Verify(Section):
    """`[verify]`: the validation text that the artifact's claim is measured on."""

    tokens: int = Field(131_072, ge=2, le=1 << 40, description="validation tokens, from the first on, that are scored")
    loss_tolerance: float = Field(
        5e-4, ge=0, le=0.01, description="nats per token that another machine's arithmetic may differ by"
    )


class Recipe(Section):
    """A whole recipe. Only the flows (train, pack, verify) hold one."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="names the run's folder")
    seed: int = Field(0, ge=0, lt=1 << 63, description="of initial weights, order of text, and calibration")
    budget: Budget = Budget()
    data: Data = Data()
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    optimizer: Optimizer = Optimizer()
    train: Train = Train()
    pack: Pack = Pack()
    verify: Verify = Verify()

    @model_validator(mode="after")
    def _clock_has_seconds(self) -> Self:
        if self.budget.clock == "calibration" and self.train.max_seconds is None:
            raise ValueError('budget.clock = "calibration" needs train.max_seconds')
        return self
