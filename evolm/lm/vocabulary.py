"""Tokenizers of one token per word, for worlds whose sentences we write ourselves.

    tokenizer = word_tokenizer(["red", "green", "blue"])
    tokenizer.encode("red blue")             # [4, 6]
    tokenizer.decode([1, 4, 3, 6, 2])        # "<bos> red <sep> blue <eos>"
    encode_words(tokenizer, "red violet")    # ValueError: 'violet' is not in the vocabulary ...

They are transformers fast tokenizers over `tokenizers.WordLevel`, and a saved one opens with AutoTokenizer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from difflib import get_close_matches

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PAD, BOS, EOS, SEP = SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<sep>")
PAD_ID, BOS_ID, EOS_ID, SEP_ID = range(4)


def word_tokenizer(words: Sequence[str], context: int | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer whose token `4 + i` is `words[i]`; 0 to 3 are <pad> <bos> <eos> <sep>.

    Text is split at white space; nothing is added to it. `decode` puts one space between words, so it inverts
    `encode` on text that is spaced so. `context` is the model's longest input in tokens. Raises ValueError for
    words that cannot be told apart or hold white space. Encoding an unknown word raises (`encode_words` says which).
    """
    seen = set()
    for word in words:
        if not word or word.split() != [word]:
            raise ValueError(f"{word!r} cannot be a word: expected at least one character and no white space")
        if any(special in word for special in SPECIAL_TOKENS):
            raise ValueError(f"{word!r} holds a special token; the names {', '.join(SPECIAL_TOKENS)} are taken")
        if word in seen:
            raise ValueError(f"the word {word!r} is given twice; expected each word once")
        seen.add(word)
    vocabulary = {word: number for number, word in enumerate((*SPECIAL_TOKENS, *words))}
    # There is no unknown token: a word outside the vocabulary is a mistake, not data.
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        sep_token=SEP,
        clean_up_tokenization_spaces=False,
        **({} if context is None else {"model_max_length": context}),
    )


def encode_words(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of the words of `text`. Raises ValueError naming the first word that the vocabulary lacks."""
    vocabulary = tokenizer.get_vocab()
    for word in text.split():
        if word not in vocabulary:
            near = get_close_matches(word, vocabulary, n=3)
            hint = f"; near it are {', '.join(near)}" if near else ""
            raise ValueError(f"{word!r} is not in the vocabulary of {len(vocabulary)} words{hint}")
    return [vocabulary[word] for word in text.split()]


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hex digits that two tokenizers share exactly when they number the same tokens alike."""
    text = json.dumps(tokenizer.get_vocab(), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]
