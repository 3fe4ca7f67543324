"""Stage 3: train the projector, and nothing else, to join the frozen encoder to the frozen decoder.

The loss is the decoder's own: how improbable it finds the transcript after reading the audio tokens.
Gradients flow through the decoder's frozen layers into the projector. The encoder's output comes from the
cache that `asrscope.training.encodings` filled.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from safetensors.torch import save
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, SmolLM3ForCausalLM

from asrscope.files import write_bytes, write_text
from asrscope.projector import AudioProjector, count_audio_tokens
from asrscope.training.batches import even_batches, pad_batch
from asrscope.training.encodings import Clip, EncoderPass, Encodings, load_encodings
from asrscope.training.options import Options
from asrscope.training.processes import agree
from asrscope.training.run import Run, Watch
from asrscope.training.spelling import Prompt

__all__ = ["FrozenDecoder", "Joined", "ProjectorRecipe", "load_decoder", "train_projector"]

MEASURED_STEPS = 6  # with each source of encodings, in turns
EVALUATED_CLIPS = 32  # held-out clips that go through the decoder together


@dataclass(frozen=True)
class ProjectorRecipe:
    """Size of the projector and how it is trained.

    Parameters
    ----------
    stack_factor, hidden_size : int
        Architecture.
    norm, mlp : str
        More of it, see `asrscope.projector.AudioProjector`.
    steps, positions_per_batch : int
        Optimizer steps, and decoder positions in a batch with padding.
    learning_rate : float
        Highest learning rate.
    copies : int
        Differently disturbed copies of every clip in the cache.
    batches_of : int
        Put together the batches that a projector of this stack factor gets; 0: of the own one. So projectors
        of different ones see the same clips in the same steps.
    seed : int
        Of everything.
    """

    stack_factor: int = 2
    hidden_size: int = 768
    norm: str = "rms"
    mlp: str = "swiglu"
    steps: int = 2_000
    positions_per_batch: int = 3_500
    learning_rate: float = 1.5e-3
    copies: int = 2
    batches_of: int = 0
    seed: int = 0


@dataclass(frozen=True)
class FrozenDecoder:
    """What a projector is trained to speak to.

    Parameters
    ----------
    model : SmolLM3ForCausalLM
        The decoder.
    tokenizer : PreTrainedTokenizerBase
        Its tokenizer, which knows the audio placeholder.
    prompt : str, optional
        What stands around the clip; default: the prompt of the bundled model.
    """

    model: SmolLM3ForCausalLM
    tokenizer: PreTrainedTokenizerBase
    prompt: str | None = None


def load_decoder(folder: Path) -> FrozenDecoder:
    """Load a decoder that `asrscope_recipe.decoder.train_decoder` finished."""
    model = SmolLM3ForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return FrozenDecoder(model, AutoTokenizer.from_pretrained(folder))


class Joined(nn.Module):
    """The projector and a frozen decoder, from encoder output to the loss of the transcript."""

    def __init__(self, projector: AudioProjector, decoder: SmolLM3ForCausalLM, audio_token_id: int) -> None:
        super().__init__()
        self.projector = projector
        self.decoder = decoder.requires_grad_(False)
        self.audio_token_id = audio_token_id

    def forward(
        self,
        hidden: Float[Tensor, "batch positions encoder_dim"],
        ids: Int[Tensor, "batch length"],
        labels: Int[Tensor, "batch length"],
    ) -> tuple[Float[Tensor, "answers vocabulary"], Int[Tensor, " answers"]]:
        """Return logits and labels of the positions that have one; padding is on the right."""
        audio = self.projector(hidden)  # (batch, audio_tokens, decoder_dim)
        is_audio = ids == self.audio_token_id
        is_clip = torch.arange(audio.shape[1], device=ids.device) < is_audio.sum(1, keepdim=True)
        embeds = self.decoder.get_input_embeddings()(ids)
        embeds = embeds.masked_scatter(is_audio[..., None], audio[is_clip].to(embeds.dtype))
        states = self.decoder.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != -100
        return self.decoder.lm_head(states[:, :-1][wanted]), labels[:, 1:][wanted]


def make_projector(encoder_dim: int, decoder: SmolLM3ForCausalLM, recipe: ProjectorRecipe) -> AudioProjector:
    """Build the projector with random weights and outputs as long as the decoder's embeddings."""
    projector = AudioProjector(
        encoder_dim,
        decoder.config.hidden_size,
        recipe.stack_factor,
        recipe.hidden_size,
        norm=recipe.norm,
        mlp=recipe.mlp,
    )
    projector.fit_length(decoder.get_input_embeddings().weight)
    return projector


