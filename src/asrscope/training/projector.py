"""Train the projector between any frozen encoder and any frozen decoder: one loop, three stages.

``warm``: each audio token points among the decoder's token embeddings, and learns by CTC to spell the
transcript with them. The decoder itself is not run, so this is quick. ``joint``: the audio tokens stand in
the prompt, and the loss is how improbable the frozen decoder finds the transcript after it. The second can
begin where the first ended, or by itself, from random weights. ``spell``: the speller beside it learns, by
CTC as well, to write the transcript letter by letter; nothing else is changed.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from asrscope.loading import Loaded
from asrscope.projector import LETTERS, AudioProjector
from asrscope.recognition.metrics import total_errors, word_errors
from asrscope.saving.provenance import provenance_of
from asrscope.training.batches import (
    Batches,
    ProjectorRecipe,
    Prompt,
    answer_logits,
    hold_out,
    put_together,
)
from asrscope.training.encodings import load_encodings
from asrscope.training.finished import begin_with, read_weights, write_weights
from asrscope.training.run import Run, Watch, even_batches, fill_batches, quick_copy

__all__ = ["make_projector", "read_letters", "read_nearest", "train_projector"]


class Translator(nn.Module):
    """The projector as the loop sees it: encoder output in, audio tokens and CTC scores out."""

    def __init__(self, projector: AudioProjector, recipe: ProjectorRecipe) -> None:
        super().__init__()
        self.projector, self.stage = projector, recipe.stage
        blocks = [] if projector.speller is None else projector.speller.blocks
        for layer in (projector, *blocks):
            layer.down.register_forward_pre_hook(
                lambda down, hidden: nn.functional.dropout(hidden[0], recipe.dropout, down.training)
            )
        # What only the decoder reads learns nothing without it.
        unread = ("binding.filler", "prompt") if recipe.stage == "warm" else ()
        for name, parameter in projector.named_parameters():
            of_speller = name.startswith("speller.")
            parameter.requires_grad_(of_speller == (recipe.stage == "spell") and name not in unread)

    def forward(
        self,
        hidden: Float[Tensor, "batch positions encoder_dim"],
        table: Float[Tensor, "vocabulary decoder_dim"],
        candidates: Int[Tensor, " choices"] | None,
        counts: Int[Tensor, " batch"],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return audio tokens, scores of blank and candidates, the learned prompt, as far as needed."""
        if self.stage == "spell":
            return None, self.projector.speller(hidden, counts), None
        vectors = self.projector.point(hidden)
        binding = self.projector.binding
        scores = None
        if candidates is not None:
            choices = torch.cat([binding.blank[None], table[candidates]])
            scores = binding.scale.exp() * (vectors @ choices.T)  # (batch, audio_tokens, 1 + candidates)
        if self.stage == "warm":
            return None, scores, None
        audio = vectors if binding is None else binding(vectors, table)
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
    names = ("norm", "mlp", "output", "prompt_vectors", "speller_width", "ctc_weight")
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
        `asrscope.training.finished.write_model` saved. It may come from another corpus: the tokens of a bound
        output are those of this.
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
    vocabulary = sorted(frequencies)
    if recipe.stage == "spell":  # the letters are of what its neighbor points to
        stored = {} if start is None else read_weights(start)
        vocabulary = stored.get("binding.vocabulary", torch.zeros(0)).tolist()
    openings = {token: prompt.opening(token) for token in vocabulary}
    projector = make_projector(clips[0].hidden.shape[1], table, recipe, openings, space)
    if projector.speller is not None and vocabulary:
        projector.speller.tokens.copy_(torch.tensor([prompt.letters(token) for token in vocabulary]))
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
    decoder = quick_copy(model.language_model, run.precision).requires_grad_(False).to(device)
    table = decoder.get_input_embeddings().weight
    through, lengths = recipe.stage == "joint", train.lengths()
    run.begin(lengths)

    keep_projector(run, projector, keep)
    batches = even_batches(lengths, recipe.positions_per_batch, recipe.seed, run.step)
    for step, batch in zip(run.steps_left(), batches, strict=False):
        run.model.train()
        rng = np.random.default_rng((recipe.seed, step))
        candidates = train.candidates(batch, frequencies, rng)
        wanted = sum(len((train.answers if through else train.spellings)[item]) for item in batch)
        for items, weight in run.shares(batch):
            hidden = train.hidden(items, rng).to(device)
            ids, labels = (tensor.to(device) for tensor in train.texts(items))
            with accelerator.accumulate(run.model), accelerator.autocast():
                counts = train.counts(items).to(device)
                audio, scores, learned = run.model(hidden, table, candidates, counts)
                loss = torch.zeros((), device=device)
                if scores is not None and candidates is not None:
                    loss = loss + (recipe.ctc if through else 1.0) * train.ctc(scores, candidates, items)
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


def keep_projector(run: Run, projector: AudioProjector, steps: Sequence[int]) -> None:
    """Write the projector as it stands, if this is one of the steps after which it is kept."""
    if run.is_main and run.step in steps:
        (run.folder / "kept").mkdir(exist_ok=True)
        write_weights(projector, run.folder / "kept" / f"{run.step:06d}.safetensors")


@torch.inference_mode()
def evaluate(projector: AudioProjector, decoder: PreTrainedModel, test: Batches) -> dict[str, float]:
    """Measure held-out clips: words read by their nearest tokens, or transcripts predicted token by token."""
    if not test.clips:
        return {}
    projector.eval()
    table = decoder.get_input_embeddings().weight
    if test.recipe.stage != "joint":
        texts = [
            read_letters(projector, clip.hidden)
            if test.recipe.stage == "spell"
            else read_nearest(projector, table, clip.hidden, test.prompt.tokenizer)
            for clip in test.clips
        ]
        errors = [word_errors(clip.text, text) for clip, text in zip(test.clips, texts, strict=True)]
        return {"dev_wer": round(total_errors(errors).rate, 4)}
    loss, right, count = 0.0, 0, 0
    for items in fill_batches(test.lengths(), test.recipe.positions_per_batch):
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


@torch.inference_mode()
def read_letters(projector: AudioProjector, hidden: Float[np.ndarray, "positions encoder_dim"]) -> str:
    """Read what the speller hears without the decoder: the likeliest letters, repeats merged, blanks dropped.

    Parameters
    ----------
    projector : AudioProjector
        With a speller.
    hidden : np.ndarray, shape (positions, encoder_dim)
        The encoder's output for one clip.
    """
    speller = projector.speller
    states = torch.from_numpy(hidden.astype(np.float32))[None].to(speller.down.weight.device)
    best = torch.unique_consecutive(speller(states)[0].argmax(-1)).tolist()
    return "".join(LETTERS[place - 1] for place in best if place).strip()
