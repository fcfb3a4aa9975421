# SPDX-License-Identifier: Apache-2.0
"""What the HTTP tests share: TAP, a daemon on a free port, requests byte by byte, a small
hand-made precomputed tree, and a tiny network. Standard library only.

    with Server() as s:
        r = s.get("/em/info")
        is_("a status", r.status, 200)
    done()

No test sleeps to be on the safe side: wait_for() polls a state with a deadline.
"""
import array
import datetime
import gzip
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.path.abspath(os.environ.get("builddir") or os.getcwd())
SOURCE = os.path.abspath(os.environ.get("srcdir") or
                         os.path.join(os.path.dirname(__file__), "..", ".."))
DAEMON = os.environ.get("FLOODGATED") or os.path.join(BUILD, "floodgated")
# Sanitizers and busy machines are slow; a deadline is for a test that hangs.
PATIENCE = 120
# Only read by a daemon that was built with the thread sanitizer.
os.environ["TSAN_OPTIONS"] = ":".join(filter(None, (
    os.environ.get("TSAN_OPTIONS"), f"suppressions={SOURCE}/tests/tsan.supp")))

# ------------------------------------------------------------------ TAP

count = failed = 0


def ok(text, good):
    global count, failed
    count += 1
    failed += not good
    print(f"{'' if good else 'not '}ok {count} - {text}", flush=True)
    if not good:
        where = traceback.extract_stack()[-2]
        print(f"# line {where.lineno}: {where.line}", flush=True)
    return bool(good)


def is_(text, got, wanted):
    good = ok(text, got == wanted)
    if not good:
        print(f"# got {str(got)[:600]!r}, wanted {str(wanted)[:600]!r}", flush=True)
    return good


def has(text, got, part):
    good = ok(text, part in got)
    if not good:
        print(f"# {part!r} is not in {got[:600]!r}", flush=True)
    return good


def done():
    print(f"1..{count}")
    sys.exit(1 if failed else 0)


def missing(what):
    if os.environ.get("CI"):
        print(f"Bail out! missing in CI: {what}")
        sys.exit(1)
    print(f"1..0 # SKIP {what}")
    print(f"SKIPPED: {what}", file=sys.stderr)
    sys.exit(0)


def wait_for(what, probe, patience=PATIENCE):
    """The first true value of probe(), asked again and again until the deadline."""
    end = time.monotonic() + patience
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > end:
            print(f"Bail out! waited {patience} s for: {what}", flush=True)
            sys.exit(1)
        time.sleep(0.005)


# ------------------------------------------------------------------ daemon


