// SPDX-License-Identifier: Apache-2.0
// One slice (x, y at a depth z) of a layer on a canvas: the image below, labels over it,
// the states of the blocks, and a box that is drawn with mouse, finger or fields.
//
// Coordinates are voxels of the layer's finest scale. `view` is what is seen: the voxel
// in the middle and how many voxels (along x) one pixel of the page is.
import { get, layerPath } from "./api.js";
import { Tiles } from "./tiles.js";

const BLOCKS_MAX = 16384; // the server tells no more at once
const SETTLE_MS = 120; // after the last movement, before pictures are asked for
const LABELS_MS = 800; // blocks that are made are drawn at most this often
const HANDLE = 10; // pixels: a touch this short is no box

export const STATES = {
  ".": "absent",
  q: "queued",
  d: "delayed",
  r: "running",
  p: "present",
  f: "failed",
};
const LETTER = Object.fromEntries(Object.entries(STATES).map(([k, v]) => [v, k]));

const clamp = (v, lo, hi) => Math.min(Math.max(v, lo), hi);

export class SliceView {
  // onBox(box): drawn on the slice, x0, y0, x1, y1. onView(): depth or place changed.
  // onBlocks({counts, hidden}): states in view, or why they are not shown. onPick(at): a
  // voxel was pointed at.
  constructor(canvas, { onBox, onView, onBlocks, onPick }) {
    Object.assign(this, { canvas, onBox, onView, onBlocks, onPick });
    this.context = canvas.getContext("2d");
    this.layer = null;
    this.view = { x: 0, y: 0, z: 0, scale: 1 };
    this.box = null; // [x0, y0, z0, x1, y1, z1]
    this.picked = new Map(); // id -> where it was pointed at
    this.show = { labels: true, blocks: true };
    this.mode = "move";
    this.image = null; // tiles of the image below, of the labels over it
    this.labels = null;
    this.blocks = null; // {lo, hi, states: [letters]}
    this.pointers = new Map();
    this.aborts = {};
    this.timers = {};
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listenToPointers();
    canvas.addEventListener("keydown", (e) => this.key(e));
  }

  // ---------------------------------------------------------------- what is shown

  // layer: what is looked at. image: the layer below it, or null. maker: the layer whose
  // blocks make it.
  setLayer(layer, image, maker) {
    const other = layer?.uuid !== this.layer?.uuid || layer?.name !== this.layer?.name;
    this.layer = layer;
    this.maker = maker;
    if (!other) return;
    this.image?.stop();
    this.labels?.stop();
    this.image = this.labels = this.blocks = this.box = null;
    this.picked = new Map();
    if (layer?.scales?.length) {
      const below = layer.kind === "image" ? layer : image;
      const changed = () => this.draw();
      if (below) this.image = new Tiles(below, { changed, weight: 2, smooth: true });
      if (layer.kind !== "image")
        this.labels = new Tiles(layer, { changed, weight: 1, smooth: false });
      this.fit();
    }
    this.draw();
  }

  get finest() {
    return this.layer.scales[0];
  }

  // Voxels along y for one along x: pixels are square in nanometres.
  get ratio() {
    return this.finest.resolution[0] / this.finest.resolution[1];
  }

  get size() {
    return [this.canvas.clientWidth || 1, this.canvas.clientHeight || 1];
  }

  fit() {
    this.fitted = true;
    const { size, voxel_offset: o } = this.finest;
    const [w, h] = this.size;
    this.view = {
      x: o[0] + size[0] / 2,
      y: o[1] + size[1] / 2,
      z: o[2] + Math.floor(size[2] / 2),
      scale: Math.max(size[0] / w, size[1] / this.ratio / h) * 1.03,
    };
    this.moved();
  }

  // The middle of a box, so that it fills two thirds.
  lookAt(box) {
    this.fitted = false;
    const [w, h] = this.size;
    this.view = {
      x: (box[0] + box[3]) / 2,
      y: (box[1] + box[4]) / 2,
      z: Math.floor((box[2] + box[5]) / 2),
      scale: Math.max((box[3] - box[0]) / w, (box[4] - box[1]) / this.ratio / h, 0.05) * 1.5,
    };
    this.moved();
  }

  setDepth(z) {
    const { size, voxel_offset: o } = this.finest;
    this.view.z = clamp(Math.round(z), o[2], o[2] + size[2] - 1);
    this.moved();
  }

