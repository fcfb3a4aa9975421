# SPDX-License-Identifier: Apache-2.0
"""The network family that floodgate runs, and the file that carries it.

The stack of residual modules of Januszewski et al. (Nature Methods 2018): input
channels are the normalised image and the object map in logits; the output is added to
the latter. Tensors are named and laid out as in the published checkpoints
(seed_update/conv{i}_{a,b}/{weights,biases}, weights as z, y, x, in, out).
"""

import json
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """depth modules (conv0 .. conv{depth-1}), `features` channels throughout."""

    def __init__(self, depth, features):
        super().__init__()
        self.depth = depth
        self.conv = nn.ModuleList(
            nn.Conv3d(2 if i == 0 else features, features, 3, padding=1)
            for i in range(2 * depth))
        self.lom = nn.Conv3d(features, 1, 1)
        for c in self.conv:
            nn.init.kaiming_normal_(c.weight, nonlinearity="relu")
            nn.init.zeros_(c.bias)
        # Residual branches begin small, so that a deep stack begins as a shallow one.
        for i in range(1, depth):
            with torch.no_grad():
                self.conv[2 * i + 1].weight.mul_(0.3)
        nn.init.zeros_(self.lom.weight)
        nn.init.zeros_(self.lom.bias)

    def forward(self, image, seed):
        """image, seed: (batch, 1, z, y, x), normalised and logits. New logits."""
        r = torch.cat([image, seed], 1)
        r = self.conv[1](F.relu(self.conv[0](r)))
        for i in range(1, self.depth):
            r = r + self.conv[2 * i + 1](F.relu(self.conv[2 * i](F.relu(r))))
        return seed + self.lom(F.relu(r)).float()

    def tensors(self):
        """{name: float32 array} in the published names and layout."""
        out = {}
        named = [(f"conv{i // 2}_{'ab'[i % 2]}", c) for i, c in enumerate(self.conv)]
        for name, c in named + [("conv_lom", self.lom)]:
            w = c.weight.detach().float().cpu().permute(2, 3, 4, 1, 0)
            out[f"seed_update/{name}/weights"] = w.contiguous().numpy()
            out[f"seed_update/{name}/biases"] = c.bias.detach().float().cpu().numpy()
        return out

    def load_tensors(self, tensors):
        named = [(f"conv{i // 2}_{'ab'[i % 2]}", c) for i, c in enumerate(self.conv)]
        for name, c in named + [("conv_lom", self.lom)]:
            w = torch.from_numpy(np.array(tensors[f"seed_update/{name}/weights"]))
            b = torch.from_numpy(np.array(tensors[f"seed_update/{name}/biases"]))
            with torch.no_grad():
                c.weight.copy_(w.permute(4, 3, 0, 1, 2))
                c.bias.copy_(b)


def save_safetensors(path, tensors, metadata):
    """One file: u64 header length, JSON header, then the tensors' bytes. All metadata
    values are text, as the format wants. Same input, same bytes."""
    header, offset = {"__metadata__": dict(sorted(metadata.items()))}, 0
    for name in sorted(tensors):
        t = tensors[name]
        if t.dtype != np.float32:
            raise ValueError(f"{name}: {t.dtype}, wanted float32")
        header[name] = {"dtype": "F32", "shape": list(t.shape),
                        "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            f.write(np.ascontiguousarray(tensors[name]).tobytes())


def load_safetensors(path):
    """(tensors, metadata) of a file written by save_safetensors."""
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(n))
        data = f.read()
    meta = header.pop("__metadata__", {})
    return {k: np.frombuffer(data[slice(*v["data_offsets"])], "<f4").reshape(v["shape"])
            for k, v in header.items()}, meta
