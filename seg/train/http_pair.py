# SPDX-License-Identifier: Apache-2.0
"""A pair of layers (image, labels) of a floodgate or other precomputed server."""

import functools
import io
import json
import urllib.request

import numpy as np


class Layer:
    """Scale 0 of a precomputed layer at http(s)://.../NAME, encodings raw, png, jpeg
    (the last two need Pillow)."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        info = json.loads(self._get("info"))
        s = info["scales"][0]
        self.dtype = np.dtype(info["data_type"]).newbyteorder("<")
        self.key, self.encoding = s["key"], s["encoding"]
        self.size, self.chunk = s["size"], s["chunk_sizes"][0]
        self.offset = s.get("voxel_offset", [0, 0, 0])
        self.nm = s["resolution"]
        if info["num_channels"] != 1:
            raise ValueError(f"{url}: {info['num_channels']} channels, wanted 1")
        if self.encoding not in ("raw", "png", "jpeg"):
            raise ValueError(f"{url}: encoding {self.encoding} cannot be read here; "
                             "make the layer with encoding raw")
        self._chunk = functools.lru_cache(256)(self._fetch)

    def _get(self, name):
        # Chunks that are made on demand may take their time.
        with urllib.request.urlopen(f"{self.url}/{name}", timeout=600) as r:
            return r.read()

    def _fetch(self, cell):
        lo = [c * k for c, k in zip(cell, self.chunk)]
        hi = [min(a + k, s) for a, k, s in zip(lo, self.chunk, self.size)]
        name = "_".join(f"{a + o}-{b + o}" for a, b, o in zip(lo, hi, self.offset))
        data = self._get(f"{self.key}/{name}?wait=600")
        shape = [b - a for a, b in zip(lo, hi)][::-1]
        if self.encoding == "raw":
            return np.frombuffer(data, self.dtype).reshape(shape)
        from PIL import Image
        return np.asarray(Image.open(io.BytesIO(data))).reshape(shape)

    def read(self, lo, hi):
        """Voxels lo <= p < hi (x, y, z, from the layer's corner), as z, y, x."""
        out = np.empty([b - a for a, b in zip(lo, hi)][::-1], self.dtype)
        first = [a // k for a, k in zip(lo, self.chunk)]
        last = [-(-b // k) for b, k in zip(hi, self.chunk)]
        for cz in range(first[2], last[2]):
            for cy in range(first[1], last[1]):
                for cx in range(first[0], last[0]):
                    cell = (cx, cy, cz)
                    c = self._chunk(cell)
                    base = [g * k for g, k in zip(cell, self.chunk)]
                    a = [max(p, q) for p, q in zip(lo, base)]
                    b = [min(p, q + n) for p, q, n in zip(hi, base, c.shape[::-1])]
                    dst = tuple(slice(p - q, r - q) for p, r, q in zip(a, b, lo))[::-1]
                    src = tuple(slice(p - q, r - q)
                                for p, r, q in zip(a, b, base))[::-1]
                    out[dst] = c[src]
        return out


class HttpPair:
    """The interface of phantom.Phantom over two layers of one shape."""

    def __init__(self, image_url, labels_url):
        self._image, self._labels = Layer(image_url), Layer(labels_url)
        if self._image.size != self._labels.size:
            raise ValueError(f"{image_url} has {self._image.size} voxels, "
                             f"{labels_url} has {self._labels.size}")
        self.size, self.nm = self._image.size, self._image.nm

    def image(self, lo, hi):
        return self._image.read(lo, hi)

    def labels(self, lo, hi):
        return self._labels.read(lo, hi)
