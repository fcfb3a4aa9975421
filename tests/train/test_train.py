#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The training program: examples, the network's own movement, resuming, the file it
writes, and layer pairs over HTTP. Small networks, a few steps; seconds in all."""

import functools
import http.server
import json
import os
import pathlib
import sys
import tempfile
import threading

ROOT = pathlib.Path(os.environ.get("srcdir", pathlib.Path(__file__).parents[2]))
sys.path.insert(0, str(ROOT / "seg" / "train"))
count = failed = 0


def ok(good, text):
    global count, failed
    count += 1
    failed += not good
    print(f"{'' if good else 'not '}ok {count} - {text}", flush=True)


try:
    import numpy as np
    import torch
except ImportError as e:
    if os.environ.get("CI"):
        print(f"Bail out! missing in CI: {e}")
        sys.exit(1)
    print(f"1..0 # SKIP {e} (seg/train/requirements.txt)")
    print(f"SKIPPED: {e}", file=sys.stderr)
    sys.exit(77)

import data  # noqa: E402
import train  # noqa: E402
from http_pair import HttpPair  # noqa: E402
from model import Net, load_safetensors, save_safetensors  # noqa: E402
from phantom import Phantom  # noqa: E402

PHANTOM = "phantom:seed=1..99,calibre=260..400,size=65536"


def crc32c(blob):
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    c = 0xFFFFFFFF
    for b in blob:
        c = c >> 8 ^ table[(c ^ b) & 255]
    return c ^ 0xFFFFFFFF


def arguments(out, *more):
    return train.arguments([
        "--out", str(out), "--source", PHANTOM, "--held-out", PHANTOM, "--depth", "2",
        "--features", "4", "--fov", "9", "--deltas", "2", "--batch", "3", "--box", "40",
        "--per-box", "6", "--steps", "8", "--precision", "f32", "--threads", "1",
        *more])


def test_phantom():
    lo, hi = (100, 200, 300), (148, 240, 324)
    p = Phantom("")
    image, labels = p.image(lo, hi), p.labels(lo, hi)
    ok(image.shape == (24, 40, 48) and labels.dtype == np.uint64, "phantom arrays")
    # The same numbers as in tests/store/test_phantom.c.
    ok(crc32c(image.tobytes()) == 0xBCFCD9EE, "picture has the C test's checksum")
    ok(crc32c(labels.tobytes()) == 0xAA789E26, "labels too")
    try:
        Phantom("nm=0")
        ok(False, "bad parameters are refused")
    except ValueError as e:
        ok("nm=0: wanted" in str(e), "bad parameters are refused")


def test_examples():
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 2, :] = mask[2, :, 0] = mask[4, 4, 4] = True
    got = data.reachable(mask, (2, 2, 2))
    ok(got.sum() == mask.sum() - 1 and not got[4, 4, 4],
       "a mask ends where its connection ends")
    spec = data.Spec([PHANTOM], (21, 21, 21), (15, 15, 15), seed=5, box=64, per_box=40,
                     group=2)
    a, b = data.group_examples(spec, 3), data.group_examples(spec, 3)
    ok(len(a) == 80 and all((x == y).all() and (m == n).all()
                            for (x, m), (y, n) in zip(a, b)),
       "examples are a function of seed and index")
    ok(all(m[10, 10, 10] for _, m in a), "each is centred on its object")
    share = np.array([m.mean() for _, m in a])
    ok(share.min() < 0.25 < 0.6 < share.max() and np.std(share) > 0.12,
       f"coverage is spread: {share.min():.2f} to {share.max():.2f}")
    s = data.Stream(spec)
    first = [s.take() for _ in range(85)]
    s.close()
    s = data.Stream(spec, (1, 3))
    ok((s.take()[0] == first[83][0]).all(), "a stream continues where it was")
    s.close()
    try:
        s = data.Stream(data.Spec(["phantom:nm=0"], (9,) * 3, (9,) * 3, 1))
        s.take()
        ok(False, "a failure reaches the reader")
    except ValueError:
        ok(True, "a failure reaches the reader")
    s.close()


def run(a, steps, trainer=None):
    torch.set_num_threads(1)
    t = trainer or train.Trainer(a)
    if a.resume:
        t.resume(a.out / "checkpoint.pt")
    s = data.Stream(t.spec(a.source, a.seed, a.augment), t.at)
    losses = [t.train_step(s) for _ in range(steps)]
    t.save(s.at)
    s.close()
    return t, losses


def test_training(tmp):
    whole, half = tmp / "whole", tmp / "half"
    whole.mkdir()
    half.mkdir()
    t, losses = run(arguments(whole), 8)
    _, first = run(arguments(half), 5)
    _, second = run(arguments(half, "--resume"), 3)
    ok(losses == first + second, "a resumed run has the same losses to the last bit")
    ok(not np.allclose(losses[0], losses[-1]) and np.isfinite(losses).all(),
       f"losses move: {losses[0]:.4f} to {losses[-1]:.4f}")
    e = t.evaluate()
    ok(set(e) == {"loss", "precision", "recall", "f1", "iou80"} and
       0 <= e["precision"] <= 1, "held-out scores")
    tensors, meta = load_safetensors(whole / "model.safetensors")
    ok(len(tensors) == 2 * 2 * 2 + 2 and
       tensors["seed_update/conv0_a/weights"].shape == (3, 3, 3, 2, 4) and
       tensors["seed_update/conv_lom/weights"].shape == (1, 1, 1, 4, 1),
       "tensors have the published names and layout")
    ok(json.loads(meta["fov"]) == [9, 9, 9] and json.loads(meta["deltas"]) == [2] * 3
       and float(meta["image_mean"]) == 128 and
       json.loads(meta["training"])["steps"] == 8, "metadata")
    again = Net(2, 4)
    again.load_tensors(tensors)
    x = torch.randn(1, 1, 9, 9, 9)
    ok(torch.equal(again(x, -x), t.mean(x, -x)), "the file holds the averaged network")
    save_safetensors(tmp / "again", again.tensors(), meta)
    ok((tmp / "again").read_bytes() == (whole / "model.safetensors").read_bytes(),
       "and is written the same again")


def test_layout():
    """A convolution by hand, in the layout of the file."""
    net = Net(1, 3)
    with torch.no_grad():
        net.lom.weight.fill_(0.5)
    w = net.tensors()
    rng = np.random.default_rng(1)
    im, seed = rng.normal(size=(2, 5, 5, 5)).astype(np.float32)

    def conv(x, name):
        k, b = (w[f"seed_update/{name}/{p}"] for p in ("weights", "biases"))
        r = k.shape[0] // 2
        p = np.pad(x, [(r, r)] * 3 + [(0, 0)])
        out = np.zeros(x.shape[:3] + (k.shape[4],)) + b
        for z, y, q in np.ndindex(k.shape[:3]):
            out += p[z:z + 5, y:y + 5, q:q + 5] @ k[z, y, q]
        return out
    r = conv(np.maximum(conv(np.stack([im, seed], -1), "conv0_a"), 0), "conv0_b")
    want = seed + conv(np.maximum(r, 0), "conv_lom")[..., 0]
    got = net(torch.tensor(im)[None, None], torch.tensor(seed)[None, None])
    ok(np.abs(got.detach().numpy()[0, 0] - want).max() < 1e-5,
       "weights are z, y, x, in, out")


def test_moves():
    t = train.Trainer(arguments("/nonexistent"))
    n = tuple(t.patch)
    s = t.new_slot((np.full(n, 128, np.uint8), np.ones(n, bool)))
    mid = tuple(int(p) // 2 for p in n)
    ok(t.next_move(s) == mid, "the first step is at the centre")
    ok(t.next_move(s) is None, "no move before there is a face to go to")
    out = torch.full((1, 1, 9, 9, 9), -3.0)
    out[0, 0, 4, 4, 6] = 4.0     # x + 2
    out[0, 0, 2, 5, 4] = 5.0     # z - 2, better
    out[0, 0, 4, 4, 4] = 3.0
    t.put_back([(s, mid)], out)
    first, second = t.next_move(s), t.next_move(s)
    ok(first == (mid[0] - 2, mid[1] + 1, mid[2]) and
       second == (mid[0], mid[1], mid[2] + 2) and t.next_move(s) is None,
       "faces that the flood has reached, best first")
    t.put_back([(s, mid)], torch.full((1, 1, 9, 9, 9), 3.0))
    ok(s.logits[mid[0], mid[1], mid[2] + 1] == -3 and s.logits[mid] == 3,
       "what was outside stays outside")
    s = t.new_slot((np.full(n, 128, np.uint8), np.ones(n, bool)))
    moves = 0
    while (at := t.next_move(s)) is not None:
        t.put_back([(s, at)], torch.full((1, 1, 9, 9, 9), 3.0))
        moves += 1
    ok(4 < moves <= t.a.moves, f"floods are limited: {moves} moves")


def write_layer(folder, values, dtype, chunk):
    folder.mkdir()
    z, y, x = values.shape
    (folder / "info").write_text(json.dumps({
        "type": "image", "data_type": dtype, "num_channels": 1, "scales": [{
            "key": "8_8_8", "size": [x, y, z], "voxel_offset": [10, 20, 30],
            "chunk_sizes": [[chunk] * 3], "encoding": "raw",
            "resolution": [8, 8, 8]}]}))
    (folder / "8_8_8").mkdir()
    for k, j, i in np.ndindex(*(-(-n // chunk) for n in values.shape)):
        part = values[k * chunk:(k + 1) * chunk, j * chunk:(j + 1) * chunk,
                      i * chunk:(i + 1) * chunk]
        lo = [i * chunk + 10, j * chunk + 20, k * chunk + 30]
        hi = [a + n for a, n in zip(lo, part.shape[::-1])]
        name = "_".join(f"{a}-{b}" for a, b in zip(lo, hi))
        (folder / "8_8_8" / name).write_bytes(part.tobytes())


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_http(tmp):
    p = Phantom("seed=2")
    lo, hi = (0, 0, 0), (70, 50, 40)
    image, labels = p.image(lo, hi), p.labels(lo, hi)
    write_layer(tmp / "em", image, "uint8", 32)
    write_layer(tmp / "truth", labels, "uint64", 32)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    pair = HttpPair(url + "/em", url + "/truth/")
    ok((pair.image((3, 30, 31), (70, 47, 40)) == image[31:40, 30:47, 3:70]).all() and
       (pair.labels(lo, hi) == labels).all(), "boxes of a layer pair over HTTP")
    spec = data.Spec([train.sources(f"{url}/em;{url}/truth")], (9,) * 3, (5,) * 3, 1,
                     box=30, per_box=4, group=1)
    ok(len(data.group_examples(spec, 0)) == 4, "examples from it")
    server.shutdown()


with tempfile.TemporaryDirectory() as name:
    os.environ["XDG_CACHE_HOME"] = name
    test_phantom()
    test_examples()
    test_training(pathlib.Path(name))
    test_layout()
    test_moves()
    test_http(pathlib.Path(name))
print(f"1..{count}")
sys.exit(failed > 0)
