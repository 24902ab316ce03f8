"""Terms are defined before they are used: in the glossary of notebook 01, or where a reader first meets them.

Assumed is a reader who knows attention, NumPy, PyTorch and school mathematics. The opening cell of a notebook says
what will be learned and may name what it will define; it links to the glossary.
"""

from __future__ import annotations

import functools
import re

import pytest

from tests.notebook_code import FILES, cells, section
from tests.notebooks.test_prose import MATH, strip_code

# What the glossary has to explain: used in several notebooks, or before it is introduced.
IN_THE_GLOSSARY = [
    "absolute", "attention", "attention bias", "band", "bfloat16", "bigram table", "BLEU", "BOS", "causal mask",
    "channel", "checkpoint", "[CLS]", "context length", "cross-attention", "d_model", "decade", "decoder",
    "distillation", "door", "embedding", "encoder", "equivariant", "extrapolation", "fine-tuning", "frequency",
    "fused kernel", "half-split", "head", "head_dim", "hidden state", "interleaved", "invariant", "key", "KV cache",
    "LayerNorm", "logit", "loss", "masked language model", "MLP", "nat", "needle", "NoPE", "padding",
    "permutation matrix", "perplexity", "pooling", "position", "position_ids", "principal component", "probe",
    "prompt", "quantized", "query", "race", "relative", "residual stream", "ridge regression", "seat", "seed",
    "[SEP]", "side entrance", "softmax", "spectrum", "temperature", "token", "value", "wavelength", "window",
]  # fmt: skip

