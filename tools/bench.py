"""Speed, as ratios within one run. `python tasks.py bench`; nothing is asserted, and nothing is written without --out.

Everything that is compared is measured in turns, again and again, and the medians are compared, so that a busy machine
disturbs all alike. One thread; times are processor time of this process, which other processes do not lengthen much.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from helpers import race, training  # noqa: E402
from helpers.encodings import SCHEMES, build, positions  # noqa: E402
from helpers.model import CausalLM  # noqa: E402

from .processes import recorded  # noqa: E402
from .project import Project  # noqa: E402

Work = dict[str, Callable[[], object]]


def medians(work: Work, repeats: int, warm_up: int = 3) -> dict[str, float]:
    """Milliseconds of each piece of work, the median of ``repeats`` runs taken in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + warm_up):
        for name, run in work.items():
            start = time.process_time()
            run()
            if turn >= warm_up:
                seconds[name].append(time.process_time() - start)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def training_step(model: torch.nn.Module, ids: torch.Tensor, logits: Callable = lambda out: out) -> Callable[[], None]:
    """Forward, loss, backward and AdamW, as the race does it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    inputs, targets = ids[:, :-1], ids[:, 1:].flatten()

    def step() -> None:
        loss = F.cross_entropy(logits(model(inputs)).flatten(0, 1), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def schemes(repeats: int) -> list[dict]:
    """A training step of the race's model with every registered scheme, against the same model with none."""
    settings = race.PRESETS["quick"]
    ids = torch.randint(79, (settings.batch, settings.train_len + 1))
    ms = medians({name: training_step(race.make_model(name, settings, 0), ids) for name in SCHEMES}, repeats)
    return [{"what": name, "ms": t, "ratio": t / ms["none"], "against": "none"} for name, t in ms.items()]


def peers(repeats: int) -> list[dict]:
    """A training step of our model against GPT-2 and Llama from transformers, of the same shape."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    rows = []
    for width, layers, heads, batch, length in ((64, 2, 4, 32, 64), (256, 4, 8, 8, 256)):
        vocab = 79
        ids = torch.randint(vocab, (batch, length + 1))
        gpt2 = GPT2Config(
            vocab_size=vocab, n_positions=length, n_embd=width, n_layer=layers, n_head=heads, resid_pdrop=0.0,
            embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="sdpa", use_cache=False,
        )  # fmt: skip
        llama = LlamaConfig(
            vocab_size=vocab, hidden_size=width, intermediate_size=4 * width * 2 // 3, num_hidden_layers=layers,
            num_attention_heads=heads, max_position_embeddings=length, attn_implementation="sdpa", use_cache=False,
        )  # fmt: skip
        models = {
            "none": CausalLM(vocab, width, heads, layers),
            "learned": CausalLM(
                vocab, width, heads, layers, build("learned", d_model=width, n_heads=heads, max_len=length)
            ),
            "rope": CausalLM(vocab, width, heads, layers, build("rope", d_model=width, n_heads=heads)),
        }
        work = {name: training_step(model, ids) for name, model in models.items()}
        work["transformers GPT-2"] = training_step(GPT2LMHeadModel(gpt2), ids, lambda out: out.logits)
        work["transformers Llama"] = training_step(LlamaForCausalLM(llama), ids, lambda out: out.logits)
        ms = medians(work, repeats)
        for name, peer in (("learned", "transformers GPT-2"), ("rope", "transformers Llama")):
            what = f"model with {name}, width {width}, {layers} layers, length {length}"
            rows.append({"what": what, "ms": ms[name], "ratio": ms[name] / ms[peer], "against": peer})
    return rows


def applications(repeats: int) -> list[dict]:
    """One application of an encoding against its peer package, at a size where arithmetic counts."""
    from rotary_embedding_torch import RotaryEmbedding
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.llama.modeling_llama import LlamaConfig, LlamaRotaryEmbedding, apply_rotary_pos_emb
    from transformers.models.roformer.modeling_roformer import RoFormerSinusoidalPositionalEmbedding
    from transformers.models.t5.modeling_t5 import T5Attention, T5Config

    batch, heads, length, dim = 4, 8, 512, 64
    q, k = torch.randn(2, batch, heads, length, dim)
    pos, width = positions(length), heads * dim
    allowed = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    rows = []

    def compare(what: str, ours: Callable, **theirs: Callable) -> None:
        with torch.no_grad():
            ms = medians({"ours": ours, **theirs}, repeats)
        for peer in theirs:
            name = peer.replace("_", "-")
            rows.append({"what": what, "ms": ms["ours"], "ratio": ms["ours"] / ms[peer], "against": name})

    for layout in ("half", "interleaved"):
        rope = build("rope", d_model=width, n_heads=heads, layout=layout)
        state = rope.prepare(pos, pos, allowed)
        llama = LlamaRotaryEmbedding(LlamaConfig(hidden_size=width, num_attention_heads=heads))
        cos, sin = llama(q, pos)
        lucid = RotaryEmbedding(dim)
        lucid.rotate_queries_or_keys(q)
        compare(
            f"RoPE ({layout}), rotate queries and keys",
            lambda rope=rope, state=state: rope.rotate(q, k, state, 0),
            transformers=lambda cos=cos, sin=sin: apply_rotary_pos_emb(q, k, cos, sin),
            rotary_embedding_torch=lambda lucid=lucid: (
                lucid.rotate_queries_or_keys(q),
                lucid.rotate_queries_or_keys(k),
            ),
        )
        if layout == "half":
            compare(
                "RoPE, angles of one forward",
                lambda rope=rope: rope.prepare(pos, pos, allowed),
                transformers=lambda llama=llama: llama(q, pos),
            )
    alibi = build("alibi", d_model=width, n_heads=heads)
    mask = torch.ones(batch, length)
    compare(
        "ALiBi, bias (theirs: key-only row)",
        lambda: alibi.prepare(pos, pos, allowed),
        transformers=lambda: build_alibi_tensor(mask, heads, torch.float32),
    )
    t5 = build("t5", d_model=width, n_heads=heads)
    peer = T5Attention(
        T5Config(d_model=width, d_kv=dim, num_heads=heads, is_decoder=True),
        has_relative_attention_bias=True, layer_idx=0,
    )  # fmt: skip
    compare("T5, bias", lambda: t5.prepare(pos, pos, allowed), transformers=lambda: peer.compute_bias(length, length))
    sinusoidal = build("sinusoidal", d_model=width, n_heads=heads)
    x = torch.randn(batch, length, width)
    table = RoFormerSinusoidalPositionalEmbedding(length, width)
    compare(
        "sinusoidal, computed (theirs: look-up) and added",
        lambda: sinusoidal.embed(x, sinusoidal.prepare(pos, pos, allowed)),
        transformers=lambda: x + table(x.shape[:2]),
    )
    return rows


def notebooks() -> list[dict]:
    """Every notebook, run by papermill one after another.

    ``seconds`` by the clock, to the end and to the first ``picture``; ``processor`` seconds of all its processes, and
    ``training``, the share of them in which a model was trained; peak memory of the largest process.
    """
    rows = []
    for path in Project().all():
        with tempfile.TemporaryDirectory() as folder:
            out, log = Path(folder) / "out.ipynb", Path(folder) / "seconds"
            os.environ[training.SECONDS] = str(log)  # the kernel inherits it
            command = [sys.executable, "-m", "papermill", str(path), str(out), "--no-progress-bar"]
            start, before = time.perf_counter(), children()
            code, _, peak = recorded(command, ROOT)
            row: dict[str, object] = {"what": path.name, "seconds": time.perf_counter() - start}
            row["picture"] = first_picture(out)
            trained = sum(map(float, log.read_text(encoding="utf-8").split())) if log.exists() else 0.0
            row["processor"] = children() - before if os.name != "nt" else "not available"
            row["training"] = trained / row["processor"] if os.name != "nt" else "not available"
            rows.append({**row, "MiB": peak or "not available", "ok": code == 0})
    del os.environ[training.SECONDS]
    return rows


def children() -> float:
    """Processor seconds of all processes that this one has started and waited for, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def first_picture(notebook: Path) -> float | str:
    """Seconds from the start of a run of papermill to the end of the first cell that shows a picture."""
    if not notebook.exists():
        return "none"
    content = json.loads(notebook.read_text(encoding="utf-8"))
    start = datetime.fromisoformat(content["metadata"]["papermill"]["start_time"])
    for cell in content["cells"]:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            return (datetime.fromisoformat(cell["metadata"]["papermill"]["end_time"]) - start).total_seconds()
    return "none"


