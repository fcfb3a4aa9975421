#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# `floodgate evaluate --skeletons` against an implementation of edge accuracy and expected
# run length of its own (networkx), on random lines in random labels, and against the one of
# PyPI's segmentation-skeleton-metrics (Allen Neural Dynamics); `--worst` against
# counting by hand; matched objects against scikit-image's contingency table.
import collections
import json
import math
import os
import subprocess
import sys
import tempfile
import types
from urllib.parse import unquote

sys.path.insert(0, os.path.join(os.environ.get("srcdir", "."), "tests", "http"))
from lib import done, has, is_, missing, ok  # noqa: E402

# The peer draws, too, which is not looked at.
sys.modules["segmentation_skeleton_metrics.plot"] = types.ModuleType("plot")
try:
    import networkx as nx
    import numpy as np
    from segmentation_skeleton_metrics import skeleton_metrics as metrics
    from segmentation_skeleton_metrics.datamodules.graph_classes import LabeledGraph
    from skimage.metrics import contingency_table
except ImportError as e:
    missing(f"Python package {e.name}")

TOOL = os.path.join(os.environ.get("builddir", "."), "floodgate")


def evaluate(*args):
    p = subprocess.run([TOOL, "evaluate", *args], capture_output=True, text=True)
    return p.returncode, p.stdout, p.stderr


def scores(graph, labels, merge_nodes):
    """Edge accuracy and ERL of a graph whose nodes have `at` and `path`."""
    at = {n: int(labels[tuple(int(c) for c in reversed(d["at"]))])
          for n, d in graph.nodes(data=True)}
    held = collections.Counter((at[n], d["path"]) for n, d in graph.nodes(data=True))
    paths = collections.Counter(o for (o, _), k in held.items() if k >= merge_nodes and o)
    merging = {o for o, k in paths.items() if k > 1}
    length = dict.fromkeys(("omitted", "split", "merged", "correct"), 0.0)
    right = nx.Graph()
    for a, b, d in graph.edges(data=True):
        x, y = at[a], at[b]
        kind = ("omitted" if 0 in (x, y) else "split" if x != y else
                "merged" if x in merging else "correct")
        length[kind] += d["length"]
        if kind == "correct":
            right.add_edge(a, b, length=d["length"])
    total = sum(length.values())
    runs = [right.subgraph(c).size("length") for c in nx.connected_components(right)]
    whole = collections.Counter()
    for a, _, d in graph.edges(data=True):
        whole[graph.nodes[a]["path"]] += d["length"]
    return {**{k: v / total for k, v in length.items()}, "length": total,
            "erl": sum(r * r for r in runs) / total, "merging_objects": len(merging),
            "erl_max": sum(v * v for v in whole.values()) / total,
            "skeletons": len({d["path"] for _, d in graph.nodes(data=True)}),
            "nodes": graph.number_of_nodes(), "edges": graph.number_of_edges()}


