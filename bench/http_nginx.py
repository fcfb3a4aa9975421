#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests a second and latency of floodgated beside nginx that serves the same files.

    bench/http_nginx.py BUILD [--runs N] [--seconds S] [--rows N] [--only WORD] [--saturate]

BUILD holds floodgate and floodgated. Both servers get one processor (the first), wrk the
others, and they take turns within a run, so that what else happens on the machine hits
both. For each case: the median rate of either and their ratio, processor time a request
(the server's own, which other programs hardly change) and its ratio, p50 and p99.

  small   info files of 500 bytes         32k, 256k   chunks of these sizes, 512 and 64 of them
  shard   ranges of 32 KB of one file     rows        chunks found in an index of a million
                                                      rows, no cache (nginx: files of that size)

--saturate: p99 of cached chunks while a bulk job keeps all processors busy, instead.
Needs wrk and nginx. Everything is made in a temporary folder and removed.
"""
import argparse
import json
import os
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests", "http"))

TICK = os.sysconf("SC_CLK_TCK")
NGINX = """
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/nginx.err;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  {cache}
  server {{ listen 127.0.0.1:{port} backlog=1024; root {root}; }}
}}
"""
OPEN_FILES = "open_file_cache max=4096 inactive=1h; open_file_cache_valid 1h;"
LUA = """
local paths = {{}}
for line in io.lines("{list}") do paths[#paths + 1] = line end
local n, size, part, i = #paths, {size}, {part}, 0
local ready = {{}}
function init(args)
  for k = 1, math.max(n, 4096) do
    if part > 0 then
      local a = math.random(0, math.floor((size - part) / 4096)) * 4096
      wrk.headers["Range"] = "bytes=" .. a .. "-" .. (a + part - 1)
    end
    ready[k] = wrk.format("GET", paths[(k - 1) % n + 1])
  end
end
function request()
  i = i % #ready + 1
  return ready[i]
end
function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), bad))
end
"""


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def volume(root, name, count, chunk, seed=1):
    """count chunks of chunk voxels (uint8) in a row along x."""
    nx = chunk[0] * count
    info = {"@type": "neuroglancer_multiscale_volume", "type": "image", "data_type": "uint8",
            "num_channels": 1, "scales": [{
                "key": "8_8_8", "size": [nx, chunk[1], chunk[2]], "voxel_offset": [0, 0, 0],
                "resolution": [8, 8, 8], "chunk_sizes": [list(chunk)], "encoding": "raw"}]}
    write(f"{root}/{name}/info", json.dumps(info).encode())
    size = chunk[0] * chunk[1] * chunk[2]
    noise = os.urandom(size)
    paths = []
    for i in range(count):
        file = f"{name}/8_8_8/{i * chunk[0]}-{(i + 1) * chunk[0]}_0-{chunk[1]}_0-{chunk[2]}"
        write(f"{root}/{file}", noise)
        paths.append("/" + file)
    return paths, size


def morton(p):
    out = 0
    for bit in range(21):
        for d in range(3):
            out |= (p[d] >> bit & 1) << (3 * bit + d)
    return out


class Daemon:
    """floodgated or nginx on a port, pinned to processor 0."""

    def __init__(self, command, port=None, pin=True):
        self.p = subprocess.Popen((["taskset", "-c", "0"] if pin else []) + command,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if port is None:
            line = self.p.stdout.readline()
            port = int(re.search(r"ready at http://127\.0\.0\.1:(\d+)/", line).group(1))
        else:
            time.sleep(0.5)
        self.port = port

    def pids(self):
        out = subprocess.run(["pgrep", "-P", str(self.p.pid)], capture_output=True,
                             text=True).stdout
        return [self.p.pid, *map(int, out.split())]

    def cpu(self):
        """Seconds of user and system time, children too."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.wait(60)


def load(server, script, seconds, connections=64, threads=1):
    """(requests/s, CPU us a request, p50 ms, p99 ms)"""
    before = server.cpu()
    p = subprocess.run(
        ["taskset", "-c", f"1-{os.cpu_count() - 1}", "wrk", "-t", str(threads), "-c",
         str(connections), "-d", f"{seconds}s", "-s", script, "--latency",
         f"http://127.0.0.1:{server.port}/"], capture_output=True, text=True)
    cpu = server.cpu() - before
    result = re.search(r"RESULT (.*)", p.stdout)
    if not result:
        sys.exit(f"wrk: {p.stdout}{p.stderr}")
    n, us, p50, p99, bad = map(int, result.group(1).split())
    if bad:
        sys.exit(f"{bad} requests failed:\n{p.stdout}")
    return n * 1e6 / us, cpu * 1e6 / n, p50 / 1e3, p99 / 1e3