  zoom(factor, at = this.size.map((n) => n / 2)) {
    this.fitted = false;
    const before = this.toVoxel(at);
    const { size } = this.finest;
    this.view.scale = clamp(this.view.scale * factor, 0.02, Math.max(...size) / 50);
    const after = this.toVoxel(at);
    this.view.x += before[0] - after[0];
    this.view.y += before[1] - after[1];
    this.moved();
  }

  pan(dx, dy) {
    this.fitted = false;
    const { size, voxel_offset: o } = this.finest;
    const { view } = this;
    view.x = clamp(view.x - dx * view.scale, o[0], o[0] + size[0]);
    view.y = clamp(view.y - dy * view.scale * this.ratio, o[1], o[1] + size[1]);
    this.moved();
  }

  moved() {
    this.draw();
    this.onView();
    clearTimeout(this.timers.settle);
    this.timers.settle = setTimeout(() => this.load(), SETTLE_MS);
  }

  toVoxel([px, py]) {
    const [w, h] = this.size;
    return [
      this.view.x + (px - w / 2) * this.view.scale,
      this.view.y + (py - h / 2) * this.view.scale * this.ratio,
    ];
  }

  toPixel([x, y]) {
    const [w, h] = this.size;
    return [
      (x - this.view.x) / this.view.scale + w / 2,
      (y - this.view.y) / (this.view.scale * this.ratio) + h / 2,
    ];
  }

  // What is seen of the volume, whole voxels; null if nothing is.
  seen() {
    const { size, voxel_offset: o } = this.finest;
    const a = this.toVoxel([0, 0]);
    const b = this.toVoxel(this.size);
    const box = [
      Math.max(Math.floor(a[0]), o[0]), Math.max(Math.floor(a[1]), o[1]),
      Math.min(Math.ceil(b[0]), o[0] + size[0]), Math.min(Math.ceil(b[1]), o[1] + size[1]),
    ];
    return box[0] < box[2] && box[1] < box[3] ? box : null;
  }

  // ---------------------------------------------------------------- asking the server

  resize() {
    const [w, h] = this.size;
    const dpr = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = Math.round(w * dpr);
    this.canvas.height = Math.round(h * dpr);
    if (!this.layer?.scales?.length) return;
    const { z } = this.view;
    if (this.fitted) this.fit();
    this.setDepth(z);
  }

  load() {
    if (!this.layer?.scales?.length) return;
    for (const tiles of [this.image, this.labels]) {
      const at = tiles && this.placeIn(tiles);
      if (at) tiles.load(at.scale, at.z, at.seen);
    }
    this.loadBlocks();
  }

  // The view in the voxels of the tiles' layer: the image's finest scale may be another
  // than that of the labels made from it. null: nothing is seen.
  placeIn(tiles) {
    const seen = this.seen();
    if (!seen) return null;
    const { resolution } = tiles.layer.scales[0];
    const f = this.finest.resolution.map((nm, d) => nm / resolution[d]);
    const dpr = Math.min(devicePixelRatio || 1, 2);
    return {
      f,
      scale: (this.view.scale * f[0]) / dpr,
      z: clamp(Math.floor((this.view.z + 0.5) * f[2]), tiles.lo[2], tiles.hi[2] - 1),
      seen: seen.map((v, i) => v * f[i % 2]),
    };
  }

  // Blocks in view at this depth, on the block grid.
  blockBox() {
    const seen = this.seen();
    const block = this.maker.recipe?.block;
    if (!seen || !block) return null;
    const o = this.finest.voxel_offset;
    const z = Math.floor((this.view.z - o[2]) / block[2]);
    return [0, 1].reduce(
      (box, d) => {
        box[d] = Math.floor((seen[d] - o[d]) / block[d]);
        box[d + 3] = Math.ceil((seen[d + 2] - o[d]) / block[d]);
        return box;
      },
      [0, 0, z, 0, 0, z + 1],
    );
  }

