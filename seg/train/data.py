# SPDX-License-Identifier: Apache-2.0
"""Training examples: patches of image and object mask from volumes.

An example is centred on a voxel of an object; its mask is that object within the
patch. Most voxels lie in thick processes, so examples are drawn evenly from
partitions of *coverage* (the share of the patch that the object fills), as published.

The stream is a pure function of (sources, seed, index): group g is a few boxes, cut
and shuffled by a generator seeded with (seed, g). So a resumed run sees what the
uninterrupted one would have seen. A thread works ahead.
"""

import dataclasses
import queue
import threading

import numpy as np

from http_pair import HttpPair
from phantom import Phantom

# Upper ends of the coverage partitions (Januszewski et al. 2018, methods).
PARTITIONS = (0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)


@dataclasses.dataclass
class Spec:
    """What to draw from, and how."""
    sources: list      # "phantom:..." templates or (image URL, labels URL)
    patch: tuple       # voxels z, y, x
    fov: tuple         # coverage is measured in it
    seed: int
    box: int = 96      # voxels per axis of one read
    per_box: int = 64  # examples from it
    group: int = 4     # boxes shuffled together
    symmetric: tuple = (True, True, True)  # axes z, y, x that may be flipped
    swap: bool = True  # axes may change places (isotropic data)
    augment: float = 1.0  # strength of the imitated defects, 0: none


def open_source(src, rng):
    """A volume: phantoms get random traits where the template says lo..hi."""
    if isinstance(src, (tuple, list)):
        return HttpPair(*src)
    items = []
    for item in src.removeprefix("phantom:").split(","):
        key, _, value = item.partition("=")
        if ".." in value:
            lo, hi = value.split("..")
            value = str(rng.integers(int(lo), int(hi) + 1))
        items.append(f"{key}={value}")
    return Phantom(",".join(items))