def table(title: str, rows: list[dict]) -> str:
    """Rows as an aligned text table."""
    text = [{key: f"{v:.3g}" if isinstance(v, float) else str(v) for key, v in row.items()} for row in rows]
    heads = list(text[0])
    width = {h: max(len(h), *(len(row[h]) for row in text)) for h in heads}
    lines = [
        "  ".join(row[h].ljust(width[h]) if h == "what" else row[h].rjust(width[h]) for h in heads) for row in text
    ]
    return "\n".join(
        [f"\n{title}", "  ".join(h.ljust(width[h]) if h == "what" else h.rjust(width[h]) for h in heads), *lines]
    )


PARTS = {
    "schemes": ("Training step of the race's model, by scheme", schemes),
    "peers": ("Training step of a language model, ours and transformers' of the same shape", peers),
    "apply": ("One application of an encoding, ours and its peer's", applications),
}


def main(argv: list[str] | None = None) -> int:
    """Measure speed: ratios below 1 mean that ours is faster than what it is compared with."""
    parser = argparse.ArgumentParser(prog="tasks.py bench", description=main.__doc__)
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "notebooks"], default=list(PARTS))
    parser.add_argument("--notebooks", action="store_true", help="also run every notebook: minutes")
    parser.add_argument("--repeats", type=int, default=30, help="turns a comparison (default 30)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers to a JSON file as well")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results: dict[str, object] = {"torch": torch.__version__, "python": platform.python_version()}
    for name, (title, measure) in PARTS.items():
        if name in args.only:
            results[name] = measure(args.repeats)
            print(table(title, results[name]), flush=True)
    if args.notebooks or "notebooks" in args.only:
        results["notebooks"] = notebooks()
        print(table("Notebooks, quick preset", results["notebooks"]), flush=True)
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