  async loadBlocks() {
    const box = this.blockBox();
    this.aborts.blocks?.abort();
    if (!box) {
      this.blocks = null;
      this.onBlocks({ counts: null, hidden: "" });
      return;
    }
    const n = (box[3] - box[0]) * (box[4] - box[1]);
    if (n > BLOCKS_MAX) {
      this.blocks = null;
      this.onBlocks({ counts: null, hidden: "Zoom in to see the blocks" });
      this.draw();
      return;
    }
    const abort = new AbortController();
    this.aborts.blocks = abort;
    try {
      const reply = await get(layerPath(this.maker.name, `/blocks?box=${box.join()}`),
        abort.signal);
      this.blocks = { lo: reply.lo, hi: reply.hi, states: [...reply.states] };
      this.failures = reply.failures;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.blocks = null;
      this.onBlocks({ counts: null, hidden: error.message });
      this.draw();
      return;
    }
    this.told();
    this.draw();
  }

  told() {
    const counts = {};
    for (const c of this.blocks.states) counts[STATES[c]] = (counts[STATES[c]] ?? 0) + 1;
    this.onBlocks({ counts, hidden: "", failures: this.failures });
  }

  // An event: a block of some layer has another state.
  blockChanged({ layer, at, state }) {
    if (layer !== this.maker?.name || !this.blocks) return;
    const { lo, hi, states } = this.blocks;
    if (at.some((v, d) => v < lo[d] || v >= hi[d])) return;
    states[at[0] - lo[0] + (hi[0] - lo[0]) * (at[1] - lo[1])] = LETTER[state] ?? ".";
    this.timers.told ??= setTimeout(() => {
      this.timers.told = undefined;
      if (this.blocks) this.told();
      if (state === "failed") this.loadBlocks(); // with its reason
    }, 250);
    if (state === "present") {
      const { block } = this.maker.recipe;
      const o = this.finest.voxel_offset;
      const corner = (n) => at.map((v, d) => o[d] + (v + n) * block[d]);
      this.labels?.spoil(corner(0), corner(1));
      this.timers.labels ??= setTimeout(() => {
        this.timers.labels = undefined;
        this.load();
      }, LABELS_MS);
    }
    this.draw();
  }

  // Failures were forgotten, or pieces joined.
  layerChanged({ layer }) {
    if (layer !== this.maker?.name) return;
    if (this.maker !== this.layer) this.labels?.spoil(this.labels.lo, this.labels.hi);
    this.timers.labels ??= setTimeout(() => {
      this.timers.labels = undefined;
      this.load();
    }, LABELS_MS);
  }

  // ---------------------------------------------------------------- drawing

  draw() {
    if (this.timers.frame) return;
    this.timers.frame = requestAnimationFrame(() => {
      this.timers.frame = 0;
      this.paint();
    });
  }

  paint() {
    const { context: c, canvas } = this;
    const [w, h] = this.size;
    c.setTransform(canvas.width / w, 0, 0, canvas.height / h, 0, 0);
    c.fillStyle = "#14181d";
    c.fillRect(0, 0, w, h);
    if (!this.layer?.scales?.length) return;
    const { size, voxel_offset: o } = this.finest;
    const a = this.toPixel(o);
    const b = this.toPixel([o[0] + size[0], o[1] + size[1]]);
    c.fillStyle = "#20262d";
    c.fillRect(a[0], a[1], b[0] - a[0], b[1] - a[1]);
    this.paintTiles(this.image, 1);
    if (this.show.labels) this.paintTiles(this.labels, this.image ? 0.45 : 1);
    if (this.show.blocks) this.paintBlocks();
    if (this.box) this.paintBox();
    this.paintPicked();
    this.paintScale();
    const problem = (this.image ?? this.labels)?.problem;
    if (problem) {
      c.fillStyle = "#fffc";
      c.font = "14px system-ui, sans-serif";
      c.textAlign = "center";
      c.fillText(problem, w / 2, h / 2);
    }
  }

  paintTiles(tiles, alpha) {
    const at = tiles && this.placeIn(tiles);
    if (!at) return;
    this.context.globalAlpha = alpha;
    tiles.paint(this.context, at.scale, at.z, at.seen, ([x, y]) =>
      this.toPixel([x / at.f[0], y / at.f[1]]));
    this.context.globalAlpha = 1;
  }

  // Whether all that can be seen now is drawn; for tests.
  get complete() {
    return [this.image, this.labels].every((tiles) => {
      const at = tiles && this.placeIn(tiles);
      return !at || tiles.complete(at.scale, at.z, at.seen);
    });
  }

