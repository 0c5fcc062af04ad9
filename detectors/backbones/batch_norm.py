"""Batch norm that does not end a training whose last batch has one sample."""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def _normalize(norm: _BatchNorm, values: Tensor) -> Tensor | None:
    """Return one single value a channel normalized by the running statistics, None where there are more of them.

    A single value has no deviation: PyTorch raises in training. It does not enter the running statistics.
    """
    if not norm.training or values.numel() != values.shape[1]:
        return None
    return F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)


class BatchNorm1d(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` for [N, C], which takes N = 1 in training, too."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized values, in the shape of `input`."""
        single = _normalize(self, input)
        return super().forward(input) if single is None else single


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` for [N, C, H, W], which takes a single cell in training, too."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized values, in the shape of `input`."""
        single = _normalize(self, input)
        return super().forward(input) if single is None else single
