#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The set-ups of docs/operating.md, as they stand there, in front of a daemon: nginx with a
# certificate of its own and HTTP/2. FLOODGATE_TEST_CADDY=1: Caddy too. What the proxy must
# not change: bytes, ranges, compression, conditions, waiting, events, addresses of clients.
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time

from lib import DAEMON, PATIENCE, SOURCE, Server, Volume, certificate, done, has, is_, missing, \
    ok, tiny_ffn, wait_for, write, write_tiny_model

NAME = "em.lab.example"
ORIGIN = "https://viewer.example"
CHUNK = "/em/8_8_8/8-72_0-64_-16-48"
ADMIN, READ = "admin-0123456789abcdef", "reader-0123456789abcdef"


def program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def example(first):
    """The code block of docs/operating.md below the paragraph that begins so."""
    with open(os.path.join(SOURCE, "docs", "operating.md"), encoding="utf-8") as f:
        text = f.read()
    at = re.search(rf"^{first}.*?\n\n((?:    .*\n|\n)+)", text, re.M)
    return re.sub("^    ", "", at.group(1), flags=re.M)


def change(text, *pairs):
    """Places that differ here; each must be there, or the manual has changed."""
    for old, new in pairs:
        if not re.search(old, text):
            ok(f"the manual has {old}", False)
        text = re.sub(old, lambda _, new=new: new, text)
    return text


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    """nginx or Caddy with the example's text; ends with the block."""

    def __init__(self, kind, folder, upstream, port):
        self.folder, self.port = os.path.join(folder, kind), port
        self.log = os.path.join(self.folder, "access.log")
        self.file = os.path.join(self.folder, "conf")
        cert, key = os.path.join(folder, "proxy.crt"), os.path.join(folder, "proxy.key")
        os.makedirs(self.folder)
        if kind == "nginx":
            text = change(example("nginx, in"), (r"127\.0\.0\.1:8080", f"127.0.0.1:{upstream}"),
                          (r"listen 443", f"listen 127.0.0.1:{port}"),
                          (r"/var/log/nginx/\S+", f"{self.log}"),
                          (r"/etc/\S+/fullchain\.pem", cert),
                          (r"/etc/\S+/privkey\.pem", key))
            user = "user root;" if os.geteuid() == 0 else ""
            write(self.file, f"""
daemon off; {user} worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/err;
events {{}}
http {{
    client_body_temp_path {self.folder}/t1; proxy_temp_path {self.folder}/t2;
    fastcgi_temp_path {self.folder}/t3; uwsgi_temp_path {self.folder}/t4;
    scgi_temp_path {self.folder}/t5;
{text}
}}
""")
            command = [program("nginx"), "-p", self.folder, "-e", f"{self.folder}/err", "-c",
                       self.file]
        else:
            text = change(example("Caddy"), (r"127\.0\.0\.1:8080", f"127.0.0.1:{upstream}"),
                          (NAME + r" \{", f"https://{NAME}:{port} {{\n    bind 127.0.0.1\n"
                           f"    tls {cert} {key}"))
            write(self.file, "{\n    admin off\n    auto_https disable_redirects\n"
                  "    servers {\n        protocols h1 h2\n    }\n}\n" + text)
            command = [program("caddy"), "run", "--adapter", "caddyfile", "--config",
                       self.file]
        self.output = open(os.path.join(self.folder, "output"), "wb")
        self.process = subprocess.Popen(
            command, stdout=self.output, stderr=self.output,
            env={**os.environ, "HOME": self.folder, "XDG_DATA_HOME": self.folder,
                 "XDG_CONFIG_HOME": self.folder})

    def __enter__(self):
        def listens():
            if self.process.poll() is not None:
                with open(self.output.name, "rb") as f:
                    print("# " + f.read().decode(errors="replace").replace("\n", "\n# "))
                return "it has ended"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return "yes"
            except OSError:
                return None
        is_("the proxy starts", wait_for("the proxy", listens), "yes")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.output.close()


