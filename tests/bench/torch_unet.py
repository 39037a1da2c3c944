"""The baseline U-Net of this project in PyTorch, written from the formulas in doc/ (group norm, SiLU, FiLM, residual
1x1x1, trilinear up): the peer that bench_model.py and bench_sliding.py run beside ours.

Layer names are the checkpoint's, so that weights go both ways with load_state_dict(strict=True)."""
import torch
import torch.nn.functional as F
from torch import nn


def groups_of(channels):
    return max(g for g in range(1, 9) if channels % g == 0)


class ConvBlock(nn.Module):
    def __init__(self, cin, cout, cond):
        super().__init__()
        self.conv1 = nn.Conv3d(cin, cout, 3, padding=1)
        self.norm1 = nn.GroupNorm(groups_of(cout), cout)
        self.conv2 = nn.Conv3d(cout, cout, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups_of(cout), cout)
        self.cond_mlp = nn.Sequential(nn.SiLU(), nn.Linear(cond, 2 * cout)) if cond else None
        self.residual = nn.Conv3d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x, cond):
        h = F.silu(self.norm1(self.conv1(x)))
        if self.cond_mlp is not None:
            scale, shift = self.cond_mlp(cond)[:, :, None, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return F.silu(self.norm2(self.conv2(h))) + self.residual(x)


class UNet(nn.Module):
    """levels counts the bottleneck; channels are base * (1, 2, 4, 8, 8, ...)."""

    def __init__(self, in_channels, base=48, levels=5, constraints=0, cond_channels=256, out_channels=1):
        super().__init__()
        width = [base * min(2**i, 8) for i in range(levels)]
        self.levels = levels
        cond = cond_channels if constraints else 0
        if constraints:
            self.constraint_mlp = nn.Sequential(
                nn.Linear(constraints, cond_channels), nn.SiLU(), nn.Linear(cond_channels, cond_channels))
        cin = in_channels
        for i in range(levels - 1):
            setattr(self, f"enc{i + 1}", ConvBlock(cin, width[i], cond))
            cin = width[i]
        self.bottleneck = ConvBlock(cin, width[-1], cond)
        below = width[-1]
        for i in reversed(range(levels - 1)):
            cout = width[max(i - 1, 0)]
            setattr(self, f"dec{i + 1}", ConvBlock(below + width[i], cout, cond))
            below = cout
        self.out_conv = nn.Conv3d(below, out_channels, 1)

    def forward(self, x, constraints=None):
        cond = self.constraint_mlp(constraints) if constraints is not None else None
        skips = []
        for i in range(self.levels - 1):
            x = getattr(self, f"enc{i + 1}")(x, cond)
            skips.append(x)
            x = F.max_pool3d(x, 2)
        x = self.bottleneck(x, cond)
        for i in reversed(range(self.levels - 1)):
            up = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            x = getattr(self, f"dec{i + 1}")(torch.cat([up, skips[i]], dim=1), cond)
        return self.out_conv(x)
