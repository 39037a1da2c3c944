#!/usr/bin/env python3
"""The reference's networks in PyTorch, under its layer names, against what dosegrid exports and predicts.

pytorch_unet.py compare W.safetensors KIND VOLUMES CASE CASE.npz NEW.safetensors: the exported weights load strictly by name into the
    module, and its output for the case's volumes (NIfTI, as `export` writes them) is the prediction, to 1e-4 of the dose scale; NEW gets
    new weights of such a module, for `train --init`
pytorch_unet.py same A.safetensors B.safetensors: equal tensor by tensor, bit by bit
SPDX-License-Identifier: Apache-2.0"""
import gzip
import json
import struct
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SCALE_GY, TOLERANCE = 70.0, 1e-4


class Block(nn.Module):
    def __init__(self, cin, cout, cond):
        super().__init__()
        groups = max(g for g in range(1, 9) if cout % g == 0)
        self.conv1, self.conv2 = nn.Conv3d(cin, cout, 3, padding=1), nn.Conv3d(cout, cout, 3, padding=1)
        self.norm1, self.norm2 = nn.GroupNorm(groups, cout), nn.GroupNorm(groups, cout)
        self.cond_mlp = nn.Sequential(nn.SiLU(), nn.Linear(cond, 2 * cout)) if cond else None
        self.residual = nn.Conv3d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x, cond):
        h = F.silu(self.norm1(self.conv1(x)))
        if cond is not None:
            scale, shift = self.cond_mlp(cond)[:, :, None, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return F.silu(self.norm2(self.conv2(h))) + self.residual(x)


class Gate(nn.Module):
    def __init__(self, gate, skip):
        super().__init__()
        inner = max(skip // 2, 1)
        self.W_gate, self.W_skip = nn.Conv3d(gate, inner, 1, bias=False), nn.Conv3d(skip, inner, 1, bias=False)
        self.psi = nn.Sequential(nn.Conv3d(inner, 1, 1), nn.Sigmoid())

    def forward(self, up, skip):
        return skip * self.psi(F.relu(self.W_skip(skip) + self.W_gate(up)))


class Attention(nn.Module):
    HEADS = 4

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.qkv, self.proj = nn.Linear(channels, 3 * channels, bias=False), nn.Linear(channels, channels)

    def forward(self, x):
        b, c = x.shape[:2]
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(tokens)).reshape(b, -1, 3, self.HEADS, c // self.HEADS).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, -1, c)
        return (tokens + self.proj(y)).transpose(1, 2).reshape(x.shape)


class UNet(nn.Module):
    def __init__(self, kind, cin, base, levels, constraints, cond):
        super().__init__()
        c = [base * min(1 << level, 8) for level in range(levels)]
        self.deepest = levels - 1
        if constraints:
            self.constraint_mlp = nn.Sequential(nn.Linear(constraints, cond), nn.SiLU(), nn.Linear(cond, cond))
        width = cond if constraints else 0
        for level in range(self.deepest):
            setattr(self, f"enc{level + 1}", Block(c[level - 1] if level else cin, c[level], width))
            up = c[level + 1] if level + 1 == self.deepest else c[level]
            setattr(self, f"dec{level + 1}", Block(up + c[level], c[max(level - 1, 0)], width))
            if kind == "attention_unet":
                setattr(self, f"attn{level + 1}", Gate(up, c[level]))
        self.bottleneck = Block(c[self.deepest - 1], c[self.deepest], width)
        if kind == "bottleneck_attn":
            self.bottleneck_attn = Attention(c[self.deepest])
        self.out_conv = nn.Conv3d(c[0], 1, 1)

    def forward(self, x, constraints):
        cond = self.constraint_mlp(constraints) if constraints is not None else None
        skips = []
        for level in range(self.deepest):
            skips.append(getattr(self, f"enc{level + 1}")(x, cond))
            x = F.max_pool3d(skips[-1], 2)
        x = self.bottleneck(x, cond)
        if hasattr(self, "bottleneck_attn"):
            x = self.bottleneck_attn(x)
        for level in reversed(range(self.deepest)):
            x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            skip = skips[level]
            if hasattr(self, f"attn{level + 1}"):
                skip = getattr(self, f"attn{level + 1}")(x, skip)
            x = getattr(self, f"dec{level + 1}")(torch.cat([x, skip], dim=1), cond)
        return self.out_conv(x)


def read_weights(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, item in header.items():
        begin, end = item["data_offsets"]
        values = np.frombuffer(raw[8 + size + begin:8 + size + end], "<f4").reshape(item["shape"])
        out[name] = torch.from_numpy(values.copy())
    return out


def write_weights(path, state):
    header, blobs, at = {}, [], 0
    for name, tensor in state.items():
        blobs.append(tensor.detach().numpy().astype("<f4").tobytes())
        header[name] = dict(dtype="F32", shape=list(tensor.shape), data_offsets=[at, at + len(blobs[-1])])
        at += len(blobs[-1])
    text = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def build(kind, weights):
    levels = 1 + sum(f"enc{k}.conv1.weight" in weights for k in range(1, 16))
    constraints = weights.get("constraint_mlp.0.weight")
    width, count = constraints.shape if constraints is not None else (0, 0)
    first = weights["enc1.conv1.weight"]
    return UNet(kind, first.shape[1], first.shape[0], levels, count, width)


def read_nifti(path):
    raw = gzip.open(path).read()
    x, y, z = struct.unpack("<3h", raw[42:48])
    kind = {2: "u1", 4: "<i2", 16: "<f4"}[struct.unpack("<h", raw[70:72])[0]]
    return np.frombuffer(raw, kind, x * y * z, 352).reshape(z, y, x).astype(np.float32)


def compare(weights_path, kind, folder, case, archive, new_path):
    weights = read_weights(weights_path)
    net = build(kind, weights)
    net.load_state_dict(weights, strict=True)
    channels = [np.clip(read_nifti(f"{folder}/{case}_ct.nii.gz"), -1000, 1000) / 1000]
    channels += [read_nifti(f"{folder}/{case}_mask-{name}.nii.gz") for name in ("PTV70", "PTV56")]
    constraints = None
    if hasattr(net, "constraint_mlp"):
        constraints = torch.from_numpy(np.load(archive)["constraints"])[None]
    with torch.no_grad():
        y = net(torch.from_numpy(np.stack(channels))[None], constraints)[0, 0].numpy()
    predicted = read_nifti(f"{folder}/{case}_pred.nii.gz") / SCALE_GY
    wanted = np.clip(y, 0, 1.5)  # as predict does
    open_ = (y > 1e-3) & (y < 1.499)
    worst = np.abs(wanted - predicted).max()
    print(f"{kind}: {len(weights)} tensors, {open_.sum()} voxels beyond the clips, largest difference {worst:.2e} of {SCALE_GY} Gy")
    if open_.sum() < 100 or y[open_].std() < 1e-3:
        sys.exit("the prediction is flat or clipped: nothing was compared")
    if not worst <= TOLERANCE:
        sys.exit(f"PyTorch's output is another one (tolerance {TOLERANCE})")
    write_weights(new_path, build(kind, weights).state_dict())


def main(job, *arguments):
    torch.manual_seed(5)
    if job == "compare":
        compare(*arguments)
    else:
        a, b = (read_weights(path) for path in arguments)
        if a.keys() != b.keys() or not all(torch.equal(a[k], b[k]) for k in a):
            sys.exit("the weights differ")


main(*sys.argv[1:])
