// SPDX-License-Identifier: Apache-2.0
// The machine: devices, storage and cache, what runs and waits, what was made last.
import { bytes, count, duration, el, percent } from "./format.js";

function facts(root, pairs) {
  root.replaceChildren(
    ...pairs.filter(([, value]) => value !== undefined && value !== null).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))),
  );
}

// Rows of cells; a table without rows says so.
function rows(table, list, nothing) {
  const body = table.tBodies[0];
  const columns = table.tHead.rows[0].cells.length;
  body.replaceChildren(
    ...list.map((cells) => el("tr", {}, cells.map((c) => el("td", {}, c ?? "")))),
  );
  if (list.length === 0)
    body.append(el("tr.none", {}, el("td", { colspan: columns }, nothing)));
}

// Devices of one network that are in the same state share a row; what the network does is
// told in the first.
function deviceRows(groups) {
  return groups.flatMap((g) => {
    const alike = new Map();
    for (const d of g.devices ?? []) {
      const state = d.why || d.state;
      alike.set(state, [...(alike.get(state) ?? []), d]);
    }
    return [...alike].map(([state, list], i) => [
      el("span", {}, list.flatMap((d, k) =>
        [k > 0 ? ", " : "", el("span", { title: d.detail }, d.device)])),
      state,
      i === 0 ? g.model ?? "no network loaded" : "",
      i === 0 && g.model ? `${(g.steps_per_s ?? 0).toFixed(1)}` : "",
      i === 0 && g.model ? count(g.waiting) : "",
      i === 0 && g.busy !== undefined ? `${Math.round(100 * g.busy)} %` : "",
    ]);
  });
}

// A position on a grid: given so, or as its Morton code (x lowest).
function position(at) {
  if (Array.isArray(at)) return at;
  const p = [0, 0, 0];
  for (let bit = 0, code = BigInt(at ?? 0); code > 0n; bit++, code >>= 1n)
    p[bit % 3] += Number(code & 1n) * 2 ** Math.floor(bit / 3);
  return p;
}

const where = (t) =>
  `${t.kind} ${position(t.at).join(", ")}` + (t.scale ? `, scale ${t.scale}` : "");

function ended(ms) {
  const ago = (Date.now() - ms) / 1000;
  return ago < 3600 ? `${duration(Math.max(ago, 1))} ago` : new Date(ms).toLocaleString();
}

export function showMachine(root, s) {
  const n = s.numbers ?? {};
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const hits = n.cache_hits ?? 0;
  const asked = hits + (n.cache_misses ?? 0);
  const st = s.storage ?? {};
  rows(part("devices"), deviceRows(s.devices ?? []), "no devices");
  facts(part("storage"), [
    ["Results stored", bytes(st.results)],
    ["Free on the disk", st.disk ? `${bytes(st.free)} of ${bytes(st.disk)}` : undefined],
    ["Cache", `${bytes(n.cache_bytes)} of ${bytes(st.cache_limit)}`],
    ["Answered from the cache", asked ? percent(hits / asked) : "–"],
    ["Chunks in the cache", count(n.cache_entries)],
  ]);
  facts(part("queue"), [
    ["Running", count(n.running)],
    ["Waiting, for viewers", count(n.queued_interactive)],
    ["Waiting, for jobs", count((n.queued_bulk ?? 0) + (n.queued_idle ?? 0))],
    ["A block takes", n.block_seconds ? duration(n.block_seconds) : "–"],
    ["Made since the start", count(n.tasks_done)],
    ["Failed since the start", count(n.tasks_failed)],
    ["Requests held", count(n.parked)],
    ["Connections", count(n.connections)],
    ["Up for", duration(n.uptime)],
  ]);
  rows(part("tasks"), (s.tasks ?? []).slice(0, 8).map((t) => [
    t.layer, where(t), t.class, t.state,
    t.state === "running" ? percent(t.progress) : duration(t.seconds),
  ]), "nothing to do");
  rows(part("recent"), (s.recent ?? []).slice(0, 8).map((r) => [
    r.ended ? ended(r.ended) : "", r.layer, where(r), r.device,
    r.ended && r.started ? `${((r.ended - r.started) / 1000).toFixed(1)} s` : "",
  ]), "nothing yet");
  const disk = part("disk");
  disk.textContent = s.disk ?? "";
  disk.hidden = !s.disk;
}
