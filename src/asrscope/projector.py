"""The projector: the only part trained to join a frozen encoder to a frozen decoder.

It stacks ``k`` encoder positions into one vector and passes it through a SwiGLU MLP between two RMSNorms. It
sees those ``k`` positions and nothing else: context is the business of the encoder before it and the decoder
after it. Layers can be left out, to see what they do.

A frozen decoder reads best what looks like its own embeddings: `TokenBinding` makes each audio token a mean
of these, weighted by how much the projector's output points to each. A learned prompt, vectors around the
clip that no word has, asks the decoder for what it was not trained to do. A `Speller` beside it writes down
the letters that it hears, of words that nobody taught it as well.
"""

import re
import unicodedata
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor, nn

__all__ = [
    "LETTERS",
    "MLPS",
    "NORMS",
    "OUTPUTS",
    "REMAINDERS",
    "AudioProjector",
    "Speller",
    "TokenBinding",
    "count_audio_tokens",
    "letters_of",
    "stack_frames",
]

NORMS = ("rms", "none")
MLPS = ("swiglu", "gelu")
REMAINDERS = ("cut", "pad")
OUTPUTS = ("free", "bound")
EPS = 1e-6  # added to the mean square in each norm

# What a speller spells with, from 1; 0 is its blank. Where a text begins, the first is not heard.
LETTERS = " 'abcdefghijklmnopqrstuvwxyz0123456789.,?!"
LONGEST = 16  # letters of a token


def letters_of(text: str) -> list[int]:
    """Give the places in `LETTERS`, from 1, of what a text is spelled with.

    Accents and other signs are dropped; a dash parts words, as a space does.
    """
    plain = re.sub(
        r"[\s\u2010-\u2015-]+", " ", unicodedata.normalize("NFKD", text.lower().replace("\u2019", "'"))
    )
    return [LETTERS.index(sign) + 1 for sign in plain if sign in LETTERS]


Count = TypeVar("Count", int, Tensor)  # of one clip, or of each clip of a batch


