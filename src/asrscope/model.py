"""The whole model: a Whisper encoder, the projector, and a decoder, composed as transformers does it.

The attribute names (``audio_tower``, ``multi_modal_projector``, ``language_model``), ``get_audio_features``
and the placeholder mask are those of Voxtral and GLM-ASR in transformers: whatever reads those reads this.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForMultimodalLM,
    AutoModelForSpeechSeq2Seq,
    Cache,
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils import can_return_tuple

from asrscope.decoder import FewRows, SpellingVote
from asrscope.encoder import SECONDS_PER_POSITION, encode, position_mask
from asrscope.projector import AudioProjector, count_audio_tokens
from asrscope.saving import in_turn
from asrscope.saving.provenance import save_claims

__all__ = ["AsrScopeConfig", "AsrScopeForConditionalGeneration", "put_in_place"]

PREFIX = "projector_"  # of the settings of the projector


@strict
class AsrScopeConfig(PreTrainedConfig):
    """Sizes of the three parts, and how they are joined.

    Attributes
    ----------
    audio_config : WhisperConfig
        The encoder; its ``max_source_positions`` is the longest clip in positions of 20 ms.
    text_config : PreTrainedConfig
        The decoder: SmolLM3's, or that of any other causal language model of transformers.
    stack_factor : int
        Encoder positions in one audio token, ``k``.
    projector_hidden_size : int
        Width of the projector's hidden layer.
    projector_norm, projector_mlp, projector_remainder : str
        Its layers, and what it does with a remainder of positions, see `asrscope.projector.AudioProjector`.
    projector_output, projector_temperature, projector_vocabulary : str, float, int
        Whether its output is bound to the decoder's embeddings, how narrowly, and to how many of them.
    projector_prompt_vectors : int
        Length of the learned prompt.
    projector_ctc_weight : float
        Share of what the sound spells in what is written; 0 leaves it to the decoder.
    projector_speller_width : int
        Width of the layers that spell it in letters as well; 0 for none.
    audio_token_id : int
        The placeholder that the prompt holds once for each audio token.
    prompt_token_id : int or None
        The placeholder of each vector of the learned prompt.
    pad_audio : bool
        Whether clips are padded to the encoder's whole window, as Whisper does, or run at their true length.
    trained_seconds : float
        Longest clip that the model saw in training.
    """

    __no_type_check__ = True  # @strict checks the fields, and knows the further keywords that are allowed

    model_type = "asrscope"
    sub_configs_defaults = {  # noqa: RUF012
        "audio_config": WhisperConfig,
        "text_config": SubConfigSpec(AutoConfig, model_type="smollm3"),
    }

    audio_config: Any = None  # a dictionary, as it is read from config.json, becomes a config
    text_config: Any = None
    stack_factor: int = 5
    projector_hidden_size: int = 1024
    projector_norm: str = "rms"
    projector_mlp: str = "swiglu"
    projector_remainder: str = "cut"
    projector_output: str = "free"
    projector_temperature: float | int = 0.5
    projector_vocabulary: int = 0
    projector_prompt_vectors: int = 0
    projector_ctc_weight: float | int = 0.0
    projector_speller_width: int = 0
    audio_token_id: int = 3
    prompt_token_id: int | None = None
    pad_audio: bool = False
    trained_seconds: float | int = 30.0
    tie_word_embeddings: bool = True

    @property
    def window_seconds(self) -> float:
        """Longest clip that the encoder can take, in seconds."""
        return float(self.audio_config.max_source_positions * SECONDS_PER_POSITION)

    @property
    def projector_settings(self) -> dict[str, Any]:
        """Keywords of `asrscope.projector.AudioProjector` beside the two widths."""
        said = {name: getattr(self, name) for name in type(self).__annotations__ if name.startswith(PREFIX)}
        return {"stack_factor": self.stack_factor} | {k.removeprefix(PREFIX): v for k, v in said.items()}


class AsrScopeForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """A speech-language model: text goes in with the sound of a clip among it, text comes out.

    Parameters
    ----------
    config : AsrScopeConfig
        Sizes of the parts. Weights are random until ``from_pretrained`` loads them.
    """

    config_class = AsrScopeConfig
    config: AsrScopeConfig
    base_model_prefix = ""
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values",)

    def __init__(self, config: AsrScopeConfig) -> None:
        super().__init__(config)
        self.audio_tower = WhisperEncoder(config.audio_config)
        self.multi_modal_projector = AudioProjector(
            encoder_dim=config.audio_config.d_model,
            decoder_dim=config.text_config.hidden_size,
            **config.projector_settings,
        )
        self.language_model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config.text_config)](config.text_config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """Return the layer that turns the decoder's hidden states into logits."""
        head: nn.Module = self.language_model.get_output_embeddings()
        return head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace that layer."""
        self.language_model.set_output_embeddings(new_embeddings)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Save weights, configuration, and what is known of the weights' origin.

        Of several that save to one folder at once, each waits for the one before it.

        Parameters
        ----------
        save_directory : str or Path
            Where to save; it is created.
        **kwargs
            Options of transformers, ``max_shard_size`` for example.
        """
        with in_turn(save_directory):
            super().save_pretrained(save_directory, **kwargs)
            save_claims(self, save_directory)

    @property
    def beams(self) -> int:
        """Texts that a search keeps in view unless told otherwise: letters decide between two later on."""
        projector = self.multi_modal_projector
        return 3 if projector.ctc_weight and projector.speller is not None else 1

    def generate(
        self, *args: Any, logits_processor: Sequence[LogitsProcessor] | None = None, **kwargs: Any
    ) -> Any:
        """Write as transformers does; the projector has its say in each token, if it has a ``ctc_weight``.

        Parameters
        ----------
        *args
            Passed on.
        logits_processor : sequence of LogitsProcessor, optional
            Further changes of the scores; they see those that were voted on.
        **kwargs
            What the processor prepared, and options of transformers.

        Returns
        -------
        torch.Tensor or ModelOutput
            What ``GenerationMixin.generate`` returns.
        """
        weight, processors = self.multi_modal_projector.ctc_weight, list(logits_processor or ())
        if weight and kwargs.get("input_features") is not None:
            settings = kwargs.get("generation_config") or self.generation_config
            ends = kwargs.get("eos_token_id", settings.eos_token_id)
            vote = SpellingVote(weight, self.multi_modal_projector, ends)
            processors, kwargs["spelling"] = [vote, *processors], vote
        FewRows.within(self.language_model)
        return super().generate(*args, logits_processor=LogitsProcessorList(processors), **kwargs)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def get_audio_features(
        self,
        input_features: Float[Tensor, "batch n_mels frames"],
        frame_mask: Bool[Tensor, "batch frames"] | None = None,
        **kwargs: Any,  # noqa: ARG002 - generate passes on what it was given
    ) -> BaseModelOutputWithPooling:
        """Turn clips into vectors that stand among the decoder's token embeddings.

        Parameters
        ----------
        input_features : torch.Tensor, shape (batch, n_mels, frames)
            Log-mel spectrograms.
        frame_mask : torch.Tensor, shape (batch, frames), optional
            True where a frame belongs to the clip. Without it every frame does.
        **kwargs
            Ignored.

        Returns
        -------
        BaseModelOutputWithPooling
            ``last_hidden_state``, shape (batch, positions, encoder_dim), is the encoder's output;
            ``pooler_output``, shape (audio_tokens, decoder_dim), the audio tokens of all clips in a row.
        """
        hidden = encode(self.audio_tower, input_features, frame_mask)
        bound = self.config.projector_output == "bound"
        table = self.get_input_embeddings().get_parameter("weight") if bound else None
        if frame_mask is None:
            frame_mask = torch.ones_like(input_features[:, 0], dtype=torch.bool)
        is_position = position_mask(frame_mask.to(hidden.device))  # (batch, positions)
        k, remainder = self.config.stack_factor, self.config.projector_remainder
        # Beyond a clip's end are zeros, not what a longer clip of the batch left there.
        inside = hidden * is_position[..., None] if remainder == "pad" else hidden
        embeds = self.multi_modal_projector(inside, table)  # (batch, audio_tokens, decoder_dim)
        tokens = count_audio_tokens(is_position.sum(-1), k, remainder)  # (batch,)
        is_clip = torch.arange(embeds.shape[1], device=embeds.device) < tokens[:, None]
        audio_embeds = embeds[is_clip]  # (audio_tokens of all clips, decoder_dim)
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=audio_embeds)

    def get_placeholder_mask(
        self,
        input_ids: Int[Tensor, "batch prompt_positions"],
        audio_embeds: Float[Tensor, "audio_tokens decoder_dim"],
    ) -> Bool[Tensor, "batch prompt_positions"]:
        """Find the prompt's audio placeholders and check that there is one for each audio token.

        Parameters
        ----------
        input_ids : torch.Tensor, shape (batch, prompt_positions)
            Token ids of the prompts.
        audio_embeds : torch.Tensor, shape (audio_tokens, decoder_dim)
            Audio tokens of all clips.

        Returns
        -------
        torch.Tensor, shape (batch, prompt_positions)
            True where an audio token belongs.

        Raises
        ------
        ValueError
            If the counts differ.
        """
        mask = input_ids == self.config.audio_token_id
        placeholders, audio_tokens = int(mask.sum()), audio_embeds.shape[0]
        if placeholders != audio_tokens:
            raise ValueError(
                "The prompt must hold one audio placeholder for each audio token, but found "
                f"{placeholders} placeholders (token {self.config.audio_token_id}) and {audio_tokens} audio "
                "tokens. Make sure to prepare both with the processor that was saved with the model."
            )
        return mask

    def _place_prompt(
        self,
        input_ids: Int[Tensor, "batch positions"],
        inputs_embeds: Float[Tensor, "batch positions decoder_dim"],
    ) -> Float[Tensor, "batch positions decoder_dim"]:
        """Put the learned prompt in the place of its placeholders, in each text that asks for it."""
        is_learned = torch.eq(input_ids, int(self.config.prompt_token_id or 0))
        counts = is_learned.sum(-1)  # (batch,)
        learned = self.multi_modal_projector.prompt  # (prompt_vectors, decoder_dim)
        if not bool(((counts == 0) | (counts == len(learned))).all()):
            raise ValueError(
                f"A prompt must hold the placeholder of learned vectors (token "
                f"{self.config.prompt_token_id}) {len(learned)} times or not at all, but found "
                f"{counts.tolist()}. Make sure to use the processor that was saved with the model."
            )
        # (placeholders, decoder_dim)
        return put_in_place(inputs_embeds, is_learned, learned.repeat(int((counts > 0).sum()), 1))

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Int[Tensor, "batch positions"] | None = None,
        *,
        input_features: Float[Tensor, "clips n_mels frames"] | None = None,
        frame_mask: Bool[Tensor, "clips frames"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "_ positions"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "batch positions decoder_dim"] | None = None,
        spelling: SpellingVote | None = None,
        labels: Int[Tensor, "batch positions"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Embed the text, put the audio tokens in the place of their placeholders, and run the decoder.

        Parameters
        ----------
        input_ids : torch.Tensor, shape (batch, positions)
            Token ids of the prompt, one placeholder for each audio token.
        input_features : torch.Tensor, shape (clips, n_mels, frames), optional
            Log-mel spectrograms. ``generate`` passes them on only while the prompt is read: what the decoder
            made of the clip is in its cache by the time it writes.
        frame_mask : torch.Tensor, shape (clips, frames), optional
            True where a frame belongs to the clip.
        attention_mask : torch.Tensor, shape (batch, positions), optional
            1 where there is a token, 0 in padding.
        position_ids : torch.Tensor, shape (batch, positions), optional
            Position of each token.
        past_key_values : Cache, optional
            Keys and values of the positions already read.
        inputs_embeds : torch.Tensor, shape (batch, positions, decoder_dim), optional
            Embeddings to use in the place of ``input_ids``.
        spelling : SpellingVote, optional
            Gets what the clip spells, to weigh what is written after it; `generate` passes it on.
        labels : torch.Tensor, shape (batch, positions), optional
            Token ids to be predicted, -100 where nothing is; the decoder shifts them by one itself.
        use_cache : bool, optional
            Whether to return ``past_key_values``.
        logits_to_keep : int or torch.Tensor
            How many logits to compute from the end, 0 for all.
        **kwargs
            Passed on to the decoder, ``output_hidden_states`` for example.

        Returns
        -------
        CausalLMOutputWithPast
            ``logits``, shape (batch, positions, vocabulary), and ``loss`` if labels are given.

        Raises
        ------
        ValueError
            If there is nothing to embed, or placeholders and what belongs there differ in number.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Expected either input_ids or inputs_embeds, but found both or neither.")
        wanted = kwargs.get("output_hidden_states") or kwargs.get("output_attentions")
        if spelling is not None and input_features is not None and not wanted:
            prompts = {"input_ids": input_ids, "input_features": input_features, "frame_mask": frame_mask}
            prompts |= {"attention_mask": attention_mask, "position_ids": position_ids}
            if (texts := _copies(*prompts.values())) > 1:
                # A beam search begins with the same prompt in each row: it is read once.
                kwargs |= {name: one if one is None else one[:1] for name, one in prompts.items()}
                kwargs |= {"spelling": spelling, "use_cache": use_cache, "logits_to_keep": logits_to_keep}
                output = self.forward(past_key_values=past_key_values, **kwargs)
                output.logits = output.logits.repeat_interleave(texts, 0)
                if output.past_key_values is not None:
                    output.past_key_values.batch_repeat_interleave(texts)
                return output
        if input_ids is not None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
            if self.config.projector_prompt_vectors:
                inputs_embeds = self._place_prompt(input_ids, inputs_embeds)
            if input_features is not None:
                audio = self.get_audio_features(input_features, frame_mask)
                audio_embeds = audio.pooler_output
                if spelling is not None:
                    table = self.get_input_embeddings().get_parameter("weight")
                    hidden, projector = audio.last_hidden_state, self.multi_modal_projector
                    tokens = (input_ids == self.config.audio_token_id).sum(-1)
                    spelling.hear(projector.read(hidden, table), tokens)
                    if projector.speller is not None:
                        every = torch.ones_like(input_features[:, 0], dtype=torch.bool)
                        positions = position_mask(every if frame_mask is None else frame_mask).sum(-1)
                        spelling.hear_letters(
                            projector.speller(hidden, positions.to(hidden.device)), positions
                        )
                is_audio = self.get_placeholder_mask(input_ids, audio_embeds)
                inputs_embeds = put_in_place(inputs_embeds, is_audio, audio_embeds)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )


def _copies(*inputs: Tensor | None) -> int:
    """Count the rows of inputs if all are the same, else 0."""
    given = [one for one in inputs if one is not None]
    rows = len(given[0])
    same = all(len(one) in {1, rows} and bool((one == one[:1]).all()) for one in given)
    return rows if same else 0


def put_in_place(
    embeds: Float[Tensor, "batch positions decoder_dim"],
    where: Bool[Tensor, "batch positions"],
    vectors: Float[Tensor, "places decoder_dim"],
) -> Float[Tensor, "batch positions decoder_dim"]:
    """Put vectors in the places of some embeddings, in their order, on the same device and as precisely."""
    placed: Tensor = embeds.masked_scatter(
        where[..., None].to(embeds.device), vectors.to(embeds.device, embeds.dtype)
    )
    return placed


AutoConfig.register("asrscope", AsrScopeConfig)
AutoFeatureExtractor.register(AsrScopeConfig, WhisperFeatureExtractor)
for auto_class in (AutoModel, AutoModelForMultimodalLM, AutoModelForSpeechSeq2Seq):
    auto_class.register(AsrScopeConfig, AsrScopeForConditionalGeneration)
