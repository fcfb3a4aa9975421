#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train a flood-filling network and write it as one safetensors file.

    python3 seg/train/train.py --out RUN \\
        --source phantom:seed=1..999999,nm=8,calibre=260..400,size=1048576 \\
        --steps 20000

RUN/ receives checkpoint.pt (for --resume), model.safetensors (for floodgate) and
log.csv. See seg/train/README.md for the recipe and its reasons.
"""

import argparse
import copy
import csv
import dataclasses
import json
import os
import pathlib
import signal
import time

import numpy as np
import torch
from torch.nn import functional as F

import data
from model import Net, save_safetensors


def logit(p):
    return float(np.log(p / (1 - p)))


@dataclasses.dataclass
class Slot:
    """One place of the batch: an example and its flood so far."""
    image: np.ndarray   # float32, normalised, z y x
    mask: np.ndarray    # bool
    logits: np.ndarray  # float32, of the whole patch
    known: np.ndarray   # bool: predicted before
    queue: list         # positions still to be tried, z y x in the patch
    visited: set        # cells of the movement grid
    left: int           # moves it may still make


class Trainer:
    def __init__(self, a):
        self.a = a
        torch.manual_seed(a.seed)
        self.device = torch.device(a.device)
        self.net = Net(a.depth, a.features).to(self.device)
        self.net = self.net.to(memory_format=torch.channels_last_3d)
        self.opt = torch.optim.AdamW(self.net.parameters(), lr=a.lr,
                                     weight_decay=a.weight_decay, betas=(0.9, 0.99))
        self.fov = np.array(a.fov[::-1])      # z y x
        self.delta = np.array(a.deltas[::-1])
        self.patch = self.fov + 2 * a.reach * self.delta
        # What is evaluated and exported: a running mean of the weights, which is
        # better than any moment of them while the rate is high.
        self.mean = copy.deepcopy(self.net).requires_grad_(False)
        self.step, self.seconds = 0, 0.0
        self.slots = [None] * a.batch
        self.at = (0, 0)

    def spec(self, sources, seed, augment, per_box=None):
        sym = len(set(self.a.fov)) == 1
        return data.Spec(sources=sources, patch=tuple(int(p) for p in self.patch),
                         fov=tuple(int(f) for f in self.fov), seed=seed,
                         box=self.a.box, per_box=per_box or self.a.per_box,
                         swap=sym, augment=augment)

    # ---------------------------------------------------------- examples and moves

    def new_slot(self, example):
        """An untouched example: its centre known to be inside, all else unknown."""
        image, mask = example
        logits = np.full(self.patch, logit(self.a.pad_value), np.float32)
        centre = tuple(int(p) // 2 for p in self.patch)
        logits[centre] = logit(self.a.init_activation)
        norm = (image.astype(np.float32) - self.a.mean) / self.a.stddev
        return Slot(norm, mask, logits, np.zeros(self.patch, bool), [centre], set(),
                    self.a.moves)

    def window(self, at):
        return tuple(slice(int(c - f // 2), int(c - f // 2 + f))
                     for c, f in zip(at, self.fov))

    def next_move(self, slot):
        """The next position at which inference would place the field of view: first in,
        first out, every cell once, where the flood has got to; or None."""
        while slot.queue and slot.left > 0:
            at = slot.queue.pop(0)
            cell = tuple(int((c - p // 2 + d // 2) // d)
                         for c, p, d in zip(at, self.patch, self.delta))
            inside = all(f // 2 <= c < p - f // 2
                         for c, p, f in zip(at, self.patch, self.fov))
            if cell in slot.visited or not inside or \
                    slot.logits[at] < logit(self.a.move_threshold):
                continue
            slot.visited.add(cell)
            slot.left -= 1
            return at
        return None

    def find_faces(self, new, at):
        """FaceMax of one output: where to go next, best first."""
        mid, found = self.fov // 2, set()
        for axis in range(3):
            for side in (-1, 1):
                lo, hi = mid - self.delta, mid + self.delta + 1
                lo[axis] = mid[axis] + side * self.delta[axis]
                hi[axis] = lo[axis] + 1
                face = new[tuple(slice(a, b) for a, b in zip(lo, hi))]
                k = int(face.argmax())
                best = np.array(np.unravel_index(k, face.shape)) + lo - mid
                if face.flat[k] >= logit(self.a.move_threshold):
                    found.add((float(face.flat[k]), *(int(x) for x in best)))
        return [tuple(int(c + o) for c, o in zip(at, f[1:]))
                for f in sorted(found, reverse=True)]

    def fill(self, stream, slots):
        """[(slot, position)] of one step: every slot with its next move."""
        out = []
        for i in range(len(slots)):
            move = self.next_move(slots[i]) if slots[i] else None
            while move is None:
                slots[i] = self.new_slot(stream.take())
                move = self.next_move(slots[i])
            out.append((slots[i], move))
        return out

    def batch(self, todo):
        fmt = torch.channels_last_3d

        def stack(arrays):
            t = torch.from_numpy(np.stack(arrays)[:, None])
            return t.to(self.device).contiguous(memory_format=fmt)
        todo = [(s, self.window(at)) for s, at in todo]
        image = stack([s.image[w] for s, w in todo])
        seed = stack([s.logits[w] for s, w in todo])
        mask = stack([s.mask[w].astype(np.float32) for s, w in todo])
        return image, seed, mask

    def forward(self, net, image, seed):
        with torch.autocast(self.device.type, torch.bfloat16,
                            enabled=self.a.precision == "bf16"):
            return net(image, seed)

    @torch.no_grad()
    def average(self):
        k = min(self.a.average, (1 + self.step) / (10 + self.step))
        for m, p in zip(self.mean.parameters(), self.net.parameters()):
            m.lerp_(p, 1 - k)

    def put_back(self, todo, logits):
        """Outputs into the floods as inference does: what was predicted to be outside
        stays there while the flood goes on (the freeze rule); then the next moves."""
        got = logits.detach().float().cpu().numpy()[:, 0]
        for (slot, at), new in zip(todo, got):
            w = self.window(at)
            old, known = slot.logits[w], slot.known[w]
            if (new >= logit(self.a.move_threshold)).any():
                new = np.where(known & (old < 0) & (new > old), old, new)
            slot.queue += self.find_faces(new, at)
            slot.logits[w] = new
            known[:] = True

    # ---------------------------------------------------------- steps

    def rate(self):
        """Learning rate: linear warm-up, then half a cosine to 1 % at the last step or
        the end of the time (--minutes), whichever comes first."""
        a, s = self.a, self.step
        warm = min(1.0, (s + 1) / max(1, a.warmup))
        x = min(1.0, s / max(1, a.steps))
        if a.minutes:
            x = max(x, min(1.0, self.seconds / (60 * a.minutes)))
        return a.lr * warm * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * x)))

    def train_step(self, stream):
        todo = self.fill(stream, self.slots)
        image, seed, mask = self.batch(todo)
        out = self.forward(self.net, image, seed)
        soft = 0.05 + 0.9 * mask
        loss = F.binary_cross_entropy_with_logits(out, soft)
        for g in self.opt.param_groups:
            g["lr"] = self.rate()
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.opt.step()
        self.average()
        self.put_back(todo, out)
        self.step += 1
        return float(loss.detach())

    @torch.no_grad()
    def evaluate(self):
        """Floods of held-out examples: loss of all steps, then precision, recall and
        F1 of the final masks, and the share of examples with IoU >= 0.8."""
        a = self.a
        examples = self.held_out()
        total, n, tp, fp, fn, good = 0.0, 0, 0, 0, 0, 0
        for i in range(0, len(examples), a.batch):
            slots = [self.new_slot(e) for e in examples[i:i + a.batch]]
            live = list(slots)
            while live:
                todo = [(s, self.next_move(s)) for s in live]
                todo = [(s, m) for s, m in todo if m is not None]
                live = [s for s, _ in todo]
                if not todo:
                    break
                image, seed, mask = self.batch(todo)
                out = self.forward(self.mean, image, seed)
                total += float(F.binary_cross_entropy_with_logits(
                    out, 0.05 + 0.9 * mask)) * len(todo)
                n += len(todo)
                self.put_back(todo, out)
            for s in slots:
                core = self.window(self.patch // 2)
                p, m = s.logits[core] >= logit(0.6), s.mask[core]
                t, f, u = int((p & m).sum()), int((p & ~m).sum()), int((~p & m).sum())
                tp, fp, fn = tp + t, fp + f, fn + u
                good += t / max(1, t + f + u) >= 0.8
        return {"loss": total / max(1, n), "precision": tp / max(1, tp + fp),
                "recall": tp / max(1, tp + fn), "f1": 2 * tp / max(1, 2 * tp + fp + fn),
                "iou80": good / len(examples)}

    def held_out(self):
        if not hasattr(self, "_held_out"):
            spec = self.spec(self.a.held_out, 1_000_003, 0.0, per_box=16)
            self._held_out = data.group_examples(spec, 0)
        return self._held_out

    @torch.no_grad()
    def meet(self):
        """Average weights with the other run's latest (--peer): two runs on separate
        cores learn as one of twice the batch, without waiting for each other."""
        own, other = self.a.out / "share.pt", self.a.peer / "share.pt"
        try:
            theirs = torch.load(other, map_location=self.device)
        except (OSError, RuntimeError, EOFError):
            theirs = None
        if theirs:
            for name, p in self.net.state_dict().items():
                p.lerp_(theirs[name], 0.5)
        torch.save(self.net.state_dict(), str(own) + ".new")
        os.replace(str(own) + ".new", own)

    # ---------------------------------------------------------- files

    def save(self, at):
        path = self.a.out / "checkpoint.pt"
        torch.save({
            "net": self.net.state_dict(), "mean": self.mean.state_dict(), "opt": self.opt.state_dict(),
            "step": self.step, "seconds": self.seconds, "at": at,
            "slots": [None if s is None else dataclasses.asdict(s) for s in self.slots],
        }, str(path) + ".new")
        os.replace(str(path) + ".new", path)
        self.export(self.a.out / "model.safetensors")

    def resume(self, path):
        c = torch.load(path, map_location=self.device, weights_only=False)
        self.net.load_state_dict(c["net"])
        self.mean.load_state_dict(c.get("mean", c["net"]))
        self.opt.load_state_dict(c["opt"])
        self.step, self.seconds, self.at = c["step"], c["seconds"], tuple(c["at"])
        self.slots = [None if s is None else Slot(**s) for s in c["slots"]]

    def export(self, path):
        a = self.a
        save_safetensors(path, self.mean.tensors(), {
            "format": "floodgate-ffn-1",
            "depth": str(a.depth), "features": str(a.features),
            "fov": json.dumps(a.fov), "deltas": json.dumps(a.deltas),
            "image_mean": repr(a.mean), "image_stddev": repr(a.stddev),
            "voxel_nm": json.dumps(a.voxel_nm),
            "pad_value": repr(a.pad_value), "move_threshold": repr(a.move_threshold),
            "init_activation": repr(a.init_activation),
            "license": a.license,
            "training": json.dumps({
                "program": "seg/train/train.py", "steps": self.step, "batch": a.batch,
                "seed": a.seed, "sources": a.source, "precision": a.precision,
                "optimizer": f"AdamW lr={a.lr} wd={a.weight_decay} cosine",
                "torch": torch.__version__}, sort_keys=True),
        })


def triple(text):
    v = [int(x) for x in text.replace("x", ",").split(",")]
    return v * 3 if len(v) == 1 else v


def sources(text):
    """phantom:... or IMAGE_URL;LABELS_URL"""
    return text if text.startswith("phantom:") else tuple(text.split(";", 1))


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--source", type=sources, action="append", required=True,
                   help="phantom:KEY=VALUE or KEY=LO..HI,... or IMAGE_URL;LABELS_URL")
    p.add_argument("--held-out", type=sources, action="append",
                   help="as --source, for evaluation")
    p.add_argument("--depth", type=int, default=5)
    p.add_argument("--features", type=int, default=16)
    p.add_argument("--fov", type=triple, default=[21] * 3, help="x,y,z; odd")
    p.add_argument("--deltas", type=triple, default=[6] * 3, help="x,y,z")
    p.add_argument("--mean", type=float, default=128.0)
    p.add_argument("--stddev", type=float, default=33.0)
    p.add_argument("--voxel-nm", type=triple, default=[8] * 3)
    p.add_argument("--init-activation", type=float, default=0.95)
    p.add_argument("--pad-value", type=float, default=0.05)
    p.add_argument("--move-threshold", type=float, default=0.9)
    p.add_argument("--reach", type=int, default=2,
                   help="movement steps from the centre that a patch has room for")
    p.add_argument("--moves", type=int, default=16, help="per example at most")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--steps", type=int, default=20000)
    p.add_argument("--minutes", type=float, default=0,
                   help="end after so much training time (the schedule fits it)")
    p.add_argument("--average", type=float, default=0.999,
                   help="decay of the running mean of the weights")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--warmup", type=int, default=200)
    p.add_argument("--weight-decay", type=float, default=1e-4)
    p.add_argument("--augment", type=float, default=1.0)
    p.add_argument("--box", type=int, default=96)
    p.add_argument("--per-box", type=int, default=64)
    p.add_argument("--precision", choices=("f32", "bf16"), default="bf16")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--save-every", type=int, default=500)
    p.add_argument("--eval-every", type=int, default=500)
    p.add_argument("--log", type=pathlib.Path, help="TensorBoard events, if installed")
    p.add_argument("--peer", type=pathlib.Path,
                   help="folder of a second run with another --seed to learn with")
    p.add_argument("--meet-every", type=int, default=20)
    p.add_argument("--resume", action="store_true")
    p.add_argument("--stop-after", type=int, default=0,
                   help="end after so many steps of this run (the schedule stays)")
    p.add_argument("--license", default="Apache-2.0")
    return p.parse_args(argv)


def tensorboard(path):
    if path is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("tensorboard is not installed: --log does nothing", flush=True)
        return None
    return SummaryWriter(str(path))


class Log:
    """log.csv, the terminal and, where it is installed, TensorBoard."""

    def __init__(self, a):
        self.board = tensorboard(a.log)
        path = a.out / "log.csv"
        new = not (a.resume and path.exists())
        self.file = open(path, "w" if new else "a", newline="")
        self.csv = csv.writer(self.file)
        if new:
            self.csv.writerow(["step", "seconds", "name", "value"])

    def put(self, step, seconds, values):
        for k, v in values.items():
            self.csv.writerow([step, f"{seconds:.1f}", k, f"{v:.6f}"])
            if self.board:
                self.board.add_scalar(k, v, step)
        self.file.flush()
        print(f"step {step}  {seconds:.0f} s  " +
              "  ".join(f"{k} {v:.4f}" for k, v in values.items()), flush=True)


def main(argv=None):
    a = arguments(argv)
    a.out.mkdir(parents=True, exist_ok=True)
    if a.threads:
        torch.set_num_threads(a.threads)
    t = Trainer(a)
    if a.resume:
        t.resume(a.out / "checkpoint.pt")
    log = Log(a)
    stream = data.Stream(t.spec(a.source, a.seed, a.augment), t.at)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))
    recent, last, first = [], time.monotonic(), t.step
    while t.step < a.steps and not stop:
        if a.minutes and t.seconds >= 60 * a.minutes:
            break
        recent.append(t.train_step(stream))
        now = time.monotonic()
        t.seconds, last = t.seconds + now - last, now
        if t.step % 100 == 0:
            log.put(t.step, t.seconds, {"train_loss": float(np.mean(recent)),
                                        "lr": t.rate()})
            recent = []
        if a.held_out and t.step % a.eval_every == 0:
            log.put(t.step, t.seconds,
                    {f"held_out_{k}": v for k, v in t.evaluate().items()})
            last = time.monotonic()
        if a.peer and t.step % a.meet_every == 0:
            t.meet()
        if t.step % a.save_every == 0:
            t.save(stream.at)
        if a.stop_after and t.step - first >= a.stop_after:
            break
    t.save(stream.at)
    stream.close()
    return t


if __name__ == "__main__":
    main()