class Reply:
    def __init__(self, r):
        self.status = r.status
        self.headers = r.headers
        self.body = r.read()
        names = [n.lower() for n in self.headers]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:  # never right in what is served here
            is_("no header is there twice", twice, [])

    def __getitem__(self, name):
        return self.headers.get(name)

    def json(self):
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Server:
    """A daemon in a new data directory; options are those of its command line."""

    def __init__(self, *options, root=None, env=None, start=True):
        self.own = tempfile.TemporaryDirectory(prefix="fg-http-") if root is None else None
        self.root = root or os.path.join(self.own.name, "root")
        self.options = options
        self.env = env or {}
        self.before = []  # words before the daemon's name: a program that starts it
        self.process = None
        self.exit = None
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.stop(hard=True)
        if self.own:
            self.own.cleanup()

    def start(self, *more):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*self.before, DAEMON, "--root", self.root, "--create", "--listen", "127.0.0.1:0",
             *self.options, *more],
            stdout=subprocess.PIPE, stderr=self.log, env={**os.environ, **self.env})
        self.ready = self.process.stdout.readline().decode()
        if not self.ready:
            print(f"Bail out! no daemon: {self.errors()}")
            sys.exit(1)
        self.url = self.ready.split()[4].rstrip("/")
        self.port = int(self.url.rsplit(":", 1)[1])
        self.control = os.path.join(self.root, "control.sock")

    def errors(self):
        """What the daemon has logged. The daemon writes through the same open file, so the
        file's position is its own: nothing here may move it."""
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), size, 0).decode(errors="replace")

    def is_instrumented(self):
        """Whether a sanitizer is at work: slower, with more memory."""
        with open(f"/proc/{self.process.pid}/maps", encoding="utf-8") as f:
            maps = f.read()
        return "libtsan" in maps or "libasan" in maps

    def stop(self, hard=False, sig=signal.SIGTERM):
        """End the daemon; its exit status. hard: kill -9; sig 0: it was told already."""
        if hard:
            self.process.kill()
        elif sig:
            self.process.send_signal(sig)
        self.exit = self.process.wait(PATIENCE)
        self.process.stdout.close()
        errors = self.errors()
        if "Sanitizer" in errors or "assertion" in errors:
            print("# " + errors.replace("\n", "\n# "))
        return self.exit

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def request(self, method, path, body=None, headers=None, over=None):
        c = over or self.connect()
        c.request(method, path, body, headers or {})
        r = Reply(c.getresponse())
        if over is None:
            c.close()
        return r

    def get(self, path, **headers):
        """GET; underscores in header names are hyphens."""
        return self.request("GET", path,
                            headers={k.replace("_", "-"): v for k, v in headers.items()})

    def call(self, method, path, body=None):
        """The API over the control socket."""
        c = UnixConnection(self.control)
        r = self.request(method, path, json.dumps(body) if body is not None else None,
                         over=c)
        c.close()
        return r

    def socket(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def raw(self, data):
        """Everything the server sends for these bytes until it closes, or until it has
        been silent for a while after it sent something."""
        with self.socket() as s:
            s.sendall(data if isinstance(data, bytes) else data.encode())
            out = b""
            try:
                while True:
                    got = s.recv(65536)
                    if not got:
                        return out
                    out += got
                    s.settimeout(0.3)
            except (TimeoutError, ConnectionResetError):
                return out

    def metrics(self):
        """{'name{labels}': number}"""
        lines = self.get("/metrics").body.decode().splitlines()
        return {k: float(v) for k, v in
                (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def add_layer(self, name, source):
        r = self.call("POST", "/api/layers", {"name": name, "source": source})
        if r.status != 201:
            print(f"Bail out! layer {name}: {r.status} {r.body!r}")
            sys.exit(1)
        return r.json()


# ------------------------------------------------------------------ certificates


def certificate(folder, name, days=30, host="localhost"):
    """folder/name.crt and .key: a certificate for that host that has signed itself."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        missing("Python package cryptography")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256()))
    write(os.path.join(folder, name + ".crt"), cert.public_bytes(serialization.Encoding.PEM))
    write(os.path.join(folder, name + ".key"), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))


# ------------------------------------------------------------------ volumes


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


class Volume:
    """A uint8 image of cells between dark walls, by default 100 x 80 x 72 voxels at
    (8, 0, -16), chunks of 64, as a precomputed directory with one scale. dark(x, y, z)
    says where the walls are."""

    def __init__(self, path, size=(100, 80, 72), offset=(8, 0, -16), chunk=(64, 64, 64),
                 zipped=False, absent=(),
                 dark=lambda x, y, z: x % 20 < 3 or y % 20 < 3 or z % 24 < 3):
        self.path, self.size, self.offset, self.chunk = path, size, offset, chunk
        nx, ny, nz = size
        self.data = bytearray(nx * ny * nz)
        i = 0
        for z in range(nz):
            for y in range(ny):
                for x in range(nx):
                    self.data[i] = (40 if dark(x, y, z) else 200) + (
                        x * 7 + y * 3 + z) % 11
                    i += 1
        self.info = {
            "@type": "neuroglancer_multiscale_volume", "type": "image",
            "data_type": "uint8", "num_channels": 1,
            "scales": [{"key": "8_8_8", "size": list(size), "voxel_offset": list(offset),
                        "resolution": [8, 8, 8], "chunk_sizes": [list(chunk)],
                        "encoding": "raw"}]}
        write(os.path.join(path, "info"), json.dumps(self.info))
        for name, box in self.boxes():
            if name in absent:
                continue
            file = os.path.join(path, "8_8_8", name)
            if zipped:
                write(file + ".gz", gzip.compress(self.cut(box), mtime=0))
            else:
                write(file, self.cut(box))

    def boxes(self):
        """(chunk name, ((x0, x1), (y0, y1), (z0, z1)) from the volume's corner)"""
        cuts = []
        for d in range(3):
            n, c = self.size[d], self.chunk[d]
            cuts.append([(a, min(a + c, n)) for a in range(0, n, c)])
        for z in cuts[2]:
            for y in cuts[1]:
                for x in cuts[0]:
                    name = "_".join(f"{a + o}-{b + o}" for (a, b), o in
                                    zip((x, y, z), self.offset))
                    yield name, (x, y, z)

    def cut(self, box):
        (x0, x1), (y0, y1), (z0, z1) = box
        nx, ny, _ = self.size
        out = bytearray()
        for z in range(z0, z1):
            for y in range(y0, y1):
                at = nx * (y + ny * z)
                out += self.data[at + x0:at + x1]
        return bytes(out)


def morton(p, size, chunk):
    """The compressed code of a grid position."""
    grid = [-(-n // c) for n, c in zip(size, chunk)]
    code = bit = 0
    for i in range(20):
        for d in range(3):
            if 1 << i < grid[d]:
                code |= (p[d] >> i & 1) << bit
                bit += 1
    return code


def write_shards(folder, sharding, data, more=0):
    """data: {key: bytes}. Hash identity; indices before the data, with gaps between, and
    more of them if wanted."""
    pre, mini, shard = (sharding[k] for k in
                        ("preshift_bits", "minishard_bits", "shard_bits"))
    files = {}
    for key in sorted(data):
        h = key >> pre
        files.setdefault(h >> mini & (1 << shard) - 1, {}).setdefault(
            h & (1 << mini) - 1, []).append(key)
    for number, minishards in files.items():
        blobs = {k: gzip.compress(data[k], mtime=0)
                 if sharding["data_encoding"] == "gzip" else data[k]
                 for keys in minishards.values() for k in keys}
        room = sum(24 * len(keys) for keys in minishards.values()) + 3
        body, indices, head = b"", b"", bytearray(16 << mini)
        for m, keys in sorted(minishards.items()):
            rows, last, end = [[], [], []], 0, 0
            for k in keys:
                body += b"-" * (k % 3 + more)
                rows[0].append(k - last)
                rows[1].append(room + len(body) - end)
                rows[2].append(len(blobs[k]))
                body += blobs[k]
                last, end = k, room + len(body)
            index = struct.pack(f"<{3 * len(keys)}Q", *sum(rows, []))
            struct.pack_into("<2Q", head, 16 * m, len(indices),
                             len(indices) + len(index))
            indices += index
        name = f"{number:0{max(1, -(-shard // 4))}x}.shard"
        write(os.path.join(folder, name),
              bytes(head) + indices.ljust(room, b"-") + body)


# ------------------------------------------------------------------ a tiny network

CRC_TABLE = []
for _n in range(256):
    for _ in range(8):
        _n = _n >> 1 ^ (0x82F63B78 if _n & 1 else 0)
    CRC_TABLE.append(_n)


def masked_crc32c(data):
    c = 0xFFFFFFFF
    for b in data:
        c = CRC_TABLE[(c ^ b) & 255] ^ c >> 8
    c ^= 0xFFFFFFFF
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def block(entries):
    """A table block without prefix compression; its trailer included."""
    out, restarts = b"", []
    for key, value in entries:
        restarts.append(len(out))
        out += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    restarts = restarts or [0]
    out += b"".join(struct.pack("<I", r) for r in restarts)
    out += struct.pack("<I", len(restarts)) + b"\0"
    return out + struct.pack("<I", masked_crc32c(out))


def write_checkpoint(prefix, tensors):
    """tensors: {name: (shape, floats)} -> prefix.index, prefix.data-00000-of-00001"""
    data = b""
    entries = [(b"", b"\x08\x01\x1a\x02\x08\x01")]  # one shard, version 1
    for name in sorted(tensors):
        shape, values = tensors[name]
        raw = array.array("f", values).tobytes()
        dims = b"".join(b"\x12" + varint(len(d)) + d
                        for d in (b"\x08" + varint(n) for n in shape))
        entries.append((name.encode(), b"\x08\x01" + b"\x12" + varint(len(dims)) + dims +
                        (b"\x20" + varint(len(data)) if data else b"") +
                        b"\x28" + varint(len(raw)) +
                        b"\x35" + struct.pack("<I", masked_crc32c(raw))))
        data += raw
    body = block(entries)
    handle = varint(0) + varint(len(body) - 5)
    meta = block([])
    meta_handle = varint(len(body)) + varint(len(meta) - 5)
    index = block([(entries[-1][0], handle)])
    index_handle = varint(len(body) + len(meta)) + varint(len(index) - 5)
    footer = (meta_handle + index_handle).ljust(40, b"\0")
    footer += struct.pack("<Q", 0xDB4775248B80FB57)
    write(prefix + ".index", body + meta + index + footer)
    write(prefix + ".data-00000-of-00001", data)


def write_tiny_model(prefix, features=2, depth=2, gain=5.0, bias=-5.0):
    """A network that says "inside" to bright voxels and "outside" to dark ones: feature 0
    is the rectified image, everything else is zero. The last layer adds gain f + bias."""
    tensors = {}
    for i in range(depth):
        for part in "ab":
            cin = 2 if (i, part) == (0, "a") else features
            w = [0.0] * (27 * cin * features)
            if i == 0:  # centre tap, channel 0 (image, then feature 0) to feature 0
                w[13 * cin * features] = 1.0
            tensors[f"seed_update/conv{i}_{part}/weights"] = ((3, 3, 3, cin, features), w)
            tensors[f"seed_update/conv{i}_{part}/biases"] = ((features,), [0.0] * features)
    tensors["seed_update/conv_lom/weights"] = (
        (1, 1, 1, features, 1), [gain] + [0.0] * (features - 1))
    tensors["seed_update/conv_lom/biases"] = ((1,), [bias])
    write_checkpoint(prefix, tensors)


def tiny_ffn(prefix, **more):
    """The "ffn" part of a layer made by write_tiny_model on a small image."""
    return {"image": "em", "model": prefix, "fov": [9, 9, 9], "delta": [2, 2, 2],
            "mean": 128, "stddev": 33, "precision": "f32", "block": [64, 64, 64],
            "halo": [4, 4, 4], "chunk": [32, 32, 32], "min_segment_size": 10, **more}


def add_cells(s, size, offset, block):
    """Layers "em", cells of 24 voxels between dark walls, and "seg", to be made on it by the
    tiny network in blocks of that edge, which the walls do not end at."""
    top = os.path.dirname(s.root)
    Volume(os.path.join(top, "em"), size, offset, dark=lambda *v: any(
        (a + 15) % 24 < 7 for a in v))
    write_tiny_model(os.path.join(top, "net"))
    s.add_layer("em", os.path.join(top, "em"))
    is_("a layer", s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        os.path.join(top, "net"), encoding="raw", block=[block] * 3, chunk=[24] * 3,
        halo=[16] * 3)}).status, 201)
