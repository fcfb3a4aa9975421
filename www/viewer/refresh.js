// SPDX-License-Identifier: Apache-2.0
// Refreshes what the viewer shows of this server's layers when the server says that it
// was made: labels of a block at the finest scale, coarse chunks above it, meshes and
// skeletons, and the stitched view when blocks were joined.
// Neuroglancer asks for a chunk a few times and then takes "not there" for final; this
// way a segmentation appears while it is being made, however long that takes.
//
// Chunks live in Neuroglancer's worker; which of them are asked for again is decided
// there (worker.js). This side translates events into chunk names.
import { listen } from "../events.js";

const TOGETHER_MS = 200; // events within this time are one refresh
const OBJECTS_MS = 1500; // an object grows with every block: not more often than this
// Layers that are made together with NAME and change with it.
// Which chunks are asked for again: see worker.js.
const FAILED = 0;
const MISSING = 1;
const WAITING = 2;
const ALL = 3;

const baseOf = (layer) => layer.replace(/\.(agg|prob)$/, "");

const plain = (url) => url.replace(/\/+$/, "");

class Refresher {
  constructor(viewer, base) {
    this.viewer = viewer;
    this.base = base;
    this.layers = new Map(); // name -> promise of its description
    this.blocks = new Map(); // layer -> positions on the block grid
    this.chunks = new Map(); // layer/scale -> chunk names
    this.objects = new Map(); // layer -> ids
    this.grown = new Set(); // layers whose objects may have changed
    this.stitched = new Set(); // layers whose stitched view may have changed
    this.timer = 0;
    this.objectsTimer = 0;
  }

  describe(name) {
    if (!this.layers.has(name)) {
      const url = new URL(`api/layers/${encodeURIComponent(name)}`, this.base);
      const reply = fetch(url).then((r) => (r.ok ? r.json() : null));
      reply.catch(() => this.layers.delete(name));
      this.layers.set(name, reply);
    }
    return this.layers.get(name);
  }

  // Everything in the viewer that reads below one of our URLs: NAME or NAME@view, and
  // what follows.
  *sources() {
    for (const source of this.viewer.chunkManager.rpc.objects.values()) {
      const url = source?.parameters?.url;
      if (typeof url !== "string" || !url.startsWith(this.base) || source.rpcId === null)
        continue;
      const [layer, ...rest] = plain(url.slice(this.base.length)).split("/");
      const isVolume = Boolean(source.spec?.chunkDataSize);
      yield { source, layer: layer.replace(/@.*/, ""), rest: rest.join("/"), isVolume };
    }
  }

  refresh(source, keys, which) {
    this.viewer.chunkManager.rpc.invoke("floodgate.refresh", {
      id: source.rpcId,
      keys,
      which,
    });
  }

  tell({ name, data }) {
    if (name === "hello" || name === "lost") {
      this.everything(null, MISSING);
    } else if (name === "retry") {
      this.everything(data.layer, FAILED);
    } else if (name === "block") {
      if (data.state !== "present") return;
      this.put(this.blocks, data.layer, data.at);
      this.grown.add(data.layer);
    } else if (name === "chunk") {
      this.put(this.chunks, `${data.layer}/${data.scale}`, data.at.join());
    } else if (name === "object") {
      this.put(this.objects, data.layer, data.id);
    } else if (name === "stitch") {
      this.grown.add(data.layer);
      this.stitched.add(data.layer);
    } else {
      return;
    }
    this.timer ||= setTimeout(() => this.flush(), TOGETHER_MS);
    if (this.grown.size > 0)
      this.objectsTimer ||= setTimeout(() => this.flushObjects(), OBJECTS_MS);
  }

  put(map, key, value) {
    if (!map.has(key)) map.set(key, []);
    map.get(key).push(value);
  }

  // Events were missed, or failures forgotten: what was not there may be there now.
  everything(name, which) {
    for (const { source, layer } of this.sources())
      if (name === null || baseOf(layer) === name) this.refresh(source, null, which);
  }

  async flush() {
    const { blocks, chunks, objects } = this;
    this.blocks = new Map();
    this.chunks = new Map();
    this.objects = new Map();
    this.timer = 0;
    for (const { source, layer, rest, isVolume } of [...this.sources()]) {
      if (!isVolume) {
        // Whoever waits for it need not wait for the next try.
        if (objects.has(layer)) this.refresh(source, objects.get(layer), WAITING);
        continue;
      }
      const base = baseOf(layer);
      const names = chunks.get(`${base}/${rest}`);
      if (names) this.refresh(source, names, ALL);
      if (blocks.has(base)) await this.refreshBlocks(source, base, rest, blocks.get(base));
    }
  }

  async refreshBlocks(source, layer, scale, positions) {
    const about = await this.describe(layer).catch(() => null);
    const size = source.spec?.chunkDataSize;
    if (!about?.recipe || !size || scale !== about.scales[0].key) return;
    const { block } = about.recipe;
    const names = [];
    for (const at of positions) {
      const lo = at.map((v, d) => Math.floor((v * block[d]) / size[d]));
      const hi = at.map((v, d) => Math.ceil(((v + 1) * block[d]) / size[d]));
      for (let z = lo[2]; z < hi[2]; z++)
        for (let y = lo[1]; y < hi[1]; y++)
          for (let x = lo[0]; x < hi[0]; x++) names.push(`${x},${y},${z}`);
    }
    this.refresh(source, names, WAITING);
  }

  // Lists of fragments and skeletons, by object, of those that the viewer holds; and the
  // stitched view, where a new joint may rename what was drawn long ago.
  flushObjects() {
    const { grown, stitched } = this;
    this.grown = new Set();
    this.stitched = new Set();
    this.objectsTimer = 0;
    for (const { source, layer, rest, isVolume } of this.sources()) {
      const base = baseOf(layer);
      if (isVolume ? layer !== base && stitched.has(base) : rest && grown.has(base))
        this.refresh(source, null, ALL);
    }
  }
}

export function refreshLayers(viewer, base) {
  const refresher = new Refresher(viewer, base);
  return listen(base, (event) => refresher.tell(event));
}