# Term (as a pattern): the notebook and the phrase that says what it is. No use of the term stands before the phrase.
DEFINED = {
    # 01
    "bidirectional encoder": ("01", "We train one small bidirectional encoder (every token sees every other;"),
    r"recurrent network": ("01", "A recurrent network reads one word at a time and mixes it into a running state"),
    r"\$R\^2": ("01", "$R^2 = 1$ is perfect and 0 is guessing the middle"),
    "linear probe": ("01", "*linear probe*: the best linear formula from a hidden state to the position"),
    "yardstick": ("01", "Its yardstick is the simplest model of all: a *bigram* table"),
    r"\bRoPE\b": ("01", "RoPE and PoPE ([notebook 04](04_rope.ipynb))"),
    r"\bPoPE\b": ("01", "RoPE and PoPE ([notebook 04](04_rope.ipynb))"),
    r"\bT5\b": ("01", "T5 ([notebook 03](03_learned.ipynb)), ALiBi and its family ([notebook 05](05_alibi.ipynb))"),
    "ReRoPE": ("01", "**ReRoPE** and **Self-Extend** change which distance a pair of tokens is *said* to have"),
    "Dual chunk attention": ("01", "**Dual chunk attention** does so chunk by chunk"),
    "DroPE": ("01", "**DroPE** trains with rotation and then takes it away"),
    "Re-injection": ("01", "**Re-injection** adds the position vector again in every layer"),
    "scorecard": ("01", "Later notebooks return to this list where it concerns their schemes"),
    "KERPLE": ("01", "Here are ten schemes that you are going to meet"),
    # 02
    r"\bhands?\b": ("02", "(cos, sin) is the hand of a clock"),
    r"\bbase \$b": ("02", r"Their speeds fall geometrically from 1 toward $1/b$, with base $b = 10\,000$"),
    "tensor2tensor": ("02", "the authors' own code, fairseq"),
    "shift matri": ("02", "So one matrix $M_k$, a 2x2 rotation for each clock, moves *every* position by $k$"),
    r"\bbuffer\b": ("02", "the table is a *buffer*: it moves with the model to the GPU, and it is not trained"),
    # 03
    "segment": ("03", "*segment*: first or second sentence"),
    "padding_idx": ("03", "padding itself owns row `padding_idx`"),
    r"\bslots\b": ("03", "GPT-2 and BERT count *slots*: 0, 1, 2, ... whatever stands there"),
    "weight decay": ("03", "Weights that receive no gradient still decay under AdamW"),
    "Adam's reach|enough reach": ("03", r"\text{reach} = \sum_t \mathrm{lr}_t"),
    "effective rank": ("03", r"The effective rank, $\exp(\text{entropy})$ of these shares"),
    "Toeplitz": ("03", "The matrix is constant along its diagonals (a *Toeplitz* matrix)"),
    r"\bbuckets?\b": ("03", r"Distances share numbers through *buckets* $\beta$: exact up to a point"),
    "clipped": ("03", r"a vector that depends on $j - i$ only, clipped at $\pm k$"),
    "additive": ("03", "the best *additive* model, one vector for each row plus one for each column"),
    r"\bpatches\b": ("03", "A vision transformer cuts an image into patches"),
    "position interpolation": ("03", "position interpolation for RoPE is the same idea, applied to angles"),
    # 04
    "rotary position embedding": ("04", "*rotary position embedding*, RoPE (Su et al. 2021)"),
    "half-split": ("04", "Most code today takes channel $i$ and channel $i + d/2$, perhaps because two halves"),
    "larger base": ("04", "A larger base keeps slow pairs slow over a longer context"),
    "GGUF": ("04", "Llamas in GGUF files (a format for local use)"),
    "long-term decay": ("04", "motivates the ladder by a *long-term decay*"),
    "packed": ("04", "documents are packed into one row"),
    "softplus": ("04", "through a softplus so that they are positive"),
    "key phase": ("04", "learned key phase, one a head and frequency"),
    "indirect indexing": ("04", "*indirect indexing*: given a list, find a symbol and name the one a few places away"),
    "partial rotary": ("04", "**Partial rotary.** GPT-NeoX rotates a quarter of each head"),
    "grouped queries": ("04", "Eight query heads may share one key head"),
    "cross-attention": ("04", "In cross-attention, queries and keys count different things"),
    "axial RoPE": ("04", "**Axial RoPE** gives half of the pairs to each"),
    "M-RoPE": ("04", "M-RoPE, one ladder cut into sections"),
    # 05
    r"(?:ALiBi's|the|usual|steep) slopes?\b": ("05", "The slope $m_h$ is fixed, one number a head"),
    "ladder of reaches": ("05", "Call the *reach* of a head the distance at which a key weighs 1%"),
    "key-only": ("05", r"The bias is one row for each head, $m_h\,j$: it depends on the key alone"),
    "mirror-equivariant": ("05", "The encoder is *mirror-equivariant*."),
    r"\bfused": ("05", r"Fused attention kernels never write the $T \times T$ weights to memory"),
    r"\bFIRE\b": ("05", "a small network |"),
    r"\bCoPE\b": ("05", "with a distance $p_{ij}$ that the query counts itself"),
    "Sandwich": ("05", r"| Sandwich | $\lambda_h\sum_c\cos((i-j)\,\omega_c)$ | nothing |"),
    "non-overlapping": ("05", "*non-overlapping* windows: cut it into pieces of length $T$"),
    "early-token": ("05", "Call that the *early-token* penalty"),
    "sliding windows": ("05", "A *sliding* window repairs this: move on by a few tokens only"),
    "recall task": ("05", "The recall task: a sequence of noise symbols; somewhere `SET v`"),
    "FlexAttention": ("05", "takes the bias as a *function* of head, query and key"),
    # 06
    "letter frequencies": ("06", "knowing nothing but how frequent each letter is"),
    "NTK-by-parts": ("06", "**NTK-by-parts** is the sentence from above as a formula"),
    "p-RoPE": ("06", "**p-RoPE** (Barbero et al. 2024), which stops the slowest pairs for good"),
    "LongRoPE": ("06", "**LongRoPE** (Ding et al. 2024), which divides each pair by its own number, found by search"),
    "attention factor": ("06", "(its name there: attention factor)"),
    "softmax scale": ("06", "multiplies the *softmax scale* by its square (there: mscale)"),
    "truncation": ("06", "**plain truncation**. The same model, unextended, reading only the last"),
    r"\*?depth\*? 0\b": ("06", "*Depth* 0 is the far end of the window"),
    "dynamic NTK": ("06", "*Dynamic NTK* lets the factor follow the current length"),
}  # fmt: skip