def count_audio_tokens(positions: Count, k: int, remainder: str = "cut") -> Count:
    """Count the audio tokens that ``positions`` encoder positions yield.

    Parameters
    ----------
    positions : int or torch.Tensor
        Encoder positions, 20 ms each.
    k : int
        Positions stacked into one audio token.
    remainder : {"cut", "pad"}
        What happens to a remainder of fewer than ``k`` positions.

    Returns
    -------
    int or torch.Tensor
        ``(positions - k) // k + 1`` where a remainder is cut; one more for a remainder that is padded.
    """
    if remainder == "pad":
        return -(-positions // k)
    return (positions - k) // k + 1


def stack_frames(
    hidden: Float[Tensor, "batch positions encoder_dim"], k: int, remainder: str = "cut"
) -> Float[Tensor, "batch audio_tokens stacked_dim"]:
    """Lay ``k`` neighboring positions side by side in one longer vector.

    Parameters
    ----------
    hidden : torch.Tensor, shape (batch, positions, encoder_dim)
        Encoder output.
    k : int
        Positions per audio token.
    remainder : {"cut", "pad"}
        Whether a remainder of fewer than ``k`` positions is cut, or filled up with zeros.

    Returns
    -------
    torch.Tensor, shape (batch, audio_tokens, k * encoder_dim)
        The stacked vectors; nothing is averaged or lost but a remainder that is cut.

    Raises
    ------
    ValueError
        If there are fewer than ``k`` positions, and no padding.
    """
    batch, positions, encoder_dim = hidden.shape
    if remainder == "cut" and positions < k:
        raise ValueError(
            f"expected at least k={k} encoder positions ({k * 20} ms of audio) to stack, "
            f"but found {positions}. Make sure to pass a longer clip"
        )
    audio_tokens = count_audio_tokens(positions, k, remainder)
    filled = nn.functional.pad(hidden, (0, 0, 0, k))[:, : audio_tokens * k]
    return filled.reshape(batch, audio_tokens, k * encoder_dim)


class TokenBinding(nn.Module):
    """Turn vectors that point among a decoder's embeddings into weighted means of these embeddings.

    Parameters
    ----------
    decoder_dim : int
        Width of one embedding.
    temperature : float
        Divides the scores before the softmax: below 1, the mean leans to the best.
    vocabulary : int
        Tokens that can be pointed to, listed in the buffer ``vocabulary``; 0 for every token.
    """

    def __init__(self, decoder_dim: int, *, temperature: float = 0.5, vocabulary: int = 0) -> None:
        super().__init__()
        self.temperature = temperature
        self.blank = nn.Parameter(torch.zeros(decoder_dim))  # pointed to where nothing new is said
        self.filler = nn.Parameter(torch.zeros(decoder_dim))  # what the decoder reads there
        self.scale = nn.Parameter(torch.zeros(()))  # logarithm of what the scores are multiplied by
        self.vocabulary: Int32[Tensor, " tokens"] | None
        # The tokens that say the same where a text begins, without the space before a word; -1 within words.
        self.openings: Int32[Tensor, " tokens"] | None
        for name in ("vocabulary", "openings"):
            self.register_buffer(name, torch.arange(vocabulary, dtype=torch.int32) if vocabulary else None)

    def fit(self, table: Float[Tensor, "vocabulary decoder_dim"], space: int | None = None) -> None:
        """Start from the decoder's embeddings, blanks read as the token `space`, or as the mean of all."""
        table = table.detach().float()
        power = table.square().mean()
        with torch.no_grad():
            nn.init.normal_(self.blank, std=float(power.sqrt()))
            self.filler.copy_(table.mean(0) if space is None else table[space])
            self.scale.copy_((12 / (table.shape[1] * power)).log())  # a vector's score with itself is 12

    def scores(
        self,
        vectors: Float[Tensor, "batch audio_tokens decoder_dim"],
        table: Float[Tensor, "vocabulary decoder_dim"],
    ) -> Float[Tensor, "batch audio_tokens choices"]:
        """Score the blank and each token against each vector: logits of CTC over the decoder's embeddings.

        Parameters
        ----------
        vectors : torch.Tensor, shape (batch, audio_tokens, decoder_dim)
            What the projector's layers gave.
        table : torch.Tensor, shape (vocabulary, decoder_dim)
            The decoder's token embeddings.

        Returns
        -------
        torch.Tensor, shape (batch, audio_tokens, 1 + tokens)
            The blank's first, then those of the tokens that can be pointed to.
        """
        return self._score(vectors, self._choices(table))

    def forward(
        self,
        vectors: Float[Tensor, "batch audio_tokens decoder_dim"],
        table: Float[Tensor, "vocabulary decoder_dim"],
    ) -> Float[Tensor, "batch audio_tokens decoder_dim"]:
        """Take the mean of the embeddings that each vector points to, the filler in the place of the blank.

        Parameters
        ----------
        vectors : torch.Tensor, shape (batch, audio_tokens, decoder_dim)
            What the projector's layers gave.
        table : torch.Tensor, shape (vocabulary, decoder_dim)
            The decoder's token embeddings.

        Returns
        -------
        torch.Tensor, shape (batch, audio_tokens, decoder_dim)
            Vectors within the hull of the decoder's own embeddings.
        """
        choices = self._choices(table)
        shares = (self._score(vectors, choices) / self.temperature).softmax(-1)
        return shares[..., :1] * self.filler + shares[..., 1:] @ choices

    def _choices(self, table: Tensor) -> Tensor:
        return table if self.vocabulary is None else table[self.vocabulary]

    def _score(self, vectors: Tensor, choices: Tensor) -> Tensor:
        blank = (vectors @ self.blank)[..., None]
        return self.scale.exp() * torch.cat([blank, vectors @ choices.T], -1)


class Around(nn.Module):
    """What one vector is in the light of its neighbors: a convolution over time, then a SwiGLU MLP, added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=EPS)
        self.near = nn.Conv1d(width, width, 9, padding=4, groups=width)
        self.up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "batch steps width"], inside: Float[Tensor, "batch steps 1"]
    ) -> Float[Tensor, "batch steps width"]:
        """Look around; what is outside of a clip is zeros."""
        heard = self.near((self.norm(x) * inside).transpose(1, 2)).transpose(1, 2)
        gate, up = self.up(heard).chunk(2, -1)
        added: Tensor = self.down(nn.functional.silu(gate) * up)
        return x + added


class Speller(nn.Module):
    """Spells a clip letter by letter: convolutions look around each moment, where the projector sees a stack.

    Parameters
    ----------
    encoder_dim : int
        Width of one encoder position.
    width : int
        Width of the layers between.
    tokens : int
        So many of the decoder's tokens it knows the letters of: those that the output beside it is bound to.
        The buffer ``tokens`` holds them as places in `LETTERS`, from 1, filled up with zeros; of a token that
        says something else there are none.
    """

    def __init__(self, encoder_dim: int, width: int, tokens: int = 0) -> None:
        super().__init__()
        self.choices = 1 + len(LETTERS)
        self.norm_in = nn.RMSNorm(2 * encoder_dim, eps=EPS)
        self.down = nn.Linear(2 * encoder_dim, width, bias=False)  # two positions become one step
        self.blocks = nn.ModuleList(Around(width) for _ in range(4))
        self.norm_out = nn.RMSNorm(width, eps=EPS)
        self.letters = nn.Linear(width, 2 * self.choices)  # a blank or a letter for each position
        self.tokens: UInt8[Tensor, "tokens longest"]
        self.register_buffer("tokens", torch.zeros((tokens, LONGEST), dtype=torch.uint8))

    def forward(
        self,
        hidden: Float[Tensor, "batch positions encoder_dim"],
        counts: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch positions choices"]:
        """Tell how probably each position says nothing new, or a letter: log-probabilities of CTC.

        Parameters
        ----------
        hidden : torch.Tensor, shape (batch, positions, encoder_dim)
            Encoder output.
        counts : torch.Tensor, shape (batch,), optional
            Positions that belong to each clip. Without it, all.

        Returns
        -------
        torch.Tensor, shape (batch, positions, 1 + len(LETTERS))
            The blank's first.
        """
        batch, positions, width = hidden.shape
        steps = torch.arange(-(-positions // 2), device=hidden.device)
        if counts is None:
            counts = hidden.new_full((batch,), positions, dtype=torch.long)
        known = torch.arange(positions, device=hidden.device) < counts[:, None]
        even = nn.functional.pad(hidden * known[..., None], (0, 0, 0, positions % 2))
        x = self.down(self.norm_in(even.reshape(batch, -1, 2 * width)))
        inside = (steps < (counts[:, None] + 1) // 2)[..., None].to(x.dtype)
        for block in self.blocks:
            x = block(x, inside)
        scores = self.letters(self.norm_out(x)).reshape(batch, -1, self.choices)[:, :positions]
        log_probs: Tensor = scores.float().log_softmax(-1)
        return log_probs


class AudioProjector(nn.Module):
    """Frame stacking, RMSNorm, SwiGLU MLP, RMSNorm; norms and gate can be left out, to see what they do.

    Parameters
    ----------
    encoder_dim : int
        Width of one encoder position.
    decoder_dim : int
        Width of one decoder embedding.
    stack_factor : int
        Positions per audio token, ``k``.
    hidden_size : int
        Width of the MLP's hidden layer.
    norm : {"rms", "none"}
        Whether there is an RMSNorm before and after the MLP.
    mlp : {"swiglu", "gelu"}
        Whether the hidden layer is multiplied by a gate, or goes through GELU and has no gate.
    remainder : {"cut", "pad"}
        What happens to fewer than ``k`` positions at the end of a clip, see `stack_frames`.
    output : {"free", "bound"}
        Whether audio tokens are what the layers give, or bound to the decoder's embeddings by `TokenBinding`.
    temperature, vocabulary : float, int
        Of the binding.
    prompt_vectors : int
        Vectors of the learned prompt, in the order in which its placeholders stand.
    ctc_weight : float
        Share of what is heard in the choice of each token that the decoder writes, see
        `asrscope.decoder.SpellingVote`. Needs an output that is bound to listed tokens.
    speller_width : int
        Width of a `Speller` beside the layers, which has a part in that share; 0 for none.

    Raises
    ------
    ValueError
        If there is no such norm, MLP, remainder, output or share.
    """

    def __init__(
        self,
        encoder_dim: int,
        decoder_dim: int,
        stack_factor: int,
        hidden_size: int,
        *,
        norm: str = "rms",
        mlp: str = "swiglu",
        remainder: str = "cut",
        output: str = "free",
        temperature: float = 0.5,
        vocabulary: int = 0,
        prompt_vectors: int = 0,
        ctc_weight: float = 0.0,
        speller_width: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= ctc_weight < 1 or (ctc_weight and not (output == "bound" and vocabulary)):
            raise ValueError(
                f"expected a ctc_weight of 0 or more and below 1, and none without an output bound to listed "
                f"tokens, but found {ctc_weight} with output={output!r} and vocabulary={vocabulary}"
            )
        choices = (
            ("norm", norm, NORMS),
            ("MLP", mlp, MLPS),
            ("remainder", remainder, REMAINDERS),
            ("output", output, OUTPUTS),
        )
        for what, found, known in choices:
            if found not in known:
                raise ValueError(
                    f"expected a projector with {what} {' or '.join(known)}, but found {found!r}"
                )
        self.stack_factor, self.hidden_size, self.norm, self.mlp = stack_factor, hidden_size, norm, mlp
        self.remainder, self.output = remainder, output
        self.temperature, self.vocabulary, self.prompt_vectors = temperature, vocabulary, prompt_vectors
        self.ctc_weight, self.speller_width = ctc_weight, speller_width
        stacked_dim = stack_factor * encoder_dim
        self.norm_in = nn.RMSNorm(stacked_dim, eps=EPS) if norm == "rms" else nn.Identity()
        if mlp == "swiglu":
            self.gate = nn.Linear(stacked_dim, hidden_size, bias=False)
        self.up = nn.Linear(stacked_dim, hidden_size, bias=False)
        self.down = nn.Linear(hidden_size, decoder_dim, bias=False)
        # Its weight is what sets the length of an audio token among the decoder's much shorter text
        # embeddings.
        self.norm_out = nn.RMSNorm(decoder_dim, eps=EPS) if norm == "rms" else nn.Identity()
        # Any: what reads them knows by the settings whether they are there.
        self.binding: Any = (
            TokenBinding(decoder_dim, temperature=temperature, vocabulary=vocabulary)
            if output == "bound"
            else None
        )
        learned = torch.zeros(prompt_vectors, decoder_dim)
        self.prompt: Any = nn.Parameter(learned) if prompt_vectors else None
        self.speller: Any = Speller(encoder_dim, speller_width, vocabulary) if speller_width else None

    @property
    def settings(self) -> dict[str, Any]:
        """What, beside the two widths, makes another projector of the same layers."""
        names = ("stack_factor", "hidden_size", "norm", "mlp", "remainder", "output")
        more = ("temperature", "vocabulary", "prompt_vectors", "ctc_weight", "speller_width")
        return {name: getattr(self, name) for name in names + more}

    def fit_length(self, table: Float[Tensor, "vocabulary decoder_dim"], space: int | None = None) -> None:
        """Make the vectors of a new projector as long as text embeddings, so that only directions are random.

        Parameters
        ----------
        table : torch.Tensor, shape (vocabulary, decoder_dim)
            The decoder's token embeddings. Without a norm the length is left to the weights.
        space : int, optional
            The token of a space, as which a bound output reads its blanks at first.
        """
        length = float(table.detach().float().square().mean().sqrt())
        if isinstance(self.norm_out, nn.RMSNorm):
            nn.init.constant_(self.norm_out.weight, length)
        if self.prompt is not None:
            nn.init.normal_(self.prompt, std=length)
        if self.binding is not None:
            self.binding.fit(table, space)

    def forward(
        self,
        hidden: Float[Tensor, "batch positions encoder_dim"],
        table: Float[Tensor, "vocabulary decoder_dim"] | None = None,
    ) -> Float[Tensor, "batch audio_tokens decoder_dim"]:
        """Map encoder output to decoder embeddings.

        Parameters
        ----------
        hidden : torch.Tensor, shape (batch, positions, encoder_dim)
            Encoder output, one vector each 20 ms.
        table : torch.Tensor, shape (vocabulary, decoder_dim), optional
            The decoder's token embeddings, which bound audio tokens are made of.

        Returns
        -------
        torch.Tensor, shape (batch, audio_tokens, decoder_dim)
            One vector for each ``k`` positions, in the space of the decoder's token embeddings.

        Raises
        ------
        ValueError
            If the output is bound, and no table was given.
        """
        vectors = self.point(hidden)
        if self.binding is None:
            return vectors
        if table is None:
            raise ValueError(
                "Expected the decoder's embedding table, which the output is bound to, but found none."
            )
        bound: Tensor = self.binding(vectors, table)
        return bound

    def spell(
        self,
        hidden: Float[Tensor, "batch positions encoder_dim"],
        table: Float[Tensor, "vocabulary decoder_dim"],
    ) -> Float[Tensor, "batch audio_tokens choices"]:
        """Tell how probably each audio token says nothing new, or a token: log-probabilities of CTC.

        Parameters
        ----------
        hidden : torch.Tensor, shape (batch, positions, encoder_dim)
            Encoder output.
        table : torch.Tensor, shape (vocabulary, decoder_dim)
            The decoder's token embeddings, which the output is bound to.

        Returns
        -------
        torch.Tensor, shape (batch, audio_tokens, 1 + tokens)
            The blank's first, see `TokenBinding.scores`.
        """
        scores: Tensor = self.binding.scores(self.point(hidden), table)
        return scores.float().log_softmax(-1)

    def read(
        self,
        hidden: Float[Tensor, "batch positions encoder_dim"],
        table: Float[Tensor, "vocabulary decoder_dim"],
    ) -> Float[Tensor, "batch readings audio_tokens choices"]:
        """Spell a clip twice: as `spell` does, and with each stack half a stack earlier.

        Parameters
        ----------
        hidden : torch.Tensor, shape (batch, positions, encoder_dim)
            Encoder output.
        table : torch.Tensor, shape (vocabulary, decoder_dim)
            The decoder's token embeddings, which the output is bound to.

        Returns
        -------
        torch.Tensor, shape (batch, 2, audio_tokens, choices)
            Log-probabilities of CTC. The first position stands in for those ahead of it, so that both
            readings have the same audio tokens, and none holds what is behind the clip.
        """
        earlier = self.stack_factor // 2
        ahead = hidden[:, :1].expand(-1, earlier, -1)
        half = torch.cat([ahead, hidden], 1)[:, : hidden.shape[1]]
        return torch.stack(self.spell(torch.cat([hidden, half]), table).chunk(2), 1)

    def point(
        self, hidden: Float[Tensor, "batch positions encoder_dim"]
    ) -> Float[Tensor, "batch audio_tokens decoder_dim"]:
        """Apply the layers alone: the output that is free, or not yet bound."""
        x = stack_frames(hidden, self.stack_factor, self.remainder)  # (batch, audio_tokens, k * encoder_dim)
        x = self.norm_in(x)
        if self.mlp == "swiglu":
            x = nn.functional.silu(self.gate(x)) * self.up(x)
        else:
            x = nn.functional.gelu(self.up(x))  # (batch, audio_tokens, hidden_size)
        x = self.down(x)  # (batch, audio_tokens, decoder_dim)
        audio_embeds: Tensor = self.norm_out(x)
        return audio_embeds