def control(root, method, path, body=None):
    from lib import UnixConnection
    c = UnixConnection(os.path.join(root, "control.sock"))
    c.request(method, path, json.dumps(body) if body is not None else None)
    r = c.getresponse()
    data = r.read()
    if r.status >= 300:
        sys.exit(f"{method} {path}: {r.status} {data!r}")
    return json.loads(data)


def make_rows(args, dir, root):
    """A generated layer with one block made, whose rows are then multiplied: a million
    chunks that are found by the index and read from a slab."""
    from lib import tiny_ffn, write_tiny_model
    write_tiny_model(f"{dir}/tiny")
    side = round(args.rows ** (1 / 3))
    d = Daemon([f"{args.build}/floodgated", "--root", root, "--create", "--listen",
                "127.0.0.1:0"], pin=False)
    control(root, "POST", "/api/layers", {
        "name": "big", "source": f"phantom:size={side * 32}"})
    control(root, "POST", "/api/layers", {
        "name": "rows", "ffn": tiny_ffn(f"{dir}/tiny", image="big")})
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", d.port, timeout=700)
    key = control(root, "GET", "/rows/info")["scales"][0]["key"]
    c.request("GET", f"/rows/{key}/0-32_0-32_0-32?wait=600")
    r = c.getresponse()
    size = len(r.read())
    if r.status != 200:
        sys.exit(f"the first chunk: {r.status}")
    layer = control(root, "GET", "/api/layers/rows")["id"]
    d.stop()
    db = sqlite3.connect(f"{root}/index.sqlite")
    place = db.execute("SELECT state, enc, slab, off, len, crc, run FROM chunks WHERE layer = ?"
                       " AND scale = 0 AND at = 0", (layer,)).fetchone()
    db.executemany(
        "INSERT OR REPLACE INTO chunks (layer, scale, at, state, enc, slab, off, len, crc, run)"
        " VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((layer, morton((x, y, z)), *place) for x in range(side) for y in range(side)
         for z in range(side)))
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows = db.execute("SELECT count(*) FROM chunks").fetchone()[0]
    db.close()
    import random
    pick = random.Random(1)
    paths = []
    for _ in range(20000):
        x, y, z = (pick.randrange(side) * 32 for _ in range(3))
        paths.append(f"/rows/{key}/{x}-{x + 32}_{y}-{y + 32}_{z}-{z + 32}")
    return paths, size, rows


def script(dir, name, paths, size=0, part=0):
    write(f"{dir}/{name}.list", "\n".join(paths).encode())
    write(f"{dir}/{name}.lua", LUA.format(list=f"{dir}/{name}.list", size=size,
                                          part=part).encode())
    return f"{dir}/{name}.lua"


