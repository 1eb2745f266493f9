"""Text → tokens → batches: corpus, tokenizers, token shards, and windows by step."""

from golf.data.batches import Batches
from golf.data.bpe import train_sentencepiece
from golf.data.corpus import documents, whole_text
from golf.data.evaluation_text import EvaluationText, evaluation_text, whole_evaluation_text
from golf.data.prepare import TokenSet, prepare
from golf.data.shardfolder import TOKENIZER_FILE, holds_shards, tokenizer_of_shards
from golf.data.shards import TokenStream, check_tokens, open_shard, shard_length, write_shard
from golf.data.shardset import make_shards, refuse_shards, train_tokenizer
from golf.data.textfiles import Document
from golf.data.tokenizer import (
    Accounting,
    ByteTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    accounting,
    load_tokenizer,
)
from golf.data.xz import xz_bits_per_byte

__all__ = [
    "TOKENIZER_FILE",
    "Accounting",
    "Batches",
    "ByteTokenizer",
    "Document",
    "EvaluationText",
    "SentencePieceTokenizer",
    "TokenSet",
    "TokenStream",
    "Tokenizer",
    "accounting",
    "check_tokens",
    "documents",
    "evaluation_text",
    "holds_shards",
    "load_tokenizer",
    "make_shards",
    "open_shard",
    "prepare",
    "refuse_shards",
    "shard_length",
    "tokenizer_of_shards",
    "train_sentencepiece",
    "train_tokenizer",
    "whole_evaluation_text",
    "whole_text",
    "write_shard",
    "xz_bits_per_byte",
]
