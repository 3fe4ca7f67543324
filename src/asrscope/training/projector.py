"""Train the projector between any frozen encoder and any frozen decoder: one loop, two stages.

``warm``: each audio token points among the decoder's token embeddings, and learns by CTC to spell the
transcript with them. The decoder itself is not run, so this is quick. ``joint``: the audio tokens stand in
the prompt, and the loss is how improbable the frozen decoder finds the transcript after it. The second can
begin where the first ended, or by itself, from random weights.
"""

import copy
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from asrscope.loading.presets import Loaded
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import PROMPT_TOKEN, AsrScopeProcessor
from asrscope.projector import AudioProjector, count_audio_tokens
from asrscope.recognition.metrics import total_errors, word_errors
from asrscope.saving.files import write_bytes, write_text
from asrscope.saving.provenance import PARTS, provenance_of, read_claims, write_provenance
from asrscope.saving.publishing import save_projector
from asrscope.training.curves import read_stages
from asrscope.training.encodings import Clip, load_encodings
from asrscope.training.run import Recipe, Run, Watch, even_batches, pad_batch

__all__ = [
    "RECIPES",
    "WARM",
    "ProjectorRecipe",
    "Prompt",
    "average_with",
    "put_together",
    "read_nearest",
    "read_projector",
    "recipe_for",
    "train_projector",
    "write_model",
]

STAGES = ("warm", "joint")
IGNORE = -100  # the label of what is not to be predicted
EVALUATED_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class ProjectorRecipe(Recipe):
    """Size of the projector and how it is trained.

    Parameters
    ----------
    stage : {"warm", "joint"}
        By CTC over the decoder's embeddings, or through the frozen decoder.
    stack_factor, hidden_size, norm, mlp, output, prompt_vectors, ctc_weight : int, str or float
        Architecture, see `asrscope.projector.AudioProjector`; bound, it is to the tokens of the transcripts.
    positions_per_batch : int
        Decoder positions (``warm``: audio tokens) in a batch, padding included.
    prompt_rate : float
        Highest learning rate of the learned prompt.
    ctc : float
        Weight of the CTC loss that ``joint`` keeps beside the decoder's.
    negatives : int
        Tokens that CTC scores beside those of the batch, drawn at random: all would take long.
    dropout, masked : float
        Part of the hidden layer, and of the encoder's output, that is left out at random.
    copies : int
        Differently disturbed copies of every clip in the cache.
    held_out : int
        One speaker in so many is kept to measure on, see `hold_out`; 0 for none.
    batches_of : int
        Put together the batches that a projector of this stack factor gets; 0: of the own one. So projectors
        of different ones see the same clips in the same steps.
    """

    stage: str = "joint"
    stack_factor: int = 2
    hidden_size: int = 768
    norm: str = "rms"
    mlp: str = "swiglu"
    output: str = "free"
    prompt_vectors: int = 0
    ctc_weight: float = 0.0
    positions_per_batch: int = 3_500
    learning_rate: float = 1.5e-3
    prompt_rate: float = 8e-3
    ctc: float = 0.0
    negatives: int = 1_500
    dropout: float = 0.0
    masked: float = 0.0
    copies: int = 2
    held_out: int = 0
    batches_of: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.stage not in STAGES:
            raise ValueError(f"expected a stage of {', '.join(STAGES)}, but found {self.stage!r}")
        if self.output != "bound" and (self.stage == "warm" or self.ctc or self.ctc_weight):
            raise ValueError("CTC needs an output that points to tokens: set output=bound")


# What the warm start does in another way than the stage after it.
WARM = {
    "stage": "warm",
    "steps": 20_000,
    "learning_rate": 2e-3,
    "positions_per_batch": 1_100,
}
# Pairs whose projector is not made as the one they come with.
RECIPES = {
    # An audio token for each 80 ms of the padded window.
    "full": ProjectorRecipe(stack_factor=4, hidden_size=2048, learning_rate=5e-4, copies=1),
    "small": ProjectorRecipe(
        stack_factor=5,
        hidden_size=1024,
        output="bound",
        prompt_vectors=16,
        ctc_weight=0.5,
        learning_rate=3e-4,
        ctc=0.2,
        dropout=0.1,
        masked=0.04,
        held_out=50,
    ),
}