  // States differ in shape as well as in colour.
  paintBlocks() {
    if (!this.blocks) return;
    const { lo, hi, states } = this.blocks;
    const { block } = this.maker.recipe;
    const { size, voxel_offset: o } = this.finest;
    const { context: c } = this;
    let i = 0;
    for (let y = lo[1]; y < hi[1]; y++) {
      for (let x = lo[0]; x < hi[0]; x++) {
        const p = this.toPixel([o[0] + x * block[0], o[1] + y * block[1]]);
        const q = this.toPixel([
          o[0] + Math.min((x + 1) * block[0], size[0]),
          o[1] + Math.min((y + 1) * block[1], size[1]),
        ]);
        this.paintBlock(c, states[i++], p[0], p[1], q[0] - p[0], q[1] - p[1]);
      }
    }
  }

  paintBlock(c, state, x, y, w, h) {
    const edge = Math.min(w, h) > 5 ? 1 : 0;
    c.lineWidth = 1;
    if (state === "." && edge) {
      c.strokeStyle = "#ffffff1a";
      c.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
    }
    if (state === ".") return;
    const colours = { q: "#e0a526", d: "#e0a526", r: "#4aa8ff", p: "#2fbf71", f: "#ff5d5d" };
    c.strokeStyle = colours[state];
    c.fillStyle = `${colours[state]}${{ q: "33", d: "33", r: "55", p: "14", f: "55" }[state]}`;
    c.fillRect(x + edge, y + edge, w - 2 * edge, h - 2 * edge);
    if (!edge) return;
    c.strokeRect(x + 1.5, y + 1.5, w - 3, h - 3);
    const m = Math.min(w, h) / 4;
    const [mx, my] = [x + w / 2, y + h / 2];
    c.beginPath();
    if (state === "f") {
      c.moveTo(mx - m, my - m);
      c.lineTo(mx + m, my + m);
      c.moveTo(mx + m, my - m);
      c.lineTo(mx - m, my + m);
    } else if (state === "q" || state === "d") {
      c.moveTo(x + 2, y + h - 2);
      c.lineTo(x + w - 2, y + 2);
    } else if (state === "r") {
      c.arc(mx, my, m * 0.7, 0, 2 * Math.PI);
    }
    c.stroke();
  }

  paintBox() {
    const { context: c, box } = this;
    const a = this.toPixel(box);
    const b = this.toPixel([box[3], box[4]]);
    const here = this.view.z >= box[2] && this.view.z < box[5];
    c.fillStyle = here ? "#ffffff22" : "#ffffff0c";
    c.fillRect(a[0], a[1], b[0] - a[0], b[1] - a[1]);
    c.lineWidth = 3;
    c.strokeStyle = "#000a";
    c.strokeRect(a[0], a[1], b[0] - a[0], b[1] - a[1]);
    c.lineWidth = 1.5;
    c.setLineDash(here ? [] : [6, 4]);
    c.strokeStyle = "#fff";
    c.strokeRect(a[0], a[1], b[0] - a[0], b[1] - a[1]);
    c.setLineDash([]);
  }

  // Where objects were pointed at, in this depth.
  paintPicked() {
    const { context: c } = this;
    for (const [x, y, z] of this.picked.values()) {
      if (z !== this.view.z) continue;
      const [px, py] = this.toPixel([x + 0.5, y + 0.5]);
      c.beginPath();
      c.arc(px, py, 5, 0, 2 * Math.PI);
      c.lineWidth = 3.5;
      c.strokeStyle = "#000b";
      c.stroke();
      c.lineWidth = 1.5;
      c.strokeStyle = "#fff";
      c.stroke();
    }
  }

  // A bar of a round length in the corner.
  paintScale() {
    const { context: c } = this;
    const [w, h] = this.size;
    const nmPerPixel = this.view.scale * this.finest.resolution[0];
    const most = nmPerPixel * Math.min(140, w / 3);
    const step = 10 ** Math.floor(Math.log10(most));
    const nm = [5, 2, 1].map((k) => k * step).find((v) => v <= most) ?? step;
    const text = nm >= 1e6 ? `${nm / 1e6} mm` : nm >= 1e3 ? `${nm / 1e3} µm` : `${nm} nm`;
    const wide = nm / nmPerPixel;
    c.fillStyle = "#000a";
    c.fillRect(10, h - 34, wide + 16, 26);
    c.fillStyle = "#fff";
    c.fillRect(18, h - 15, wide, 2);
    c.font = "12px system-ui, sans-serif";
    c.textAlign = "left";
    c.fillText(text, 18, h - 20);
  }

