"""The projector: the only part trained to join a frozen encoder to a frozen decoder.

It stacks ``k`` encoder positions into one vector and passes it through a SwiGLU MLP between two RMSNorms. It
sees those ``k`` positions and nothing else: context is the business of the encoder before it and the decoder
after it. Published projectors differ in their layers; `AudioProjector` can have those too.
"""

from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["MLPS", "NORMS", "REMAINDERS", "AudioProjector", "count_audio_tokens", "stack_frames"]

NORMS = ("rms", "hidden", "none")
MLPS = ("swiglu", "gelu")
REMAINDERS = ("cut", "pad")


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
    if remainder == "pad":
        hidden = nn.functional.pad(
            hidden, (0, 0, 0, -positions % k)
        )  # (batch, audio_tokens * k, encoder_dim)
    elif positions < k:
        raise ValueError(
            f"expected at least k={k} encoder positions ({k * 20} ms of audio) to stack, "
            f"but found {positions}. Make sure to pass a longer clip"
        )
    audio_tokens = count_audio_tokens(positions, k, remainder)
    return hidden[:, : audio_tokens * k].reshape(batch, audio_tokens, k * encoder_dim)


class AudioProjector(nn.Module):
    """Frame stacking, RMSNorm, SwiGLU MLP, RMSNorm; layers can be moved or left out, to see what they do.

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
    eps : float
        Added to the mean square in both norms.
    norm : {"rms", "hidden", "none"}
        An RMSNorm before and after the MLP; or on its hidden layer, ahead of the activation, and after it; or
        none.
    mlp : {"swiglu", "gelu"}
        Whether the hidden layer is multiplied by a gate, or goes through GELU and has no gate.
    bias : bool
        Whether the linear layers add one.
    remainder : {"cut", "pad"}
        What happens to fewer than ``k`` positions at the end of a clip, see `stack_frames`.

    Raises
    ------
    ValueError
        If there is no such norm, MLP or remainder.
    """

    def __init__(
        self,
        encoder_dim: int,
        decoder_dim: int,
        stack_factor: int,
        hidden_size: int,
        eps: float = 1e-6,
        *,
        norm: str = "rms",
        mlp: str = "swiglu",
        bias: bool = False,
        remainder: str = "cut",
    ) -> None:
        super().__init__()
        choices = (("norm", norm, NORMS), ("MLP", mlp, MLPS), ("remainder", remainder, REMAINDERS))
        for what, found, known in choices:
            if found not in known:
                raise ValueError(
                    f"expected a projector with {what} {' or '.join(known)}, but found {found!r}"
                )
        self.stack_factor, self.hidden_size, self.norm, self.mlp = stack_factor, hidden_size, norm, mlp
        self.bias, self.remainder = bias, remainder
        stacked_dim = stack_factor * encoder_dim
        self.norm_in = nn.RMSNorm(stacked_dim, eps=eps) if norm == "rms" else nn.Identity()
        if mlp == "swiglu":
            self.gate = nn.Linear(stacked_dim, hidden_size, bias=bias)
        self.up = nn.Linear(stacked_dim, hidden_size, bias=bias)
        self.norm_hidden = nn.RMSNorm(hidden_size, eps=eps) if norm == "hidden" else nn.Identity()
        self.down = nn.Linear(hidden_size, decoder_dim, bias=bias)
        # Its weight is what sets the length of an audio token among the decoder's much shorter text
        # embeddings.
        self.norm_out = nn.Identity() if norm == "none" else nn.RMSNorm(decoder_dim, eps=eps)

    @property
    def settings(self) -> dict[str, Any]:
        """What, beside the two widths, makes another projector of the same layers."""
        names = ("stack_factor", "hidden_size", "norm", "mlp", "bias", "remainder")
        return {name: getattr(self, name) for name in names}

    def fit_length(self, table: Float[Tensor, "vocabulary decoder_dim"]) -> None:
        """Make the vectors of a new projector as long as text embeddings, so that only directions are random.

        Parameters
        ----------
        table : torch.Tensor, shape (vocabulary, decoder_dim)
            The decoder's token embeddings. Without a norm the length is left to the weights.
        """
        if isinstance(self.norm_out, nn.RMSNorm):
            nn.init.constant_(self.norm_out.weight, float(table.detach().float().square().mean().sqrt()))

    def forward(
        self, hidden: Float[Tensor, "batch positions encoder_dim"]
    ) -> Float[Tensor, "batch audio_tokens decoder_dim"]:
        """Map encoder output to decoder embeddings.

        Parameters
        ----------
        hidden : torch.Tensor, shape (batch, positions, encoder_dim)
            Encoder output, one vector each 20 ms.

        Returns
        -------
        torch.Tensor, shape (batch, audio_tokens, decoder_dim)
            One vector for each ``k`` positions, in the space of the decoder's token embeddings.
        """
        x = stack_frames(hidden, self.stack_factor, self.remainder)  # (batch, audio_tokens, k * encoder_dim)
        x = self.norm_in(x)
        if self.mlp == "swiglu":
            x = nn.functional.silu(self.norm_hidden(self.gate(x))) * self.up(x)
        else:
            x = nn.functional.gelu(self.norm_hidden(self.up(x)))  # (batch, audio_tokens, hidden_size)
        x = self.down(x)  # (batch, audio_tokens, decoder_dim)
        audio_embeds: Tensor = self.norm_out(x)
        return audio_embeds
