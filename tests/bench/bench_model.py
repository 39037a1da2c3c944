"""The baseline network, ours beside PyTorch and OpenVINO, inference and training step; and the floor: the bare oneDNN
convolutions of the network.

    python bench_model.py [--patch 64 96] [--dtype bf16 f32] [--mode infer train] [--rounds 3] [--steps 5] [--threads 2]
"""
import argparse
import json
import os
import resource
import statistics
import time

import side_by_side


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--patch", type=int, nargs="+", default=[64, 96])
    p.add_argument("--dtype", nargs="+", default=["bf16", "f32"])
    p.add_argument("--mode", nargs="+", default=["infer", "train"])
    p.add_argument("--base", type=int, default=48)
    p.add_argument("--levels", type=int, default=5)
    p.add_argument("--channels", type=int, default=9)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compile", action="store_true", help="also torch.compile, where it works")
    p.add_argument("--child", help=argparse.SUPPRESS)
    return p.parse_args()


def timed(step, steps):
    step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"median_s": statistics.median(seconds), "min_s": min(seconds), "peak_mb": peak}))


def torch_child(a, compiled):
    import torch
    from torch_unet import UNet
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    model = UNet(a.channels, a.base, a.levels).to(memory_format=torch.channels_last_3d)
    size = (1, a.channels) + (a.patch[0],) * 3
    x = torch.rand(size).contiguous(memory_format=torch.channels_last_3d)
    target = torch.rand((1, 1) + size[2:])
    cast = torch.autocast("cpu", torch.bfloat16, enabled=a.dtype[0] == "bf16")
    network = torch.compile(model) if compiled else model
    if a.mode[0] == "infer":
        def step():
            with torch.no_grad(), cast:
                network(x)
    else:
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-2)

        def step():
            optimiser.zero_grad(set_to_none=True)
            with cast:
                y = network(x)
            y = y.float()
            loss = ((y - target) ** 2).mean() + 0.1 * torch.relu(-y).mean()
            loss.backward()
            optimiser.step()
    timed(step, a.steps)


def openvino_child(a):
    import openvino as ov
    import torch
    from torch_unet import UNet
    torch.manual_seed(0)
    model = UNet(a.channels, a.base, a.levels).eval()
    x = torch.rand((1, a.channels) + (a.patch[0],) * 3)
    converted = ov.convert_model(model, example_input=x, input=[list(x.shape)])
    network = ov.Core().compile_model(converted, "CPU", {
        "INFERENCE_PRECISION_HINT": a.dtype[0], "INFERENCE_NUM_THREADS": a.threads, "PERFORMANCE_HINT": "LATENCY"})
    request, values = network.create_infer_request(), x.numpy()
    timed(lambda: request.infer({0: values}), a.steps)


def compare(a, mode, dtype, patch):
    common = ["--channels", a.channels, "--base", a.base, "--levels", a.levels, "--patch", patch, "--dtype", dtype,
              "--steps", a.steps, "--threads", a.threads]
    me = os.path.abspath(__file__)
    runners = {"dosegrid": lambda: side_by_side.ours("model", "--mode", mode, *common),
               "PyTorch eager": lambda: side_by_side.peer(me, "--child", "torch", "--mode", mode, *common)}
    if a.compile:
        runners["PyTorch compiled"] = lambda: side_by_side.peer(me, "--child", "compiled", "--mode", mode, *common)
    if mode == "infer":
        runners["OpenVINO"] = lambda: side_by_side.peer(me, "--child", "openvino", "--mode", mode, *common)

    def floor():
        answer = side_by_side.ours("conv", *common)
        if answer is None:
            return None
        seconds = 1e-3 * answer["forward_ms" if mode == "infer" else "training_ms"]
        return {"median_s": seconds, "min_s": seconds}

    runners["bare oneDNN convolutions"] = floor
    results = side_by_side.alternate(runners, a.rounds)
    side_by_side.table(f"{mode} {dtype} patch {patch}^3 base {a.base} levels {a.levels}, {a.threads} threads", results)


def main():
    a = parse()
    if a.child == "openvino":
        openvino_child(a)
    elif a.child:
        torch_child(a, a.child == "compiled")
    else:
        for mode in a.mode:
            for dtype in a.dtype:
                for patch in a.patch:
                    compare(a, mode, dtype, patch)


if __name__ == "__main__":
    main()
