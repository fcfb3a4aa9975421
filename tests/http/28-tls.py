#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# HTTPS: a certificate of our own, ranges and large files through it, another certificate by
# SIGHUP, and files that are none.
import http.client
import os
import signal
import ssl

from lib import PATIENCE, Reply, Server, Volume, certificate, done, has, is_, missing, ok, \
    wait_for, write

CHUNK = "/em/8_8_8/8-72_0-64_-16-48"


def connect(s, trust):
    """A client that trusts this certificate and no other."""
    context = ssl.create_default_context(cafile=trust)
    return http.client.HTTPSConnection("localhost", s.port, timeout=PATIENCE,
                                       context=context)


def get(c, path, **headers):
    c.request("GET", path, headers=headers)
    return Reply(c.getresponse())


def refused(s, trust):
    try:
        connect(s, trust).connect()
        return False
    except ssl.SSLCertVerificationError:
        return True


with Server(start=False) as server:
    folder = server.own.name
    one, two = os.path.join(folder, "one.crt"), os.path.join(folder, "two.crt")
    certificate(folder, "one")
    certificate(folder, "two", days=3)
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")

    def install(name, key_name=None):
        for file, to in ((name + ".crt", cert), ((key_name or name) + ".key", key)):
            with open(os.path.join(folder, file), "rb") as f:
                write(to, f.read())

    install("one")
    server.options = ("--tls-cert", cert, "--tls-key", key, "--listen", "127.0.0.1:0")
    server.start()
    if "no TLS" in server.errors():
        missing("GnuTLS (this build has no TLS)")
    em = Volume(os.path.join(server.root, "em"))
    server.add_layer("em", em.path)
    ok("the address is https", server.url.startswith("https://127.0.0.1:"))
    c = connect(server, one)
    r = get(c, CHUNK)
    name, box = next(em.boxes())
    is_("a chunk", (r.status, r.body), (200, em.cut(box)))
    sock = c.sock
    r = get(c, CHUNK, Range="bytes=1000-1999")
    is_("a part of it", (r.status, r.body), (206, em.cut(box)[1000:2000]))
    ok("on the same connection", c.sock is sock)
    big = os.urandom(5 << 20)
    write(os.path.join(em.path, "mesh", "big"), big)
    is_("a large file", get(c, "/em/mesh/big").body, big)
    is_("a range of it", get(c, "/em/mesh/big", Range="bytes=2000000-4000000").body,
        big[2000000:4000001])
    ok("links are https", "https%3A%2F%2F" in get(c, "/api/status").json()["neuroglancer"])
    ok("the certificate is that one", refused(server, two))
    ok("plain HTTP gets nothing from it", b"200" not in server.raw(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    is_("the control socket stays plain", server.call("GET", "/healthz").status, 200)

    install("two")
    server.process.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: "and the certificate" in server.errors())
    is_("new connections get the new one", get(connect(server, two), CHUNK).status, 200)
    ok("and not the old one", refused(server, one))
    is_("an open connection goes on", get(c, CHUNK).status, 200)
    has("one that ends soon is warned of", server.errors(), "expires in")

    for what, cert_text, key_text, part in (
            ("a key of another", "two.crt", "one.key", "not the key"),
            ("no certificate", "one.key", "one.key", "tls_cert"),
            ("no key", "one.crt", "one.crt", "tls_key")):
        for file, to in ((cert_text, cert), (key_text, key)):
            with open(os.path.join(folder, file), "rb") as f:
                write(to, f.read())
        before = server.errors().count("nothing was reloaded")
        server.process.send_signal(signal.SIGHUP)
        wait_for("the refusal", lambda: server.errors().count("nothing was reloaded") > before)
        has(f"{what} is refused", server.errors().rsplit("nothing was reloaded", 1)[1], part)
        is_("the one that was there stays", get(connect(server, two), CHUNK).status, 200)
    c.close()
    is_("stops cleanly", server.stop(), 0)

    import subprocess
    from lib import DAEMON
    for what, args, part in (
            ("files that do not fit", ["--tls-cert", cert, "--tls-key", key], "tls_key"),
            ("no file", ["--tls-cert", folder + "/none", "--tls-key", key], "none"),
            ("half of it", ["--tls-cert", cert], "go together")):
        p = subprocess.run([DAEMON, "--root", server.root, "--check-config", *args],
                           capture_output=True, text=True)
        is_(f"--check-config with {what}", p.returncode, 2)
        has("says which", p.stderr, part)
    p = subprocess.run([DAEMON, "--root", server.root, "--check-config", "--tls-cert", one,
                        "--tls-key", os.path.join(folder, "one.key")], capture_output=True)
    is_("--check-config with good ones", p.returncode, 0)
done()