class Batches:
    """Turns clips of the cache into what `Joined` takes.

    Parameters
    ----------
    encodings : Encodings
        The cache.
    prompt : Prompt
        What stands around a clip.
    stack_factor : int
        Encoder positions in one audio token.
    """

    def __init__(self, encodings: Encodings, prompt: Prompt, stack_factor: int) -> None:
        self.encodings, self.prompt, self.stack_factor = encodings, prompt, stack_factor
        self.answers = [prompt.answer(clip.text) for clip in encodings.clips]
        self.lengths = [
            len(prompt.around(count_audio_tokens(clip.positions, stack_factor))) + len(answer)
            for clip, answer in zip(encodings.clips, self.answers, strict=True)
        ]

    def clips(self, items: Sequence[int]) -> list[Clip]:
        """Look some clips up."""
        return [self.encodings.clips[item] for item in items]

    def cached(self, items: Sequence[int]) -> list[ndarray]:
        """Read the encoder's output for some clips."""
        return [self.encodings.read(clip) for clip in self.clips(items)]

    def tensors(
        self, items: Sequence[int], hidden: list[ndarray]
    ) -> tuple[
        Float[Tensor, "batch positions encoder_dim"],
        Int[Tensor, "batch length"],
        Int[Tensor, "batch length"],
    ]:
        """Stack encoder output, prompts with answers, and labels."""
        ids, labels = [], []
        for item, states in zip(items, hidden, strict=True):
            prompt = self.prompt.around(count_audio_tokens(len(states), self.stack_factor))
            ids.append(np.array(prompt + self.answers[item]))
            labels.append(np.array([-100] * len(prompt) + self.answers[item]))
        stacked, _ = pad_batch([states.astype(np.float32) for states in hidden], multiple=16)
        tokens, _ = pad_batch(ids, self.prompt.padding, multiple=8)
        targets, _ = pad_batch(labels, -100, multiple=8)
        return stacked, tokens, targets


def train_projector(
    encodings: Path,
    decoder: Path | FrozenDecoder,
    folder: Path,
    recipe: ProjectorRecipe,
    save_every: int = 500,
    *,
    evaluate_every: int = 500,
    keep: Sequence[int] = (),
    work: EncoderPass | None = None,
    options: Options | None = None,
    watch: Watch | None = None,
) -> Path:
    """Train from cached encodings, resuming where ``folder`` stands.

    Parameters
    ----------
    encodings : Path
        What `asrscope.training.encodings.cache_encodings` wrote; encodings of held-out clips, for the curve,
        may stand in ``dev`` in it.
    decoder : Path or FrozenDecoder
        The finished decoder with its tokenizer.
    folder : Path
        Gets checkpoint, log, and at the end ``projector/model.safetensors``.
    recipe : ProjectorRecipe
        What to train.
    save_every, evaluate_every : int
        Steps between checkpoints, and between evaluations.
    keep : sequence of int
        Steps after which the projector is kept in ``kept/STEP.safetensors``; 0 is before the first.
    work : EncoderPass, optional
        What filled the cache. With it, the first start measures what the cache saves.
    options : Options, optional
        How to compute it.
    watch : callable, optional
        See `asrscope.training.run.Run`.

    Returns
    -------
    Path
        The folder of the finished projector.
    """
    frozen = load_decoder(decoder) if isinstance(decoder, Path) else decoder
    cache = load_encodings(encodings)
    folder.mkdir(parents=True, exist_ok=True)
    agree(lambda: _fix_parts(folder, frozen.model, encodings))
    prompt = Prompt(frozen.tokenizer, frozen.prompt)
    batches = Batches(cache, prompt, recipe.stack_factor)
    torch.manual_seed(recipe.seed)
    projector = make_projector(cache.encoder_dim, frozen.model, recipe)
    model = Joined(projector, frozen.model, prompt.audio_token_id)
    run = Run(folder, model, recipe.steps, recipe.learning_rate, recipe.seed, options=options, watch=watch)
    model.train()
    run.compute.train()
    saved = agree(lambda: _saved_by_cache(run, batches, recipe, work))
    lengths = batches.lengths
    if recipe.batches_of not in (0, recipe.stack_factor):
        lengths = Batches(cache, prompt, recipe.batches_of).lengths
    _keep(run, projector, keep)
    for batch in run.batches(lengths, recipe.positions_per_batch):
        run.begin_step()
        wanted = sum(len(batches.answers[item]) for item in batch)
        for part in run.parts(len(batch)):
            items = batch[part]
            run.backward(_loss(run, batches, items, batches.cached(items)) / wanted)
        run.end_step(len(batch))
        _keep(run, projector, keep)
        if run.step % save_every == 0:
            run.save()
        if run.step % evaluate_every == 0 or run.step == run.steps:
            run.evaluate(lambda: evaluate_joined(run, encodings / "dev", prompt, recipe))

    def write(target: Path) -> None:
        _write(projector, target / "model.safetensors")

    return run.finish("projector", recipe, write, **({"cache": saved} if saved else {}))