  // ---------------------------------------------------------------- hands

  at(e) {
    const r = this.canvas.getBoundingClientRect();
    return [e.clientX - r.left, e.clientY - r.top];
  }

  listenToPointers() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (e) => {
      if (!this.layer || e.button > 0) return;
      canvas.setPointerCapture(e.pointerId);
      this.pointers.set(e.pointerId, this.at(e));
      this.pressed = this.pointers.size === 1 ? this.at(e) : null;
      this.start = this.mode === "draw" && this.pointers.size === 1 ? this.at(e) : null;
    });
    canvas.addEventListener("pointermove", (e) => this.pointerMoved(e));
    for (const name of ["pointerup", "pointercancel"])
      canvas.addEventListener(name, (e) => this.pointerUp(e));
    canvas.addEventListener("wheel", (e) => {
      if (!this.layer || !(e.ctrlKey || document.activeElement === canvas)) return;
      e.preventDefault();
      this.zoom(2 ** (e.deltaY / 300), this.at(e));
    }, { passive: false });
  }

  pointerMoved(e) {
    const last = this.pointers.get(e.pointerId);
    if (!last) return;
    const now = this.at(e);
    this.pointers.set(e.pointerId, now);
    if (this.pointers.size === 2) {
      this.start = null;
      const [other] = [...this.pointers].filter(([id]) => id !== e.pointerId).map(([, p]) => p);
      const far = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      this.pan((now[0] - last[0]) / 2, (now[1] - last[1]) / 2);
      this.zoom(far(last) / far(now), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    } else if (this.start) {
      this.drawBox(this.start, now, false);
    } else if (this.mode === "move") {
      this.pan(now[0] - last[0], now[1] - last[1]);
    }
  }

  pointerUp(e) {
    const at = this.at(e);
    const { start } = this;
    this.pointers.delete(e.pointerId);
    this.start = null;
    if (this.mode === "move" && this.pressed && e.type === "pointerup" &&
        Math.hypot(at[0] - this.pressed[0], at[1] - this.pressed[1]) < HANDLE / 2)
      this.pick(at);
    this.pressed = null;
    if (!start || e.type === "pointercancel") return;
    if (Math.hypot(at[0] - start[0], at[1] - start[1]) >= HANDLE) this.drawBox(start, at, true);
  }

  pick(pixel) {
    const { size, voxel_offset: o } = this.finest;
    const at = [...this.toVoxel(pixel).map(Math.floor), this.view.z];
    if (at.every((v, d) => v >= o[d] && v < o[d] + size[d])) this.onPick(at);
  }

  drawBox(from, to, done) {
    const { size, voxel_offset: o } = this.finest;
    const a = this.toVoxel(from);
    const b = this.toVoxel(to);
    const box = [0, 1].flatMap((d) => {
      const lo = clamp(Math.floor(Math.min(a[d], b[d])), o[d], o[d] + size[d] - 1);
      return [[lo, clamp(Math.ceil(Math.max(a[d], b[d])), lo + 1, o[d] + size[d])]];
    });
    this.onBox([box[0][0], box[1][0], box[0][1], box[1][1]], done);
  }

  key(e) {
    if (!this.layer) return;
    const step = e.shiftKey ? 200 : 40;
    const depth = e.shiftKey ? 10 : 1;
    const keys = {
      ArrowLeft: () => this.pan(step, 0),
      ArrowRight: () => this.pan(-step, 0),
      ArrowUp: () => this.pan(0, step),
      ArrowDown: () => this.pan(0, -step),
      "+": () => this.zoom(0.8),
      "=": () => this.zoom(0.8),
      "-": () => this.zoom(1.25),
      "0": () => this.fit(),
      Enter: () => this.pick(this.size.map((n) => n / 2)),
      PageUp: () => this.setDepth(this.view.z - depth),
      PageDown: () => this.setDepth(this.view.z + depth),
      ",": () => this.setDepth(this.view.z - depth),
      ".": () => this.setDepth(this.view.z + depth),
    };
    if (!keys[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    keys[e.key]();
  }
}