def paragraphs(number: str) -> list[str]:
    """What is read, in order: without the opening, navigation, glossary and references; a heading joins its text."""
    found: list[str] = []
    markdown = [cell for cell in cells(number) if cell["type"] == "markdown"]
    for cell in markdown[2:-1]:
        text = re.sub(r"(?ms)^## (?:Glossary|References)\s*$.*?(?=^## |\Z)", "", cell["source"])
        text = re.sub(r"(?m)^(#+ .*)\n\n", r"\1 ", text)
        found += [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    return found


@functools.cache
def rows() -> dict[str, str]:
    """Terms of the glossary, one by one, and their meanings."""
    table = re.findall(r"(?m)^\| (?!term)([^|-][^|]*?) \| (.+?) \|$", section("01", "Glossary"))
    return {term: meaning for terms, meaning in table for term in terms.split(", ")}


def used(term: str, text: str) -> bool:
    """True if a term, or its plural, stands in a text."""
    return bool(re.search(rf"(?<![\w-]){re.escape(term)}(?:s|es|ly)?(?![\w-])", text, re.I))


@pytest.mark.parametrize("term", IN_THE_GLOSSARY)
def test_the_glossary_explains(term):
    assert term in rows()


def test_the_glossary_is_a_glossary():
    terms = list(rows())
    assert len(terms) == len(set(map(str.lower, terms)))
    for term, meaning in rows().items():
        assert 4 <= len(meaning.split()) <= 30, term
        assert not re.search(r"[^.]\.$", meaning), f"{term}: a meaning is no sentence"


@pytest.mark.parametrize("term", rows())
def test_every_entry_of_the_glossary_is_used(term):
    """In the text or the code of some notebook, outside the glossary itself."""
    text = " ".join(cell["source"] for n in FILES for cell in cells(n) if cell["id"] != "glossary")
    assert used(term, text.replace("_", " ") if "_" not in term else text)


@pytest.mark.parametrize("term", DEFINED)
def test_no_term_is_used_before_it_is_defined(term):
    number, phrase = DEFINED[term]
    phrase = " ".join(phrase.split())
    here = paragraphs(number)
    home = next((i for i, text in enumerate(here) if phrase in text), None)
    assert home is not None, f"notebook {number} no longer says: {phrase}"
    assert any(re.search(term, text, re.I) for n in FILES for text in paragraphs(n)), "used nowhere"
    earlier = [text for n in FILES if n < number for text in paragraphs(n)] + here[:home]
    early = [text for text in earlier if re.search(term, strip_code(text), re.I)]
    assert not early, f"used before notebook {number} defines it: {early[0][:200]}"


@pytest.mark.parametrize("number", FILES)
def test_the_opening_links_to_the_glossary(number):
    opening = next(c["source"] for c in cells(number)[1:] if c["type"] == "markdown")
    links = re.search(r"\[[^\]]*glossary[^\]]*\]\((?:01_position_problem\.ipynb)?#Glossary\)", opening, re.I)
    assert links, "say where the words are explained"


def test_the_reading_notices_what_it_should():
    assert (
        used("logit", "two logits")
        and not used("head", "ahead")
        and used("query", "a query")
        and not used("nat", "nature")
    )
    assert any("bag of words" in text for text in paragraphs("01"))
    assert not any("Afterwards you will be able to" in text for n in FILES for text in paragraphs(n))
    assert not any("beginning of sequence* |" in text for text in paragraphs("01"))
    assert len(rows()) > 30 and MATH.findall(DEFINED[r"\$R\^2"][1])
