"""Sliding-window inference over a 128^3 volume, overlap 0.5, Gaussian weights: ours beside MONAI's
sliding_window_inference of the same network in PyTorch.

    python bench_sliding.py [--size 128] [--patch 64] [--dtype bf16] [--rounds 2] [--threads 2]
"""
import argparse
import os

import side_by_side
from bench_model import timed


def child(a):
    import torch
    from monai.inferers import sliding_window_inference
    from torch_unet import UNet
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    model = UNet(a.channels, a.base, a.levels).eval().to(memory_format=torch.channels_last_3d)
    volume = torch.rand((1, a.channels) + (a.size,) * 3)
    cast = torch.autocast("cpu", torch.bfloat16, enabled=a.dtype == "bf16")

    def step():
        with torch.no_grad(), cast:
            sliding_window_inference(volume, (a.patch,) * 3, 1, model, overlap=0.5, mode="gaussian", sigma_scale=0.25)

    timed(step, a.steps)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"size": 128, "patch": 64, "base": 48, "levels": 5, "channels": 9, "rounds": 2, "steps": 1,
                        "threads": 2}.items():
        p.add_argument(f"--{name}", type=int, default=value)
    p.add_argument("--dtype", default="bf16")
    p.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child:
        return child(a)
    common = []
    for name in ("size", "patch", "base", "levels", "channels", "steps", "threads", "dtype"):
        common += [f"--{name}", getattr(a, name)]
    results = side_by_side.alternate({
        "dosegrid": lambda: side_by_side.ours("sliding", *common),
        "MONAI": lambda: side_by_side.peer(os.path.abspath(__file__), "--child", *common)}, a.rounds)
    side_by_side.table(f"sliding window {a.size}^3, patch {a.patch}^3, overlap 0.5, {a.dtype}", results)


if __name__ == "__main__":
    main()
