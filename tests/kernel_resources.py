# kernel_resources.py OBJECT.cu.o.resources SOURCE.cu... (pairs) - what ptxas told of each kernel against the comment beside it:
# no spills; the stack it says, or none; no more registers than it says; the occupancy it says. SPDX-License-Identifier: Apache-2.0
import re
import sys

SLACK = 24  # registers that a comment may promise beyond what any variant takes: more is a comment that has gone stale


def occupancy(registers, threads):
    """Percent of the 64 warps of an sm_80 or sm_90 multiprocessor: registers come in 256 a warp, 16384 in each quarter."""
    warps, per_warp = -(-threads // 32), -(-registers * 32 // 256) * 256
    blocks = min(32, 64 // warps, 4 * (16384 // per_warp) // warps)
    return 100 * blocks * warps // 64


def told(path):
    """Kernel -> (most registers, [what is wrong], most bytes of stack)."""
    kernels, name, arch = {}, None, None
    for line in open(path):
        if m := re.search(r"entry function '_Z(\d+)(\w+)' for '(\w+)'", line):
            name, arch = m[2][: int(m[1])], m[3]
            kernels.setdefault(name, [0, [], 0])
        elif (m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)) and name:
            if m.groups()[1:] != ("0", "0"):
                kernels[name][1].append(f"{name} on {arch}: {m[0]}")
            kernels[name][2] = max(kernels[name][2], int(m[1]))
        elif (m := re.search(r"Used (\d+) registers", line)) and name:
            kernels[name][0] = max(kernels[name][0], int(m[1]))
    return kernels


def promised(path):
    """Kernel -> (registers, percent, threads, bytes of stack) of the comment that stands before it."""
    kernels, comment = {}, ""
    for line in open(path):
        text = line.strip()
        if m := re.search(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(", line):
            note = re.search(r"(\d+) registers, (\d+) % \((\d+) threads\)(?:, (\d+) bytes of stack)?", comment)
            kernels[m[1]] = tuple(int(n or 0) for n in note.groups()) if note else None
        if text.startswith("/*") and not comment.endswith("\n"):
            comment = ""
        if text.startswith(("/*", "* ")):
            comment = (comment + " " + text.lstrip("/* ")).strip()
        elif not text.startswith("template"):
            comment = ""
    return kernels


def compare(kernels, comments):
    faults = []
    for name, (registers, wrong, stack) in sorted(kernels.items()):
        faults += wrong
        note = comments.get(name)
        if note is None:
            faults.append(f"{name}: no comment tells its registers and occupancy ({registers} registers)")
        elif registers > note[0] or registers + SLACK < note[0]:
            faults.append(f"{name}: {registers} registers, its comment says {note[0]}")
        elif stack != note[3]:
            faults.append(f"{name}: {stack} bytes of stack, its comment says {note[3]}")
        elif occupancy(note[0], note[2]) != note[1]:
            faults.append(f"{name}: {note[0]} registers and {note[2]} threads are {occupancy(note[0], note[2])} %, its comment says {note[1]}")
    return faults + [f"{name}: in the source, unknown to ptxas" for name in sorted(set(comments) - set(kernels))]


faults, count = [], 0
for resources, source in zip(sys.argv[1::2], sys.argv[2::2]):
    kernels = told(resources)
    count += len(kernels)
    faults += [f"{source.split('/')[-1]}: {fault}" for fault in compare(kernels, promised(source))]
print("\n".join(faults) if faults else f"{count} kernels: no spills; registers, stack and occupancy as their comments say")
sys.exit(bool(faults) or count == 0)
