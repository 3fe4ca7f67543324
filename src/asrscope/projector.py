"""The projector: the only part trained to join a frozen encoder to a frozen decoder.

It stacks ``k`` encoder positions into one vector and passes it through a SwiGLU MLP between two RMSNorms. It
sees those ``k`` positions and nothing else: context is the business of the encoder before it and the decoder
after it.
"""

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["MLPS", "NORMS", "AudioProjector", "count_audio_tokens", "stack_frames"]

NORMS = ("rms", "none")
MLPS = ("swiglu", "gelu")


def count_audio_tokens(positions: int, k: int) -> int:
    """Count the audio tokens that ``positions`` encoder positions yield.

    Parameters
    ----------
    positions : int
        Encoder positions, 20 ms each.
    k : int
        Positions stacked into one audio token.

    Returns
    -------
    int
        ``(positions - k) // k + 1``: a remainder of fewer than ``k`` positions is cut.
    """
    return (positions - k) // k + 1


def stack_frames(
    hidden: Float[Tensor, "batch positions encoder_dim"], k: int
) -> Float[Tensor, "batch audio_tokens stacked_dim"]:
    """Lay ``k`` neighboring positions side by side in one longer vector.

    Parameters
    ----------
    hidden : torch.Tensor, shape (batch, positions, encoder_dim)
        Encoder output.
    k : int
        Positions per audio token.

    Returns
    -------
    torch.Tensor, shape (batch, (positions - k) // k + 1, k * encoder_dim)
        The stacked vectors; nothing is averaged or lost but a remainder of fewer than ``k`` positions.

    Raises
    ------
    ValueError
        If there are fewer than ``k`` positions.
    """
    batch, positions, encoder_dim = hidden.shape
    if positions < k:
        raise ValueError(
            f"expected at least k={k} encoder positions ({k * 20} ms of audio) to stack, "
            f"but found {positions}. Make sure to pass a longer clip"
        )
    audio_tokens = count_audio_tokens(positions, k)
    return hidden[:, : audio_tokens * k].reshape(batch, audio_tokens, k * encoder_dim)


class AudioProjector(nn.Module):
    """Frame stacking, RMSNorm, SwiGLU MLP, RMSNorm; both kinds of layer can be left out, to see what they do.

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
    norm : {"rms", "none"}
        What stands before and after the MLP.
    mlp : {"swiglu", "gelu"}
        Whether the hidden layer is multiplied by a gate, or goes through GELU and has no gate.

    Raises
    ------
    ValueError
        If there is no such norm or MLP.
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
    ) -> None:
        super().__init__()
        for what, found, known in (("norm", norm, NORMS), ("MLP", mlp, MLPS)):
            if found not in known:
                raise ValueError(
                    f"expected a projector with {what} {' or '.join(known)}, but found {found!r}"
                )
        self.stack_factor, self.hidden_size, self.norm, self.mlp = stack_factor, hidden_size, norm, mlp
        stacked_dim = stack_factor * encoder_dim
        self.norm_in = nn.RMSNorm(stacked_dim, eps=eps) if norm == "rms" else nn.Identity()
        if mlp == "swiglu":
            self.gate = nn.Linear(stacked_dim, hidden_size, bias=False)
        self.up = nn.Linear(stacked_dim, hidden_size, bias=False)
        self.down = nn.Linear(hidden_size, decoder_dim, bias=False)
        # Its weight is what sets the length of an audio token among the decoder's much shorter text
        # embeddings.
        self.norm_out = nn.RMSNorm(decoder_dim, eps=eps) if norm == "rms" else nn.Identity()

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
        x = stack_frames(hidden, self.stack_factor)  # (batch, audio_tokens, k * encoder_dim)
        x = self.norm_in(x)
        if self.mlp == "swiglu":
            x = nn.functional.silu(self.gate(x)) * self.up(x)  # (batch, audio_tokens, hidden_size)
        else:
            x = nn.functional.gelu(self.up(x))
        x = self.down(x)  # (batch, audio_tokens, decoder_dim)
        audio_embeds: Tensor = self.norm_out(x)
        return audio_embeds
