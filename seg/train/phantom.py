# SPDX-License-Identifier: Apache-2.0
"""The phantom specimen (store/phantom.h) for Python.

The C sources are compiled into a small shared library on first use and loaded with
ctypes; nothing of floodgate has to be built or installed before. The library is kept
in a cache folder under the checksum of its sources.
"""

import ctypes
import hashlib
import os
import pathlib
import shlex
import subprocess
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = [
    "store/phantom.c", "store/phantom_geom.c", "store/phantom_tree.c",
    "store/phantom_look.c", "base/array.c", "base/base.c", "base/err.c",
]
FLAGS = ["-std=gnu17", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-D_GNU_SOURCE"]


class _Array(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int), ("shape", ctypes.c_int64 * 4),
                ("data", ctypes.c_void_p)]


class _Err(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("msg", ctypes.c_char * 480)]


class _Box(ctypes.Structure):
    _fields_ = [("lo", ctypes.c_int64 * 3), ("hi", ctypes.c_int64 * 3)]


class _Phantom(ctypes.Structure):
    _fields_ = [("seed", ctypes.c_uint64), ("size", ctypes.c_int64 * 3),
                ("nm", ctypes.c_int64 * 3)] + [
                    (k, ctypes.c_int64) for k in
                    ("calibre", "gap", "noise", "jitter", "drift", "defects",
                     "organelles", "somata")]


_U8, _U64 = 0, 6


def _build():
    """Path of the compiled library, made if it is not there yet."""
    digest = hashlib.sha256()
    for name in sorted(SOURCES + [str(p.relative_to(ROOT)) for p in
                                  (ROOT / "store").glob("phantom*.h")]):
        digest.update((ROOT / name).read_bytes())
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or
                         pathlib.Path.home() / ".cache") / "floodgate"
    lib = cache / f"phantom-{digest.hexdigest()[:16]}.so"
    if lib.exists():
        return lib
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as tmp:
        (pathlib.Path(tmp) / "config.h").write_text("")
        out = pathlib.Path(tmp) / "phantom.so"
        subprocess.run([*shlex.split(os.environ.get("CC", "cc")), *FLAGS, f"-I{tmp}", f"-I{ROOT}",
                        *(str(ROOT / s) for s in SOURCES), "-lm", "-o", str(out)],
                       check=True)
        os.replace(out, lib)
    return lib


_lib = None


class Phantom:
    """One specimen: Phantom("seed=3,nm=8x8x8"). Boxes are (lo, hi) in x, y, z."""

    def __init__(self, text):
        global _lib
        if _lib is None:
            _lib = ctypes.CDLL(str(_build()))
        self.text = text
        self._p = _Phantom()
        err = _Err()
        _lib.fg_phantom_default(ctypes.byref(self._p))
        if _lib.fg_phantom_parse(text.encode(), ctypes.byref(self._p),
                                 ctypes.byref(err)) < 0:
            raise ValueError(err.msg.decode())
        self.nm = list(self._p.nm)
        self.size = list(self._p.size)

    def _read(self, fn, code, dtype, lo, hi):
        shape = [int(b) - int(a) for a, b in zip(lo, hi)]
        out = np.empty(shape[::-1], dtype)
        arr = _Array(code, (ctypes.c_int64 * 4)(*shape, 1), out.ctypes.data)
        box = _Box((ctypes.c_int64 * 3)(*map(int, lo)),
                   (ctypes.c_int64 * 3)(*map(int, hi)))
        err = _Err()
        if fn(ctypes.byref(self._p), 0, ctypes.byref(box), ctypes.byref(arr),
              ctypes.byref(err)) < 0:
            raise ValueError(err.msg.decode())
        return out

    def image(self, lo, hi):
        """uint8, indexed z, y, x."""
        return self._read(_lib.fg_phantom_image, _U8, np.uint8, lo, hi)

    def labels(self, lo, hi):
        """uint64, indexed z, y, x."""
        return self._read(_lib.fg_phantom_labels, _U64, np.uint64, lo, hi)