def balanced_centres(labels, spec, rng, n):
    """n voxels (z, y, x) whose objects' coverages are spread over the partitions."""
    half = [p // 2 for p in spec.patch]
    lo, hi = half, [s - h for s, h in zip(labels.shape, half)]
    if any(b <= a for a, b in zip(lo, hi)):
        raise ValueError(f"box {labels.shape} is too small for patches {spec.patch}")
    cand = np.stack([rng.integers(a, b, 24 * n) for a, b in zip(lo, hi)], 1)
    cand = cand[labels[tuple(cand.T)] != 0][:10 * n]
    if len(cand) == 0:
        return cand
    r = [f // 2 for f in spec.fov]
    cover = np.empty(len(cand))
    for i, c in enumerate(cand):
        cube = labels[tuple(slice(x - k, x + k + 1) for x, k in zip(c, r))]
        cover[i] = np.count_nonzero(cube == labels[tuple(c)]) / cube.size
    part = np.digitize(cover, PARTITIONS)
    kinds = np.unique(part)
    members = {k: np.flatnonzero(part == k) for k in kinds}
    pick = [rng.choice(members[k]) for k in rng.choice(kinds, n)]
    return cand[pick]


def imitate_defects(image, rng, strength):
    """Changes to a float patch (z, y, x) that sections of real stacks show."""
    image = image.astype(np.float32)
    if strength <= 0:
        return image
    nz = image.shape[0]
    if rng.random() < 0.5 * strength:  # contrast and brightness of the whole
        image = 128 + (image - 128) * rng.uniform(0.8, 1.25) + rng.uniform(-18, 18)
    if rng.random() < 0.12 * strength:  # a section that did not stain
        z = rng.integers(nz)
        image[z] = 140 + 0.5 * (image[z] - 140) + rng.uniform(-20, 30)
    if rng.random() < 0.06 * strength:  # a section that is missing
        image[rng.integers(nz)] = rng.choice([0.0, 128.0])
    if rng.random() < 0.06 * strength:  # a section that slipped
        z = rng.integers(nz)
        image[z] = np.roll(image[z], rng.integers(-2, 3, 2), (0, 1))
    if rng.random() < 0.08 * strength:  # out of focus
        z = rng.integers(nz)
        image[z] = (image[z] + np.roll(image[z], 1, 0) + np.roll(image[z], 1, 1) +
                    np.roll(image[z], -1, 0) + np.roll(image[z], -1, 1)) / 5
    if rng.random() < 0.25 * strength:  # more noise
        image += rng.normal(0, rng.uniform(2, 10), image.shape).astype(np.float32)
    return np.clip(image, 0, 255)


def reachable(mask, at):
    """The part of a mask (z, y, x) that is 6-connected with voxel `at` inside it. A
    network sees only the patch: what comes back into it from outside is not to be
    guessed."""
    out = np.zeros_like(mask)
    out[at] = True
    count = 0
    while True:
        for _ in range(4):
            for axis in range(3):
                a = [slice(None)] * 3
                b = [slice(None)] * 3
                a[axis], b[axis] = slice(1, None), slice(None, -1)
                a, b = tuple(a), tuple(b)
                out[a] |= out[b]
                out[b] |= out[a]
                out &= mask
        now = np.count_nonzero(out)
        if now == count:
            return out
        count = now


def cut_examples(vol, spec, rng):
    """[(image u8, mask bool, coverage)] from one random box of a volume."""
    side = [max(spec.box, p + 16) for p in spec.patch[::-1]]
    span = [max(1, s - b) for s, b in zip(vol.size, side)]
    lo = [int(rng.integers(s)) for s in span]
    hi = [min(a + b, s) for a, b, s in zip(lo, side, vol.size)]
    image, labels = vol.image(lo, hi), vol.labels(lo, hi)
    out = []
    for c in balanced_centres(labels, spec, rng, spec.per_box):
        sl = tuple(slice(x - p // 2, x - p // 2 + p) for x, p in zip(c, spec.patch))
        patch = image[sl]
        mask = reachable(labels[sl] == labels[tuple(c)],
                         tuple(p // 2 for p in spec.patch))
        patch = imitate_defects(patch, rng, spec.augment)
        for axis in range(3):
            if spec.symmetric[axis] and rng.random() < 0.5:
                patch, mask = np.flip(patch, axis), np.flip(mask, axis)
        if spec.swap:
            order = rng.permutation(3)
            patch, mask = patch.transpose(order), mask.transpose(order)
        out.append((np.ascontiguousarray(np.rint(patch).astype(np.uint8)),
                    np.ascontiguousarray(mask)))
    return out


def group_examples(spec, g):
    """Examples of group g, in their order."""
    rng = np.random.default_rng([spec.seed, g])
    out = []
    for _ in range(spec.group):
        src = spec.sources[rng.integers(len(spec.sources))]
        out += cut_examples(open_source(src, rng), spec, rng)
    rng.shuffle(out)
    return out


class Stream:
    """Examples in order, from (group, index) on; `at` is where the next one is."""

    def __init__(self, spec, at=(0, 0)):
        self.spec, self.at = spec, tuple(at)
        self._queue = queue.Queue(2)
        self._group = None
        self._stop = False
        self._thread = threading.Thread(target=self._work, args=(at[0],), daemon=True)
        self._thread.start()

    def _work(self, g):
        while not self._stop:
            try:
                item = group_examples(self.spec, g)
            except Exception as e:  # handed to the consumer, which raises it
                item = e
            while not self._stop:
                try:
                    self._queue.put(item, timeout=0.5)
                    break
                except queue.Full:
                    continue
            if isinstance(item, Exception):
                return
            g += 1

    def take(self):
        """The next example."""
        while self._group is None or self.at[1] >= len(self._group):
            if self._group is not None:
                self.at = (self.at[0] + 1, 0)
            self._group = self._queue.get()
            if isinstance(self._group, Exception):
                raise self._group
        out = self._group[self.at[1]]
        self.at = (self.at[0], self.at[1] + 1)
        return out

    def close(self):
        self._stop = True
        self._thread.join()
