#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same network in PyTorch on one GPU, as fast as it goes: channels-last, bf16, with
CUDA graphs; as it is, compiled, and compiled with tuning. Patches per second at batch 1,
8 and 64, and the rate of a large bf16 matrix product, all as the median of many, timed
with device events."""
import statistics
import sys

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit("PyTorch is not installed (tests/requirements-train.txt)")

DEPTH, FEATURES, FOV = 12, 32, 33
GFLOP = 2 * FOV**3 * (23 * 27 * 32 * 32 + 27 * 2 * 32 + 32) / 1e9


class Network(nn.Module):
    """Convolutions 0_a, 0_b, 1_a ... and the last one, as in seg/net.h."""

    def __init__(self):
        super().__init__()
        conv = lambda i: nn.Conv3d(i, FEATURES, 3, padding=1)
        self.a = nn.ModuleList(conv(FEATURES if i else 2) for i in range(DEPTH))
        self.b = nn.ModuleList(conv(FEATURES) for _ in range(DEPTH))
        self.last = nn.Conv3d(FEATURES, 1, 1)

    def forward(self, x):
        r = self.b[0](torch.relu(self.a[0](x)))
        for a, b in zip(self.a[1:], self.b[1:]):
            r = r + b(torch.relu(a(torch.relu(r))))
        return x[:, 1:] + self.last(torch.relu(r))


def median_ms(work, runs):
    for _ in range(5):
        work()
    times = []
    for _ in range(runs):
        start = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def patches(name, net, batch):
    """Print the rate of one way to run it; what fails is said and does not count."""
    x = torch.randn(batch, 2, FOV, FOV, FOV, device="cuda", dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    try:
        for _ in range(3):
            net(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            net(x)
        ms = median_ms(graph.replay, 50)
    except Exception as e:
        print(f"pytorch {name} batch {batch}: {type(e).__name__}: {e}"[:200], flush=True)
        return
    print(f"pytorch {name} batch {batch}: {1e3 * batch / ms:.1f} patches/s, "
          f"{batch * GFLOP / ms:.0f} TFLOP/s", flush=True)


def main():
    if not torch.cuda.is_available():
        sys.exit("no GPU that PyTorch can use")
    torch.backends.cudnn.benchmark = True
    n = 8192
    m = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    rate = 2 * n**3 / 1e9 / median_ms(lambda: m @ m, 50)  # TFLOP/s
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    print(f"bf16 matrix product {n}^3: {rate:.0f} TFLOP/s", flush=True)
    net = Network().cuda().to(torch.bfloat16, memory_format=torch.channels_last_3d)
    # What takes longest comes last: a time limit then costs the least.
    ways = [("plain", net),
            ("compiled", torch.compile(net, dynamic=False)),
            ("autotuned", torch.compile(net, dynamic=False,
                                        mode="max-autotune-no-cudagraphs"))]
    with torch.inference_mode():
        for name, way in ways:
            for batch in (64, 8, 1):
                patches(name, way, batch)


if __name__ == "__main__":
    main()