def recipe_for(name: str, loaded: Loaded) -> ProjectorRecipe:
    """Give the recipe of a pair: its own, or one for a projector of the sizes that it comes with."""
    settings = loaded[0].config.projector_settings
    own = {field.name: settings[field.name] for field in fields(ProjectorRecipe) if field.name in settings}
    return RECIPES.get(name) or ProjectorRecipe(**own)


class Prompt:
    """The tokens around a clip, and those of its transcript.

    Parameters
    ----------
    processor : AsrScopeProcessor
        Knows the tokenizer and the prompt.
    learned : int
        Vectors of a learned prompt that the written one does not have yet: half before the clip, half after.
    """

    def __init__(self, processor: AsrScopeProcessor, learned: int = 0) -> None:
        self.tokenizer: PreTrainedTokenizerBase = processor.tokenizer
        self.audio_id: int = processor.audio_token_id
        self.learned_id: int | None = self.tokenizer.get_vocab().get(PROMPT_TOKEN)
        if learned and self.learned_id is None:
            raise ValueError(
                f"a learned prompt needs a placeholder, but the tokenizer has no {PROMPT_TOKEN}. Make sure "
                "to add it, with a row for it (resize_token_embeddings), or to set prompt_vectors=0"
            )
        audio, asked = processor.audio_token, processor.instruction
        self.instruction = asked
        text = processor.prompt()
        if learned and PROMPT_TOKEN not in text:
            around = PROMPT_TOKEN * (learned // 2) + audio + PROMPT_TOKEN * (learned - learned // 2)
            self.instruction = (asked if audio in asked else asked + audio).replace(audio, around)
            text = text.replace(audio, around)
        self.before, self.after = (
            self.tokenizer.encode(part, add_special_tokens=False) for part in text.split(audio)
        )
        own, self.end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        self.padding: int = self.end if own is None else own

    def around(self, audio_tokens: int) -> list[int]:
        """Token ids of the whole prompt, with a placeholder for each audio token."""
        return [*self.before, *([self.audio_id] * audio_tokens), *self.after]

    def answer(self, text: str) -> list[int]:
        """Token ids of a transcript with its end."""
        return [*self.tokenizer.encode(text, add_special_tokens=False), self.end]

    def opening(self, token: int) -> int:
        """Give the token that says the same at the beginning of a text, without a space; -1 within a word."""
        text = str(self.tokenizer.decode([token]))
        if not text.startswith(" "):
            return -1
        bare = self.tokenizer.encode(text[1:], add_special_tokens=False)
        return int(bare[0]) if len(bare) == 1 else token

    def spelling(self, text: str) -> list[int]:
        """Token ids of a transcript as CTC is to spell it: each word as it stands within a sentence."""
        spelled: list[int] = self.tokenizer.encode(f" {text}", add_special_tokens=False)
        return spelled


class Translator(nn.Module):
    """The projector as the loop sees it: encoder output in, audio tokens and CTC scores out."""

    def __init__(self, projector: AudioProjector, recipe: ProjectorRecipe) -> None:
        super().__init__()
        self.projector = projector
        projector.down.register_forward_pre_hook(
            lambda down, hidden: nn.functional.dropout(hidden[0], recipe.dropout, down.training)
        )
        if recipe.stage == "warm":  # which the decoder reads, and no one else
            for name, parameter in projector.named_parameters():
                parameter.requires_grad_(name not in {"binding.filler", "prompt"})

    def forward(
        self,
        hidden: Float[Tensor, "batch positions encoder_dim"],
        table: Float[Tensor, "vocabulary decoder_dim"],
        candidates: Int[Tensor, " choices"] | None,
        *,
        bind: bool,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return audio tokens, scores of blank and candidates, the learned prompt, as far as asked for."""
        vectors = self.projector.point(hidden)
        binding = self.projector.binding
        scores = None
        if candidates is not None:
            choices = torch.cat([binding.blank[None], table[candidates]])
            scores = binding.scale.exp() * (vectors @ choices.T)  # (batch, audio_tokens, 1 + candidates)
        audio = None if not bind else vectors if binding is None else binding(vectors, table)
        return audio, scores, self.projector.prompt


def make_projector(
    encoder_dim: int,
    table: Tensor,
    recipe: ProjectorRecipe,
    openings: Mapping[int, int] = MappingProxyType({}),
    space: int = 0,
) -> AudioProjector:
    """Build the projector with random weights and outputs as long as the decoder's embeddings.

    Bound, it is to the keys of ``openings``, each with what `Prompt.opening` makes of it.
    """
    names = ("norm", "mlp", "output", "prompt_vectors", "ctc_weight")
    projector = AudioProjector(
        encoder_dim,
        table.shape[1],
        recipe.stack_factor,
        recipe.hidden_size,
        **{name: getattr(recipe, name) for name in names},
        vocabulary=len(openings) if recipe.output == "bound" else 0,
    )
    projector.fit_length(table, space)
    with torch.no_grad():
        if recipe.output == "bound":
            projector.binding.vocabulary.copy_(torch.tensor(list(openings)))
            projector.binding.openings.copy_(torch.tensor(list(openings.values())))
        if recipe.prompt_vectors:  # at first, some words or other
            projector.prompt.copy_(table[torch.randint(len(table), (recipe.prompt_vectors,))])
    return projector


def begin_with(projector: AudioProjector, folder: Path) -> dict[str, Any]:
    """Load a finished projector, but for the list of tokens it was bound to; returns how it was made.

    What the new one is not to have, a binding or a learned prompt, is left out.

    Raises
    ------
    ValueError
        If the folder has no projector of these sizes.
    """
    saved = _read_weights(folder)
    if projector.vocabulary:
        saved |= {f"binding.{name}": tensor for name, tensor in projector.binding.named_buffers()}
    gone = tuple(name for name in ("binding", "prompt") if getattr(projector, name) is None)
    saved = {name: tensor for name, tensor in saved.items() if not name.startswith(gone)}
    try:
        projector.load_state_dict(saved)
    except RuntimeError as error:
        raise ValueError(
            f"{folder}: expected a projector of the sizes that are to be trained, but found another: make "
            f"sure that the recipes agree ({' '.join(str(error).split())[:300]})"
        ) from error
    recipe = folder / "recipe.json"
    made: dict[str, Any] = (
        json.loads(recipe.read_text(encoding="utf-8"))
        if recipe.is_file()
        else read_claims(folder).get("projector", {}).get("made_with", {})
    )
    return made


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Read a projector's tensors, whether it stands in a folder by itself or as a part of a model."""
    module = f"{PARTS['projector']}."
    stored = load_file(folder / "model.safetensors")
    return {name.removeprefix(module): stored[name] for name in stored if name.startswith(module)} or stored


def average_with(start: Path, done: Path, share: float, target: Path) -> Path:
    """Take the mean of a finished projector and the one that its training began with.

    What both learned adds up, and what the one knows of its own clips by heart does not.

    Parameters
    ----------
    start, done : Path
        Folders of the two.
    share : float
        That of the first, between 0 and 1.
    target : Path
        Gets the mean, with the recipe of the second and its list of tokens.

    Returns
    -------
    Path
        ``target``.

    References
    ----------
    Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
    """
    earlier, weights = _read_weights(start), load_file(done / "model.safetensors")
    for name, value in weights.items():
        if value.is_floating_point():
            weights[name] = torch.lerp(value, earlier[name].to(value), share)
    made = json.loads((done / "recipe.json").read_text(encoding="utf-8"))
    target.mkdir(parents=True, exist_ok=True)
    write_bytes(target / "model.safetensors", save(weights))
    write_text(target / "training.json", (done / "training.json").read_text(encoding="utf-8"))
    write_text(target / "recipe.json", json.dumps(made | {"averaged_with_start": share}) + "\n")
    return target


class Batches:
    """Turns clips of the cache into tensors.

    Parameters
    ----------
    clips : sequence of Clip
        The clips.
    prompt : Prompt
        What stands around each.
    recipe : ProjectorRecipe
        Says how many positions make an audio token, and what the stage needs.
    """

    def __init__(self, clips: Sequence[Clip], prompt: Prompt, recipe: ProjectorRecipe) -> None:
        self.prompt, self.recipe = prompt, recipe
        self.clips = list(clips)
        self.answers = [prompt.answer(clip.text) for clip in self.clips]
        self.spellings: list[list[int]] = []
        if recipe.output == "bound":
            self.spellings = [prompt.spelling(clip.text) for clip in self.clips]
            # CTC needs a place for each token, and for a blank between two that are equal.
            fits = [
                len(ids) + sum(a == b for a, b in pairwise(ids)) <= self.audio_tokens(clip)
                for ids, clip in zip(self.spellings, self.clips, strict=True)
            ]
            for kept in ("clips", "answers", "spellings"):
                setattr(self, kept, [one for one, fit in zip(getattr(self, kept), fits, strict=True) if fit])

    def audio_tokens(self, clip: Clip, stack_factor: int = 0) -> int:
        """Count the audio tokens of a clip."""
        return count_audio_tokens(len(clip.hidden), stack_factor or self.recipe.stack_factor)

    def lengths(self) -> list[int]:
        """Count the positions that each clip takes in a batch."""
        counts = [self.audio_tokens(clip, self.recipe.batches_of) for clip in self.clips]
        if self.recipe.stage == "warm":
            return counts
        around = len(self.prompt.around(0))
        return [count + around + len(answer) for count, answer in zip(counts, self.answers, strict=True)]

    def hidden(
        self, items: Sequence[int], rng: np.random.Generator | None = None
    ) -> Float[Tensor, "batch positions encoder_dim"]:
        """Stack the encoder's output for some clips; with a generator, a part of it is left out."""
        found = [self.clips[item].hidden.astype(np.float32) for item in items]
        if rng is not None and self.recipe.masked:
            k = self.recipe.stack_factor
            for states in found:
                for first in np.flatnonzero(rng.random(len(states) // k + 1) < self.recipe.masked) * k:
                    states[first : first + k] = 0
        return pad_batch(found, multiple=16)[0]

    def texts(self, items: Sequence[int]) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
        """Stack prompts with answers, and labels; padding is on the right."""
        ids, labels = [], []
        for item in items:
            prompt = self.prompt.around(self.audio_tokens(self.clips[item]))
            ids.append(np.array(prompt + self.answers[item]))
            labels.append(np.array([IGNORE] * len(prompt) + self.answers[item]))
        return pad_batch(ids, self.prompt.padding, multiple=8)[0], pad_batch(labels, IGNORE, multiple=8)[0]

    def candidates(
        self, batch: Sequence[int], frequencies: Counter[int], rng: np.random.Generator
    ) -> Int[Tensor, " choices"] | None:
        """Draw the tokens that CTC scores: all that a batch spells, and others, frequent ones more often."""
        if self.recipe.stage != "warm" and not self.recipe.ctc:
            return None
        tokens, counts = np.array(list(frequencies)), np.sqrt(list(frequencies.values()))
        size = min(self.recipe.negatives, len(tokens))
        drawn = rng.choice(tokens, size, replace=False, p=counts / counts.sum())
        return torch.from_numpy(np.union1d(drawn, [id for item in batch for id in self.spellings[item]]))

    def ctc(
        self,
        scores: Float[Tensor, "batch audio_tokens blank_and_choices"],
        candidates: Int[Tensor, " choices"],
        items: Sequence[int],
    ) -> Float[Tensor, ""]:
        """Sum what each token costs of some clips' spelling."""
        place = {int(token): number + 1 for number, token in enumerate(candidates)}
        spellings = [self.spellings[item] for item in items]
        return nn.functional.ctc_loss(
            scores.float().log_softmax(-1).transpose(0, 1),
            torch.tensor([place[token] for ids in spellings for token in ids], device=scores.device),
            torch.tensor([self.audio_tokens(self.clips[item]) for item in items]),
            torch.tensor([len(ids) for ids in spellings]),
            reduction="sum",
            zero_infinity=True,
        )


def put_together(
    decoder: PreTrainedModel,
    ids: Int[Tensor, "batch length"],
    audio: Float[Tensor, "batch audio_tokens decoder_dim"],
    learned: Float[Tensor, "vectors decoder_dim"] | None,
    prompt: Prompt,
) -> Float[Tensor, "batch length decoder_dim"]:
    """Embed prompts, with audio tokens and learned vectors in the places of their placeholders."""
    embeds = decoder.get_input_embeddings()(ids)
    is_audio = torch.eq(ids, prompt.audio_id)
    is_clip: Bool[Tensor, "batch audio_tokens"] = torch.arange(
        audio.shape[1], device=ids.device
    ) < is_audio.sum(1, keepdim=True)
    embeds = embeds.masked_scatter(is_audio[..., None], audio[is_clip].to(embeds.dtype))
    if learned is not None:
        vectors = learned.repeat(len(ids), 1).to(embeds.dtype)
        embeds = embeds.masked_scatter(torch.eq(ids, int(prompt.learned_id or 0))[..., None], vectors)
    placed: Tensor = embeds
    return placed


def answer_logits(
    decoder: PreTrainedModel, embeds: Tensor, labels: Int[Tensor, "batch length"]
) -> tuple[Float[Tensor, "answers vocabulary"], Int[Tensor, " answers"]]:
    """Let the decoder predict the labels: the logits ahead of each, and the labels in a row."""
    wanted = labels[:, 1:] != IGNORE
    columns = wanted.any(0).nonzero()[:, 0]  # only there is the vocabulary scored
    logits = decoder(inputs_embeds=embeds, use_cache=False, logits_to_keep=columns).logits
    wanted = wanted[:, columns]
    return logits[wanted].float(), labels[:, 1:][:, columns][wanted]


def train_projector(
    loaded: Loaded,
    encodings: Path | Sequence[Path],
    folder: Path,
    recipe: ProjectorRecipe,
    *,
    held_out: Path | None = None,
    start: Path | None = None,
    keep: Sequence[int] = (),
    watch: Watch | None = None,
) -> Path:
    """Train from cached encodings, resuming where ``folder`` stands.

    Parameters
    ----------
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The model that lends its decoder, and the processor that knows its prompt. The model stays as it is.
    encodings : Path or sequence of Path
        What `asrscope.training.encodings.cache_encodings` wrote, of each source.
    folder : Path
        Gets checkpoint, log, and at the end ``projector/model.safetensors``.
    recipe : ProjectorRecipe
        What to train.
    held_out : Path, optional
        Encodings to measure on, in the place of a part of those to train on.
    start : Path, optional
        Folder of a finished projector of the same sizes to begin with: that of the other stage, or one that
        `write_model` saved. It may come from another corpus: the tokens of a bound output are those of this.
    keep : sequence of int
        Steps after which the projector is kept in ``kept/STEP.safetensors``; 0 is before the first.
    watch : callable, optional
        See `asrscope.training.run.Run`.

    Returns
    -------
    Path
        The folder of the finished projector.
    """
    model, processor = loaded
    prompt = Prompt(processor, recipe.prompt_vectors)
    folders = [encodings] if isinstance(encodings, Path) else encodings
    clips = load_encodings(*folders)
    kept = list(zip(clips, hold_out(clips, recipe.held_out), strict=True))
    train = Batches([clip for clip, apart in kept if not apart], prompt, recipe)
    undisturbed = [clip for clip, apart in kept if apart and clip.copy == 0]
    test = Batches(load_encodings(held_out) if held_out else undisturbed, prompt, recipe)
    if not train.clips:
        raise ValueError(
            f"none of {len(clips)} clips is left to train on: the others are held out (held_out="
            f"{recipe.held_out}), or have more tokens than places. Make sure to give more recordings"
        )
    frequencies = Counter(token for ids in train.spellings for token in ids)

    torch.manual_seed(recipe.seed)
    table = model.get_input_embeddings().get_parameter("weight")
    space = prompt.tokenizer.encode(" ", add_special_tokens=False)[0]
    openings = {token: prompt.opening(token) for token in sorted(frequencies)}
    projector = make_projector(clips[0].hidden.shape[1], table, recipe, openings, space)
    started_from = None if start is None else begin_with(projector, start)
    translator = Translator(projector, recipe)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in translator.parameters() if p.requires_grad and p is not projector.prompt]}
    ]
    if projector.prompt is not None and projector.prompt.requires_grad:
        groups.append({"params": [projector.prompt], "lr": recipe.prompt_rate, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)

    parts = {part.part: part.sha256 for part in provenance_of(model)}
    made_of: dict[str, Any] = {part: parts[part] for part in ("encoder", "decoder")}
    made_of["encodings"] = [json.loads((place / "made_of.json").read_text("utf-8")) for place in folders]
    run = Run(folder, translator, optimizer, recipe, made_of=made_of, watch=watch)
    accelerator, device = run.accelerator, run.accelerator.device
    decoder = frozen_copy(
        model.language_model, torch.bfloat16 if run.precision == "bf16" else torch.float32
    ).to(device)
    table = decoder.get_input_embeddings().weight
    warm, lengths = recipe.stage == "warm", train.lengths()
    run.begin(lengths)

    keep_projector(run, projector, keep)
    batches = even_batches(lengths, recipe.positions_per_batch, recipe.seed, run.step)
    for step, batch in zip(run.steps_left(), batches, strict=False):
        run.model.train()
        rng = np.random.default_rng((recipe.seed, step))
        candidates = train.candidates(batch, frequencies, rng)
        wanted = sum(len((train.spellings if warm else train.answers)[item]) for item in batch)
        for items, weight in run.shares(batch):
            hidden = train.hidden(items, rng).to(device)
            ids, labels = (tensor.to(device) for tensor in train.texts(items))
            with accelerator.accumulate(run.model), accelerator.autocast():
                audio, scores, learned = run.model(hidden, table, candidates, bind=not warm)
                loss = torch.zeros((), device=device)
                if scores is not None and candidates is not None:
                    loss = loss + (1.0 if warm else recipe.ctc) * train.ctc(scores, candidates, items)
                if audio is not None:
                    embeds = put_together(decoder, ids, audio, learned, prompt)
                    loss = loss + nn.functional.cross_entropy(
                        *answer_logits(decoder, embeds, labels), reduction="sum"
                    )
                run.backward(loss / wanted, weight)
        run.update(len(batch), lambda: evaluate(projector, decoder, test))
        keep_projector(run, projector, keep)

    def write(target: Path) -> None:
        write_weights(projector, target / "model.safetensors")

    return run.finish(
        "projector",
        write,
        settings=projector.settings,
        instruction=prompt.instruction,
        trained_on={"clips": len(train.clips), "hours": round(sum(c.seconds for c in train.clips) / 3600, 2)},
        started_from=started_from,
    )


def hold_out(clips: Sequence[Clip], one_in: int) -> list[bool]:
    """Tell of each clip whether it is to be measured on: its speaker decides, or else its sentence.

    A name that stands for more clips than are to be held out is that of a crowd, as "unknown" is; or of
    somebody without whom there would be little to learn from.
    """
    if not one_in:
        return [False] * len(clips)
    clips_of = Counter(clip.speaker for clip in clips)
    keys = [
        clip.speaker if clip.speaker and clips_of[clip.speaker] * one_in <= len(clips) else clip.text
        for clip in clips
    ]
    return [zlib.crc32(key.encode()) % one_in == 0 for key in keys]


def frozen_copy(decoder: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Copy a decoder with its parameters in one number format, if they are in another; nothing trains them.

    Buffers keep their own: rounded, the rotary angles would be off by up to a tenth of a radian.
    """
    if any(parameter.dtype != dtype for parameter in decoder.parameters()):
        decoder = copy.deepcopy(decoder)
        for parameter in decoder.parameters():
            parameter.data = parameter.data.to(dtype)
    return decoder.requires_grad_(False).eval()


def keep_projector(run: Run, projector: AudioProjector, steps: Sequence[int]) -> None:
    """Write the projector as it stands, if this is one of the steps after which it is kept."""
    if run.is_main and run.step in steps:
        (run.folder / "kept").mkdir(exist_ok=True)
        write_weights(projector, run.folder / "kept" / f"{run.step:06d}.safetensors")


def write_weights(projector: AudioProjector, path: Path) -> None:
    """Write the projector's tensors."""
    write_bytes(
        path, save({name: value.cpu().contiguous() for name, value in projector.state_dict().items()})
    )


@torch.inference_mode()
def evaluate(projector: AudioProjector, decoder: PreTrainedModel, test: Batches) -> dict[str, float]:
    """Measure held-out clips: words read by their nearest tokens, or transcripts predicted token by token."""
    if not test.clips:
        return {}
    projector.eval()
    table = decoder.get_input_embeddings().weight
    if test.recipe.stage == "warm":
        errors = [
            word_errors(clip.text, read_nearest(projector, table, clip.hidden, test.prompt.tokenizer))
            for clip in test.clips
        ]
        return {"dev_wer": round(total_errors(errors).rate, 4)}
    loss, right, count = 0.0, 0, 0
    order = sorted(range(len(test.clips)), key=test.lengths().__getitem__)
    for first in range(0, len(order), EVALUATED_AT_ONCE):
        items = order[first : first + EVALUATED_AT_ONCE]
        audio = projector(test.hidden(items).to(table.device), table.float())
        ids, labels = (tensor.to(table.device) for tensor in test.texts(items))
        embeds = put_together(decoder, ids, audio, projector.prompt, test.prompt)
        logits, labels = answer_logits(decoder, embeds, labels)
        loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
        right += int((logits.argmax(-1) == labels).sum())
        count += len(labels)
    return {"dev_loss": round(loss / count, 4), "dev_accuracy": round(right / count, 4)}


@torch.inference_mode()
def read_nearest(
    projector: AudioProjector,
    table: Float[Tensor, "vocabulary decoder_dim"],
    hidden: Float[np.ndarray, "positions encoder_dim"],
    tokenizer: PreTrainedTokenizerBase,
) -> str:
    """Read audio tokens without the decoder: the token that each points to, repeats merged, blanks dropped.

    Parameters
    ----------
    projector : AudioProjector
        With an output that is bound.
    table : torch.Tensor, shape (vocabulary, decoder_dim)
        The decoder's token embeddings.
    hidden : np.ndarray, shape (positions, encoder_dim)
        The encoder's output for one clip.
    tokenizer : PreTrainedTokenizerBase
        The decoder's tokenizer.
    """
    if len(hidden) < projector.stack_factor:
        return ""
    states = torch.from_numpy(hidden.astype(np.float32))[None].to(table.device)
    vocabulary = projector.binding.vocabulary
    best = projector.spell(states, table.float())[0].argmax(-1)
    best = torch.unique_consecutive(best)
    chosen = best[best > 0] - 1
    tokens = chosen if vocabulary is None else vocabulary[chosen]
    return str(tokenizer.decode(tokens.tolist())).strip()


def read_projector(folder: Path, model: AsrScopeForConditionalGeneration) -> AudioProjector:
    """Load the projector that `train_projector` left in a folder, trained between the parts of a model."""
    made = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    # Earlier ones say that they see no neighbors, as none does now.
    settings = {name: value for name, value in made["settings"].items() if name != "context"}
    config = model.config
    projector = AudioProjector(config.audio_config.d_model, config.text_config.hidden_size, **settings)
    projector.load_state_dict(load_file(folder / "model.safetensors"))
    return projector.eval()


def write_model(
    loaded: Loaded, projector: Path, target: Path, *, seconds: float = 0.0, whole: bool = True
) -> Path:
    """Save what was trained, in half precision: the projector in its model, or by itself with its prompt.

    Parameters
    ----------
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The model that lent encoder and decoder; it gets the projector.
    projector : Path
        The folder of the finished projector.
    target : Path
        Gets what `asrscope.load` takes.
    seconds : float
        Longest clip that it was trained on.
    whole : bool
        Whether encoder and decoder are saved, too.

    Returns
    -------
    Path
        ``target``.
    """
    model, processor = loaded
    made: dict[str, Any] = json.loads((projector / "recipe.json").read_text(encoding="utf-8"))
    claims: dict[str, dict[str, Any]] = {
        part.part: {"trained": part.trained, "made_with": {"source": part.source, "sha256": part.sha256}}
        for part in provenance_of(model)
        if whole and part.trained is not None
    }
    claims["projector"] = {"trained": True, "made_with": made}
    config = model.config
    model.multi_modal_projector = bridge = read_projector(projector, model)
    for name, value in bridge.settings.items():
        setattr(config, name if name == "stack_factor" else f"projector_{name}", value)
    processor.stack_factor, processor.instruction = bridge.stack_factor, made["instruction"]
    if bridge.prompt_vectors:
        config.prompt_token_id = processor.tokenizer.convert_tokens_to_ids(PROMPT_TOKEN)
    config.trained_seconds = max(float(config.trained_seconds), seconds)
    if whole:
        model.half().save_pretrained(target)
        processor.save_pretrained(target)
    else:
        bridge.half()
        save_projector(model, target, processor=processor)
    write_provenance(target, claims)
    write_text(target / "training.json", json.dumps(read_stages({"projector": projector})) + "\n")
    return target
