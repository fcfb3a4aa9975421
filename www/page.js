// SPDX-License-Identifier: Apache-2.0
// The status page's numbers: GET /api/status every two seconds, put in as text. The
// page reads and never writes. Fields that a server does not give are left empty.
"use strict";

const el = (id) => document.getElementById(id);
const join = (v, sep) => (Array.isArray(v) ? v.join(sep) : v ?? "");
const round = (v, digits) => (typeof v === "number" ? v.toFixed(digits) : "");

function bytes(n) {
	if (typeof n !== "number") return "";
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let i = 0;
	for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
	return n.toFixed(i ? 1 : 0) + " " + units[i];
}

// Rows of cells; a cell is text or a node.
function fill(id, rows) {
	const body = el(id).tBodies[0];
	const columns = el(id).tHead.rows[0].cells.length;
	body.replaceChildren();
	for (const cells of rows) {
		const tr = body.insertRow();
		for (const c of cells) tr.insertCell().append(c ?? "");
	}
	if (rows.length) return;
	const tr = body.insertRow();
	tr.className = "none";
	const td = tr.insertCell();
	td.colSpan = columns;
	td.textContent = "none";
}

function link(text, href) {
	const a = document.createElement("a");
	a.textContent = text;
	a.href = href;
	return a;
}

function bar(fraction) {
	if (typeof fraction !== "number") return "";
	const p = document.createElement("progress");
	p.max = 1;
	p.value = fraction;
	p.title = Math.round(fraction * 100) + " %";
	return p;
}

function layerRow(l) {
	const scale = (l.scales && l.scales[0]) || {};
	const counts = l.counts || {};
	const stored = l.counts
		? `${counts.chunks ?? 0} chunks, ${bytes(counts.bytes ?? 0)}` +
			(counts.blocks_failed ? `, ${counts.blocks_failed} blocks failed` : "")
		: "";
	return [link(l.name, "/" + encodeURIComponent(l.name) + "/"), l.type ?? l.kind,
		join(scale.size ?? l.size, " × "), join(scale.resolution ?? l.resolution, " × "),
		scale.encoding ?? l.encoding, l.why || l.state, stored];
}

// A position as x,y,z: given so, or as its Morton code (x lowest).
function position(at) {
	if (typeof at !== "number") return join(at, ",");
	const p = [0, 0, 0];
	for (let bit = 0, code = BigInt(at); code > 0n; bit++, code >>= 1n)
		p[bit % 3] += Number(code & 1n) * 2 ** Math.floor(bit / 3);
	return p.join(",");
}

function what(t) {
	const scale = t.scale ? `of scale ${t.scale}` : "";
	return [t.kind, position(t.at), scale].filter((x) => x).join(" ");
}

function show(s) {
	const n = s.numbers || {};
	el("version").textContent = "version " + s.version;
	// The server knows itself by the address it listens on; we may know it by another.
	el("viewer").href = s.neuroglancer.replaceAll(
		encodeURIComponent(s.url), encodeURIComponent(location.origin));
	el("viewer").hidden = false;
	el("disk").textContent = s.disk ?? "";
	fill("layers", (s.layers || []).map(layerRow));
	fill("tasks", (s.tasks || []).map((t) => [t.layer, what(t), t.class, t.state,
		t.waiters, bar(t.progress), round(t.seconds, 1)]));
	fill("jobs", (s.jobs || []).map((j) => [String(j.id), j.layer, j.state,
		`${j.done + j.skipped} of ${j.all}`, bar(j.fraction), j.error]));
	fill("devices", (s.devices || []).map((d) => [
		(d.devices || []).map((x) => `${x.device} (${x.detail}): ${x.why || x.state}`)
			.join("; "),
		d.model, d.precision, String(d.steps), round(d.steps_per_s, 1),
		d.busy === undefined ? "" : Math.round(d.busy * 100) + " %"]));
	fill("recent", (s.recent || []).map((r) => [
		r.ended ? new Date(r.ended).toLocaleString() : "", r.layer, what(r), r.device,
		r.ended && r.started ? round((r.ended - r.started) / 1000, 1) : ""]));
	const now = {
		"requests held": n.parked, "connections": n.connections,
		"tasks running": n.running, "interactive queue": n.queued_interactive,
		"bulk queue": n.queued_bulk, "tasks done": n.tasks_done,
		"tasks failed": n.tasks_failed, "joined": n.coalesced,
		"seconds per block": round(n.block_seconds, 2), "cache": bytes(n.cache_bytes),
		"cache hits": n.cache_hits, "cache misses": n.cache_misses,
		"uptime (s)": round(n.uptime, 0),
	};
	el("now").replaceChildren(...Object.entries(now).map(([name, value]) => {
		const div = document.createElement("div");
		const dt = document.createElement("dt");
		const dd = document.createElement("dd");
		dt.textContent = name;
		dd.textContent = value ?? "";
		div.append(dt, dd);
		return div;
	}));
}

async function poll() {
	try {
		const reply = await fetch("/api/status", { cache: "no-store" });
		if (!reply.ok) throw new Error("status " + reply.status);
		show(await reply.json());
		el("state").textContent = "live";
		el("state").className = "";
	} catch (e) {
		el("state").textContent = "no answer: " + e.message;
		el("state").className = "bad";
	}
	setTimeout(poll, document.hidden ? 10000 : 2000);
}

poll();