def _keep(run: Run, projector: AudioProjector, steps: Sequence[int]) -> None:
    """Write the projector as it stands, if this is one of the steps after which it is kept."""
    if run.is_main and run.step in steps:
        (run.folder / "kept").mkdir(exist_ok=True)
        _write(projector, run.folder / "kept" / f"{run.step:06d}.safetensors")


def _write(projector: AudioProjector, path: Path) -> None:
    tensors = {name: tensor.cpu().contiguous() for name, tensor in projector.state_dict().items()}
    write_bytes(path, save(tensors))


def _loss(run: Run, batches: Batches, items: Sequence[int], hidden: list[ndarray]) -> Float[Tensor, ""]:
    """Sum the cross-entropies of the answers to some clips."""
    states, tokens, targets = (tensor.to(run.device) for tensor in batches.tensors(items, hidden))
    with run.autocast():
        logits, labels = run.compute(states.to(run.dtype), tokens, targets)
    return nn.functional.cross_entropy(logits.float(), labels, reduction="sum")


@torch.inference_mode()
def evaluate_joined(run: Run, folder: Path, prompt: Prompt, recipe: ProjectorRecipe) -> dict[str, float]:
    """Measure how well the transcripts of held-out clips are predicted, token by token."""
    if not folder.is_dir():
        return {}
    batches = Batches(load_encodings(folder), prompt, recipe.stack_factor)
    run.model.eval()
    loss, right, count = 0.0, 0, 0
    order = sorted(range(len(batches.lengths)), key=batches.lengths.__getitem__)
    for first in range(0, len(order), EVALUATED_CLIPS):
        items = order[first : first + EVALUATED_CLIPS]
        tensors = batches.tensors(items, batches.cached(items))
        logits, labels = run.model(*(tensor.to(run.device) for tensor in tensors))
        loss += float(nn.functional.cross_entropy(logits.float(), labels, reduction="sum"))
        right += int((logits.argmax(-1) == labels).sum())
        count += len(labels)
    run.model.train()
    return {"dev_loss": round(loss / count, 4), "dev_accuracy": round(right / count, 4)}


def _saved_by_cache(
    run: Run, batches: Batches, recipe: ProjectorRecipe, work: EncoderPass | None
) -> dict[str, float] | None:
    """Measure steps from the cache against steps that run the encoder again, once for each run.

    Both do the same batches, in turns, up to the gradients; the steps are not taken.
    """
    path = run.folder / "cache.json"
    if work is not None and not path.exists() and run.step < run.steps:
        found = measure_cache(run, batches, recipe, work)
        write_text(path, json.dumps(found) + "\n")
        run.log(**{f"cache_{name}": value for name, value in found.items()})
    if not path.exists():
        return None
    stored: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return stored


def measure_cache(run: Run, batches: Batches, recipe: ProjectorRecipe, work: EncoderPass) -> dict[str, float]:
    """Time forward and backward passes on the same batches with either source of the encoder's output.

    Returns
    -------
    dict
        ``cached_seconds`` and ``recomputed_seconds`` a step, and the ``ratio`` of the second to the first.
    """
    sources: tuple[Callable[[list[int]], list[ndarray]], ...] = (
        batches.cached,
        lambda items: work.encode_again(batches.clips(items)),
    )
    parameters = [parameter for parameter in run.compute.parameters() if parameter.requires_grad]
    seconds = [0.0, 0.0]
    drawn: Iterator[list[int]] = even_batches(batches.lengths, recipe.positions_per_batch, recipe.seed)
    for number, items in enumerate(islice(drawn, MEASURED_STEPS + 1)):
        for source, read in enumerate(sources):
            begin = time.perf_counter()
            loss = _loss(run, batches, items, read(items))
            gradients = torch.autograd.grad(loss, parameters)
            float(gradients[0].float().sum())  # a GPU is only done when it has answered
            if number > 0:  # the first time warms up
                seconds[source] += time.perf_counter() - begin
    cached, recomputed = (total / MEASURED_STEPS for total in seconds)
    return {
        "cached_seconds": round(cached, 4),
        "recomputed_seconds": round(recomputed, 4),
        "ratio": round(recomputed / cached, 2),
    }


def _fix_parts(folder: Path, decoder: SmolLM3ForCausalLM, encodings: Path) -> None:
    """Remember at the first start what is frozen; refuse to go on between other parts."""
    digest = hashlib.sha256()
    for tensor in decoder.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    mark = encodings / "encoder.sha256"
    parts = {"decoder": digest.hexdigest()}
    if mark.exists():
        parts["encoder"] = mark.read_text(encoding="utf-8")
    path = folder / "parts.json"
    if path.exists() and (folder / "checkpoint.pt").exists():
        for part, stored in json.loads(path.read_text(encoding="utf-8")).items():
            if parts.get(part, stored) != stored:
                raise ValueError(
                    f"{folder} holds a projector trained with another {part}. Make sure to delete that "
                    "folder, or to give another one"
                )
    write_text(path, json.dumps(parts) + "\n")
