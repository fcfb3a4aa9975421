#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# docs/openapi.json against the daemon: the same calls in both, and replies to good, bad and
# hostile requests that schemathesis makes of it are as described. The number of requests is
# bounded and the seed fixed; FLOODGATE_TEST_EXAMPLES asks for more.
import json
import os
import re
import subprocess
import sys
import tempfile

from lib import SOURCE, Server, Volume, done, has, is_, missing, ok, tiny_ffn, wait_for, write, \
    write_tiny_model

try:
    import schemathesis  # noqa: F401
except ImportError:
    missing("Python package schemathesis")

DOCUMENT = os.path.join(SOURCE, "docs", "openapi.json")
ADMIN = "admin-0123456789abcdef"
EXAMPLES = os.environ.get("FLOODGATE_TEST_EXAMPLES", "15")
# What a schema cannot say (a box inside the volume, a source that exists) is refused with
# 400 though it has the right form. 500 is a status that is not described, so it is found;
# 501 and 503 (a stage that is not there, a layer that is paused) are described.
CHECKS = ("status_code_conformance,content_type_conformance,"
          "response_headers_conformance,response_schema_conformance,negative_data_rejection,"
          "missing_required_header,unsupported_method,use_after_free,"
          "ensure_resource_availability,ignored_auth")


def same_calls(document):
    """The table of server/api.c, and the description."""
    with open(os.path.join(SOURCE, "server", "api.c"), encoding="utf-8") as f:
        rows = re.findall(r'\{FG_(GET|POST|DELETE),\s*"([^"]+)"', f.read())
    ok("the table is found", len(rows) >= 20)
    code = set()
    for method, path in rows:
        for word, name in (("NAME", "{}"), ("N", "{}"), ("*", "{}/{}")):
            path = "/".join(name if x == word else x for x in path.split("/"))
        code.add((method, "/api/" + path))
    described = {(m.upper(), re.sub(r"\{[a-z]+\}", "{}", path))
                 for path, item in document["paths"].items() for m in item
                 if m != "parameters" and path.startswith("/api/")}
    is_("every call is described", sorted(code - described), [])
    is_("and everything described is a call", sorted(described - code), [])


def run(s, token, *more):
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "schemathesis.cli", "run", DOCUMENT, "--url", s.url,
                   "--checks", CHECKS, "--max-examples", EXAMPLES, "--seed", "20261125",
                   "--continue-on-failure", "--no-color", "--request-timeout", "60",
                   "--warnings", "off", "--suppress-health-check", "all",
                   "--exclude-path", "/api/events", *more]
        if token:
            command += ["-H", f"Authorization: Bearer {token}"]
        p = subprocess.run(command, cwd=folder, capture_output=True, text=True,
                           env={**os.environ, "COLUMNS": "100"})
    if p.returncode:
        print("# " + (p.stdout + p.stderr)[-6000:].replace("\n", "\n# "))
    return p.returncode, p.stdout


with open(DOCUMENT, encoding="utf-8") as f:
    same_calls(json.load(f))
with Server(start=False) as server:
    write(os.path.join(server.own.name, "tokens"), f"admin {ADMIN}\n")
    os.chmod(os.path.join(server.own.name, "tokens"), 0o600)
    server.options = ("--token-file", os.path.join(server.own.name, "tokens"),
                      "--body-max-kb", "64")
    server.start()
    model = os.path.join(server.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(server.root, "em"), size=(40, 40, 40))
    server.add_layer("em", em.path)
    is_("a generated layer", server.call("POST", "/api/layers", {
        "name": "seg", "ffn": tiny_ffn(model)}).status, 201)
    r = server.call("POST", "/api/jobs", {"layer": "seg"})
    wait_for("a job", lambda: server.get(r.json()["url"]).json()["state"] == "done")
    code, out = run(server, ADMIN)
    is_("every reply to an administrator is as described", code, 0)
    code, out = run(server, None, "--phases", "examples,coverage")
    is_("so is every reply to nobody in particular", code, 0)
    is_("the daemon is in good health after it", server.get("/readyz").json(),
        {"ready": True, "wrong": []})
    is_("stops cleanly", server.stop(), 0)
    ok("nothing went wrong inside", "assertion" not in server.errors() and
       "Sanitizer" not in server.errors())
done()