def world(rng, top):
    """Labels in slabs and bricks, and random walks as skeletons."""
    size = (40, 50, 60)
    z, y, x = np.indices(size)
    truth = (1 + x // 20 + 3 * (y // 25) + 6 * (z // 20)).astype(np.uint64)
    seg = truth.copy() + 100
    for _ in range(6):  # splits
        lo = [int(rng.integers(0, n - 8)) for n in size]
        s = tuple(slice(a, a + 8) for a in lo)
        seg[s] += int(rng.integers(1, 4)) * 1000
    seg[rng.random(size) < 0.02] = 0
    a, b = rng.choice(np.unique(truth), 2, replace=False)
    seg[seg == b + 100] = a + 100  # a merge
    np.save(os.path.join(top, "seg.npy"), seg)
    np.save(os.path.join(top, "truth.npy"), truth)
    g, lines, n = nx.Graph(), [], 0
    for path in range(1, 15):
        at = [float(rng.integers(2, n - 2)) + 0.5 for n in reversed(size)]
        g.add_node(n, at=at, path=path)
        mine = [n]
        n += 1
        for _ in range(30):
            old = mine[-1] if rng.random() < 0.8 else mine[int(rng.integers(len(mine)))]
            to = [min(max(a + float(rng.integers(-3, 4)), 1.5), k - 1.5)
                  for a, k in zip(g.nodes[old]["at"], reversed(size))]
            same = [m for m in mine if g.nodes[m]["at"] == to]
            if same:
                continue
            g.add_node(n, at=to, path=path)
            g.add_edge(old, n, length=math.dist(g.nodes[old]["at"], to))
            lines.append((path, *g.nodes[old]["at"], *to))
            mine.append(n)
            n += 1
    g.remove_nodes_from([m for m in g if g.degree(m) == 0])
    with open(os.path.join(top, "lines.csv"), "w", encoding="ascii") as f:
        f.write("skeleton,x0,y0,z0,x1,y1,z1\n")
        f.writelines(",".join(map(str, v)) + "\n" for v in lines)
    return seg, truth, g


def write_bones(folder, graph):
    """The graph as precomputed skeletons; stored twice as large and moved, which info's
    transform undoes. NumPy volumes have voxels of 1 nm."""
    os.mkdir(folder)
    with open(os.path.join(folder, "info"), "w", encoding="ascii") as f:
        json.dump({"@type": "neuroglancer_skeletons", "transform": [
            0.5, 0, 0, -8, 0, 0.5, 0, 4, 0, 0, 0.5, 0], "vertex_attributes": [
                {"id": "radius", "data_type": "float32", "num_components": 1}]}, f)
    for path in {d["path"] for _, d in graph.nodes(data=True)}:
        mine = [n for n, d in graph.nodes(data=True) if d["path"] == path]
        index = {n: i for i, n in enumerate(mine)}
        xyz = np.array([graph.nodes[n]["at"] for n in mine]) * 2 + (16, -8, 0)
        edges = [(index[a], index[b]) for a, b in graph.edges(mine)]
        with open(os.path.join(folder, str(path)), "wb") as f:
            f.write(np.array([len(mine), len(edges)], "<u4").tobytes() +
                    xyz.astype("<f4").tobytes() + np.array(edges, "<u4").tobytes() +
                    np.zeros(len(mine), "<f4").tobytes())


def check_peer(top, seed):
    """Eight straight lines, a node a voxel, through objects, gaps, and objects that two of
    them share: of those the peer, as we are told to, calls 51 nodes of each a merge."""
    rng, n = np.random.default_rng(seed), 400
    seg = np.zeros((6, 30, n), np.uint64)
    graphs, lines, label = {}, [], 0
    for k in range(8):
        y, at = 3 * k + 2, 0
        while at < n:
            # Each run has a label of its own on its line: the peer looks at one of each.
            label, m, kind = label + 1, int(rng.integers(5, 90)), rng.random()
            shared = 1000 + label % 7
            seg[:, y, at:at + m] = (0 if kind < 0.15 else shared if kind < 0.6 and min(
                m, n - at) > 50 and shared not in seg[0, y] else label)
            at += m
        lines += [(k + 1, x + 0.5, y + 0.5, 3.5, x + 1.5, y + 0.5, 3.5) for x in range(n - 1)]
        g = LabeledGraph(name=str(k))
        g.set_nodes(n)
        g.add_edges_from((i, i + 1) for i in range(n - 1))
        g.set_voxels([(3, y, x) for x in range(n)])
        g.node_label = np.array([str(v) for v in seg[3, y]], dtype=object)
        graphs[str(k)] = g
    np.save(os.path.join(top, "peer.npy"), seg)
    with open(os.path.join(top, "peer.csv"), "w", encoding="ascii") as f:
        f.writelines(",".join(map(str, v)) + "\n" for v in lines)
    file = os.path.join(top, "peer.npy")
    code, out, err = evaluate(file, file, "--json", "--skeletons", os.path.join(top, "peer.csv"),
                              "--step", "50", "--merge-nodes", "51")
    if not ok("it runs", code == 0):
        print(f"# {err}")
        return
    got = json.loads(out)["skeletons"]
    share = {kind: float(metric(verbose=False)(graphs).iloc[:, 0].mean()) / 100
             for kind, metric in (("omitted", metrics.OmitEdgePercentMetric),
                                  ("merged", metrics.MergedEdgePercentMetric))}
    for g in graphs.values():  # "0" is an object to the next one
        g.node_label = np.where(g.node_label == "0", "", g.node_label)
    share["split"] = float(metrics.SplitEdgePercentMetric(verbose=False)(
        graphs).iloc[:, 0].mean()) / 100
    share["correct"] = 1 - sum(share.values())
    # Its mean is over labelled runs of a line, ours over all cable of all lines.
    runs = 0
    for g in graphs.values():
        g.node_label = np.where(g.node_label == "", "0", g.node_label)
        erl = metrics.ERLMetric.compute_graph_erl(g)
        runs += erl * g.labeled_run_length
    share["erl"] = runs / got["length"]
    ok("something is merged, split and omitted", min(share.values()) > 0)
    is_(f"as segmentation-skeleton-metrics has it, {seed}", {
        k: (got[k], v) for k, v in share.items() if not math.isclose(got[k], v, rel_tol=1e-9)}, {})


def check_worst(j, seg, truth):
    every = contingency_table(truth, seg).toarray()
    table = every.copy()
    table[:, 0] = table[0] = 0
    merges = np.sort(table.sum(0) - table.max(0))[::-1]
    splits = np.sort(table.sum(1) - table.max(1))[::-1]
    for kind, want in (("merge", merges), ("split", splits)):
        got = [w for w in j["worst"] if w["kind"] == kind]
        is_(f"the worst {kind}s", [w["voxels"] for w in got],
            [round(v) for v in want[:len(got)]])
        is_("are where they are said to be", [
            (int(w["object"]), int(w["other"])) for w in got],
            [((int(seg[at]), int(truth[at])) if kind == "merge" else
              (int(truth[at]), int(seg[at])))
             for w in got for at in [tuple(reversed(w["at"]))]])
    sizes = every.sum(1)[:, None] + every.sum(0)[None, :] - every
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.nan_to_num(table / sizes)
    for k, level in enumerate(j["iou"]):
        is_(f"matched at {level}", j["matched"][k], int((iou.max(1) >= level).sum()))
    is_("precision", j["precision"][0], j["matched"][0] / len(set(seg.flat) - {0}))
    is_("recall", j["recall"][0], j["matched"][0] / len(set(truth.flat) - {0}))


with tempfile.TemporaryDirectory() as top:
    files = [os.path.join(top, n) for n in ("seg.npy", "truth.npy")]
    lines = os.path.join(top, "lines.csv")
    for seed in range(4):
        seg, truth, graph = world(np.random.default_rng(seed), top)
        for nodes in (1, 3):
            code, out, err = evaluate(*files, "--json", "--skeletons", lines, "--step", "50",
                                      "--merge-nodes", str(nodes))
            if not ok("it runs", code == 0):
                print(f"# {err}")
                continue
            got, want = json.loads(out)["skeletons"], scores(graph, seg, nodes)
            bad = {k: (got[k], v) for k, v in want.items()
                   if not math.isclose(got[k], v, rel_tol=1e-9, abs_tol=1e-12)}
            is_(f"seed {seed}, {nodes} nodes merge", bad, {})
        check_worst(json.loads(out), seg, truth)
    code, out, err = evaluate(*files, "--skeletons", lines, "--server",
                              "http://127.0.0.1:8080", "--image", "em@8_8_8", "--worst", "1")
    has("as a table", out, "expected run length")
    link = [x.strip() for x in out.splitlines() if "#!" in x][0]
    state = json.loads(unquote(link.split("#!", 1)[1]))
    ok("with a link", state["layers"][1]["source"].startswith(
        "precomputed://http://127.0.0.1:8080/") and len(state["position"]) == 3)
    is_("to the image as well, which chooses its scales",
        [(x["type"], x["source"].rsplit("/", 1)[1]) for x in state["layers"]][:1],
        [("image", "em")])
    is_("each object once", [len(x["segments"]) == len(set(x["segments"]))
                             for x in state["layers"][1:]], [True, True])
    for seed in range(3):
        check_peer(top, seed)
    folder, code = os.path.join(top, "bones"), evaluate(*files, "--json", "--step", "50",
                                                        "--skeletons", lines)
    want_bones = json.loads(code[1])["skeletons"]
    write_bones(folder, graph)
    code, out, err = evaluate(*files, "--json", "--step", "50", "--skeletons", folder)
    if ok("a folder of precomputed skeletons", code == 0):
        got = json.loads(out)["skeletons"]
        is_("has the same scores as the lines it was made from",
            {k: (got[k], v) for k, v in want_bones.items()
             if not math.isclose(got[k], v, rel_tol=1e-6)}, {})
    else:
        print(f"# {err}")
    with open(os.path.join(folder, "3"), "r+b") as f:
        f.truncate(30)
    code, _, err = evaluate(*files, "--skeletons", folder)
    is_("a short skeleton", code, 2)
    has("is named", err, "30 bytes are too few")
    with open(os.path.join(folder, "info"), "w", encoding="ascii") as f:
        f.write('{"@type": "neuroglancer_legacy_mesh"}')
    code, _, err = evaluate(*files, "--skeletons", folder)
    has("a folder of something else", err, "not neuroglancer_skeletons")
    with open(os.path.join(folder, "info"), "w", encoding="ascii") as f:
        f.write('{"@type": "neuroglancer_skeletons", "sharding": {}}')
    code, _, err = evaluate(*files, "--skeletons", folder)
    has("shards", err, "in shards are not read here")
    fine = json.loads(evaluate(*files, "--json", "--skeletons", lines, "--step", "1")[1])
    ok("shorter steps, the same length", math.isclose(
        fine["skeletons"]["length"], want["length"], rel_tol=1e-9) and
        fine["skeletons"]["edges"] > want["edges"])
    with open(lines, "a", encoding="ascii") as f:
        f.write("7,1,2,3\n")
    code, _, err = evaluate(*files, "--skeletons", lines)
    is_("a short line", code, 2)
    has("is named", err, "wanted skeleton,x0,y0,z0,x1,y1,z1")
    is_("no such file", evaluate(*files, "--skeletons", "nowhere")[0], 3)
    code, out, _ = evaluate("phantom:labels=1,size=96", "phantom:labels=1,size=96", "--json",
                            "--skeletons", "phantom:size=96", "--merge-nodes", "9")
    if ok("centre lines of the phantom in its own truth", code == 0):
        j = json.loads(out)["skeletons"]
        ok(f"are nearly all right: {j['correct']:.3f}", j["correct"] > 0.8 and j["edges"] > 50)
done()