class Client:
    """curl, by HTTP/2, from another address of this machine than the proxy's."""

    def __init__(self, folder, port):
        self.url = f"https://{NAME}:{port}"
        self.folder = folder
        self.command = ["curl", "-sS", "--http2", "--noproxy", "*", "--max-time", str(PATIENCE),
                        "--cacert", os.path.join(folder, "proxy.crt"), "--interface",
                        "127.0.0.2", "--resolve", f"{NAME}:{port}:127.0.0.1", "-H",
                        f"Origin: {ORIGIN}"]

    def get(self, path, *options):
        """(status, headers, body); the version of HTTP is among the headers as ':version'"""
        heads = os.path.join(self.folder, "heads")
        p = subprocess.run([*self.command, "-D", heads, *options, self.url + path],
                           capture_output=True)
        if p.returncode:
            print(f"# curl: {p.stderr.decode(errors='replace')}")
        with open(heads, encoding="latin-1") as f:
            lines = f.read().split("\n\n")[0].splitlines()
        version, status = lines[0].split()[:2]
        headers = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
        headers[":version"] = version
        return int(status), headers, p.stdout


def static(s, c, em):
    box = next(em.boxes())[1]
    direct = s.get(CHUNK, Origin=ORIGIN)
    status, h, body = c.get(CHUNK)
    is_("a chunk by HTTP/2", (status, h[":version"], body), (200, "HTTP/2", em.cut(box)))
    is_("with the same headers", {k: h.get(k.lower()) for k in (
        "ETag", "Content-Type", "Content-Length", "Cache-Control",
        "Access-Control-Allow-Origin")}, {k: direct[k] for k in (
            "ETag", "Content-Type", "Content-Length", "Cache-Control",
            "Access-Control-Allow-Origin")})
    is_("pages of that origin may read it", h.get("access-control-allow-origin"), ORIGIN)
    is_("its condition", c.get(CHUNK, "-H", "If-None-Match: " + h["etag"])[0], 304)
    status, h, body = c.get(CHUNK, "-r", "1000-1999")
    is_("a range", (status, h.get("content-range"), body),
        (206, f"bytes 1000-1999/{64 ** 3}", em.cut(box)[1000:2000]))
    status, h, _ = c.get("/em/8_8_8/0-1_0-1_0-1")
    is_("an error keeps its status and is for all origins",
        (status, h.get("access-control-allow-origin")), (404, ORIGIN))
    status, h, _ = c.get(CHUNK, "-X", "OPTIONS", "-H", "Access-Control-Request-Method: GET",
                         "-H", "Access-Control-Request-Headers: range")
    is_("the question before a request", (status // 100, h.get("access-control-allow-origin")),
        (2, ORIGIN))
    link = json.loads(c.get("/api/status")[2])["neuroglancer"]
    ok("links lead to the proxy", f"https%3A%2F%2F{NAME}%3A" in link or
       f"https://{NAME}:" in link) or print("#", link)


def access(s, c):
    is_("a token in the address", c.get(f"/t/{READ}/em/info")[0], 200)
    is_("a wrong one", c.get("/t/not-a-token-at-all/em/info")[0], 401)
    is_("a token as header", c.get("/api/layers", "-H", f"Authorization: Bearer {ADMIN}")[0],
        200)
    wait_for("the log", lambda: "path=/api/layers" in s.errors())
    ok("the daemon's log has the client's own address", "127.0.0.2" in s.errors())
    before = s.errors().count("192.0.2.7")
    is_("a client cannot claim another", c.get(CHUNK, "-H", "X-Forwarded-For: 192.0.2.7")[0],
        200)
    is_("which is in no line", s.errors().count("192.0.2.7"), before)


def made(s, c, layer):
    """A stream of events stays open while a chunk is waited for."""
    stream = subprocess.Popen([*c.command, "-N", c.url + "/api/events"],
                              stdout=subprocess.PIPE)
    lines = []

    def read():
        for line in stream.stdout:
            lines.append(line)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    wait_for("the first event", lambda: b"event: hello\n" in lines)
    begin = time.monotonic()
    status, h, body = c.get(f"/{layer}/8_8_8/8-40_0-32_-16-16?wait=600",
                            "-H", f"Authorization: Bearer {ADMIN}")
    is_("a chunk that is waited for", status, 200)
    ok("its bytes", body == s.get(f"/{layer}/8_8_8/8-40_0-32_-16-16").body)
    print(f"# made in {time.monotonic() - begin:.2f} s")
    wait_for("its block's event, at once", lambda: any(
        b'"present"' in line and layer.encode() in line for line in lines))
    ok("the stream goes on", stream.poll() is None)
    path = f"/{layer}/8_8_8/8-40_0-32_-16-16"
    status, h, zipped = c.get(path, "-H", "Accept-Encoding: gzip")
    direct = s.get(path, Accept_Encoding="gzip")
    is_("the same compressed", (status, h.get("content-encoding"), h.get("etag")),
        (200, "gzip", direct["ETag"]))
    ok("as the daemon did it", zipped == direct.body and gzip.decompress(zipped) == body)
    status, _, body = c.get("/api/jobs", "-H", f"Authorization: Bearer {ADMIN}", "-H",
                            "Content-Type: application/json", "-d",
                            json.dumps({"layer": layer}))
    is_("a job", status, 202)
    url = json.loads(body)["url"]
    ok("whose address is told", url.startswith("/api/jobs/"))
    wait_for("its end", lambda: s.call("GET", url).json()["state"] == "done")
    wait_for("as an event", lambda: any(b'"done"' in line for line in lines))
    stream.terminate()
    stream.wait(PATIENCE)
    reader.join(PATIENCE)
    wait_for("the daemon sees it leave",
             lambda: s.metrics()["floodgate_event_streams"] == 0)


def behind(kind):
    port = free_port()
    with Server(start=False) as s:
        certificate(s.own.name, "proxy", host=NAME)
        write(os.path.join(s.own.name, "tokens"), f"admin {ADMIN}\nread {READ}\n")
        os.chmod(os.path.join(s.own.name, "tokens"), 0o600)
        settings = change(example("and in floodgate.json"),
                          (f"https://{NAME}", f"https://{NAME}:{port}"))
        write(os.path.join(s.root, "floodgate.json"), json.dumps({
            **json.loads(settings), "origins": [ORIGIN], "access_log": True,
            "token_file": os.path.join(s.own.name, "tokens")}))
        s.start()
        model = os.path.join(s.own.name, "tiny")
        write_tiny_model(model)
        em = Volume(os.path.join(s.root, "em"), size=(64, 64, 64))
        s.add_layer("em", em.path)
        is_("a generated layer", s.call("POST", "/api/layers", {
            "name": "seg", "ffn": tiny_ffn(model)}).status, 201)
        with Proxy(kind, s.own.name, s.port, port) as proxy:
            c = Client(s.own.name, port)
            static(s, c, em)
            access(s, c)
            made(s, c, "seg")
            if kind == "nginx":
                with open(proxy.log, encoding="utf-8") as f:
                    log = f.read()
                ok("its log has the requests and no token",
                   " 206 " in log and READ not in log and ADMIN not in log)
        is_("the daemon stops cleanly", s.stop(), 0)


if not program("nginx"):
    missing("nginx")
if b"HTTP2" not in subprocess.run(["curl", "-V"], capture_output=True).stdout:
    missing("curl with HTTP/2")
longest = int(re.search(r"--wait-max-s.*\n.*\[(\d+) s", subprocess.run(
    [DAEMON, "--help"], capture_output=True, text=True).stdout).group(1))
for kind, option in (("nginx, in", "proxy_read_timeout"), ("Caddy", "read_timeout")):
    ok(f"{option} is longer than the longest wait",
       int(re.search(option + r" (\d+)s", example(kind)).group(1)) > longest)
behind("nginx")
if os.environ.get("FLOODGATE_TEST_CADDY"):
    if not program("caddy"):
        missing("caddy")
    behind("caddy")
done()