def compare(args, dir):
    files = f"{dir}/files"
    root = f"{dir}/root"
    c32, _ = volume(files, "c32", 512, (32, 32, 32))
    c256, _ = volume(files, "c256", 64, (64, 64, 64))
    write(f"{files}/shards/info", json.dumps({
        "@type": "neuroglancer_multiscale_volume", "type": "image", "data_type": "uint8",
        "num_channels": 1, "scales": [{
            "key": "8_8_8", "size": [2048, 2048, 2048], "voxel_offset": [0, 0, 0],
            "resolution": [8, 8, 8], "chunk_sizes": [[64, 64, 64]], "encoding": "raw",
            "sharding": {"@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 9,
                         "hash": "identity", "minishard_bits": 0, "shard_bits": 6}}]}).encode())
    shard = 256 << 20
    os.makedirs(f"{files}/shards/8_8_8")
    with open(f"{files}/shards/8_8_8/00.shard", "wb") as f:
        for _ in range(shard >> 20):
            f.write(os.urandom(1 << 20))
    cases = [("small", script(dir, "small", ["/c32/info"]), None),
             ("32k", script(dir, "32k", c32), None),
             ("256k", script(dir, "256k", c256), None),
             ("shard", script(dir, "shard", ["/shards/8_8_8/00.shard"], shard, 32768), None)]
    if not args.only or args.only == "rows":
        paths, size, rows = make_rows(args, dir, root)
        print(f"# rows: {rows} rows in the index, chunks of {size} bytes")
        few, _ = volume(files, "few", 512, (size, 1, 1))
        cases.append(("rows", script(dir, "rows", paths), script(dir, "few", few)))
    ours = Daemon([f"{args.build}/floodgated", "--root", root, "--create", "--listen",
                   "127.0.0.1:0", "--connections", "960"])
    for name in ("c32", "c256", "shards"):
        control(root, "POST", "/api/layers", {"name": name, "source": f"{files}/{name}"})
    servers = {}
    for name, cache in (("nginx", ""), ("nginx+cache", OPEN_FILES)):
        port = 18081 + len(servers) + os.getpid() % 1000
        os.makedirs(f"{dir}/{name}", exist_ok=True)
        write(f"{dir}/{name}/conf", NGINX.format(dir=f"{dir}/{name}", port=port, root=files,
                                                 cache=cache).encode())
        servers[name] = Daemon(["nginx", "-c", f"{dir}/{name}/conf", "-p", f"{dir}/{name}"],
                               port=port)
    print(f"# {args.runs} runs of {args.seconds} s, one server processor, wrk 1 thread, 64 "
          "connections; medians (least-most)")
    print("| case | floodgated req/s | nginx req/s | ratio | with open-file cache | "
          "us/req: floodgated | nginx | +cache | nginx us / ours | p50, p99 ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, lua, nginx_lua in cases:
        if args.only and args.only != name:
            continue
        got = {"floodgated": [], "nginx": [], "nginx+cache": []}
        load(ours, lua, 1)
        for _ in range(args.runs):
            got["floodgated"].append(load(ours, lua, args.seconds))
            for other, server in servers.items():
                got[other].append(load(server, nginx_lua or lua, args.seconds))
        med = {k: [statistics.median(x[i] for x in v) for i in range(4)]
               for k, v in got.items()}
        spread = {k: (min(x[0] for x in v), max(x[0] for x in v)) for k, v in got.items()}

        def ratio(other, i):
            a = [x[i] / y[i] for x, y in zip(got["floodgated"], got[other])]
            return statistics.median(a)
        print(f"| {name} | {med['floodgated'][0]:.0f} "
              f"({spread['floodgated'][0]:.0f}-{spread['floodgated'][1]:.0f}) | "
              f"{med['nginx'][0]:.0f} ({spread['nginx'][0]:.0f}-{spread['nginx'][1]:.0f}) | "
              f"{ratio('nginx', 0):.2f} | {ratio('nginx+cache', 0):.2f} | "
              f"{med['floodgated'][1]:.1f} | {med['nginx'][1]:.1f} | "
              f"{med['nginx+cache'][1]:.1f} | {1 / ratio('nginx', 1):.2f} | "
              f"{med['floodgated'][2]:.2f}, {med['floodgated'][3]:.2f} |", flush=True)
    ours.stop()
    for server in servers.values():
        server.stop()


def saturate(args, dir):
    """Latency of cached chunks while a job has all processors."""
    from lib import tiny_ffn, write_tiny_model
    files, root = f"{dir}/files", f"{dir}/root"
    c32, _ = volume(files, "c32", 512, (32, 32, 32))
    write_tiny_model(f"{dir}/tiny")
    d = Daemon([f"{args.build}/floodgated", "--root", root, "--create", "--listen",
                "127.0.0.1:0"], pin=False)
    control(root, "POST", "/api/layers", {"name": "c32", "source": f"{files}/c32"})
    control(root, "POST", "/api/layers", {"name": "big",
                                          "source": "phantom:size=1024"})
    control(root, "POST", "/api/layers", {
        "name": "seg", "ffn": tiny_ffn(f"{dir}/tiny", image="big")})
    lua = script(dir, "32k", c32)
    print("# one connection asks for chunks of 32 KB in memory, "
          f"{args.runs} runs of {args.seconds} s; ms")
    for what in ("idle", "with a job"):
        job = None
        if what != "idle":
            job = control(root, "POST", "/api/jobs", {"layer": "seg", "stages": ["segment"]})
            time.sleep(2)
        rows = []
        for _ in range(args.runs):
            before = d.cpu()
            rate, _, p50, p99 = load(d, lua, args.seconds, connections=4)
            rows.append((rate, p50, p99, (d.cpu() - before) / args.seconds))
        med = [statistics.median(r[i] for r in rows) for i in range(4)]
        print(f"{what:12} {med[0]:8.0f} req/s  p50 {med[1]:.2f}  p99 {med[2]:.2f} "
              f"(most {max(r[2] for r in rows):.2f})  daemon used {med[3]:.2f} processors",
              flush=True)
        if job:
            control(root, "DELETE", job["url"])
    d.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--only")
    parser.add_argument("--saturate", action="store_true")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    for program in ("wrk", "nginx", "taskset"):
        if not shutil.which(program):
            sys.exit(f"{program} is missing")
    dir = tempfile.mkdtemp(prefix="fg-bench-http-")
    os.chmod(dir, 0o755)
    try:
        (saturate if args.saturate else compare)(args, dir)
    finally:
        shutil.rmtree(dir, ignore_errors=True)


main()
