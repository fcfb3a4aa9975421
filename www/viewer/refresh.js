// SPDX-License-Identifier: Apache-2.0
// Refreshes what the viewer shows of this server's layers when the server says that it
// was made: labels of a block at the finest scale, coarse chunks above it, and meshes.
// Neuroglancer asks for a chunk a few times and then takes "not there" for final; this
// way a segmentation appears while it is being made, however long that takes.
//
// Chunks live in Neuroglancer's worker; which of them are asked for again is decided
// there (worker.js). This side translates events into chunk names.
import { listen } from "../events.js";

const TOGETHER_MS = 200; // events within this time are one refresh
const MESH_MS = 1500; // an object grows with every block: not more often than this
// Layers that are made together with NAME and change with it.
const COMPANIONS = ["", ".agg", ".prob"];

const plain = (url) => url.replace(/\/+$/, "");

class Refresher {
  constructor(viewer, base) {
    this.viewer = viewer;
    this.base = base;
    this.layers = new Map(); // name -> promise of its description
    this.blocks = new Map(); // layer -> positions on the block grid
    this.chunks = new Map(); // layer/scale -> chunk names
    this.grown = new Set(); // layers whose objects may have changed
    this.timer = 0;
    this.meshTimer = 0;
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

  // Everything in the viewer that reads below one of our URLs.
  *sources() {
    for (const source of this.viewer.chunkManager.rpc.objects.values()) {
      const url = source?.parameters?.url;
      if (typeof url === "string" && url.startsWith(this.base) && source.rpcId !== null)
        yield { source, path: plain(url.slice(this.base.length)) };
    }
  }

  refresh(source, keys, all) {
    this.viewer.chunkManager.rpc.invoke("floodgate.refresh", {
      id: source.rpcId,
      keys,
      all,
    });
  }

  tell({ name, data }) {
    if (name === "block") {
      if (data.state !== "present" && data.state !== "absent") return;
      if (!this.blocks.has(data.layer)) this.blocks.set(data.layer, []);
      this.blocks.get(data.layer).push(data.at);
      this.grown.add(data.layer);
    } else if (name === "chunk") {
      const path = `${data.layer}/${data.scale}`;
      if (!this.chunks.has(path)) this.chunks.set(path, []);
      this.chunks.get(path).push(data.at.join());
    } else if (name === "hello" || name === "lost") {
      this.everything();
      return;
    } else {
      return;
    }
    this.timer ||= setTimeout(() => this.flush(), TOGETHER_MS);
    if (this.grown.size > 0)
      this.meshTimer ||= setTimeout(() => this.flushMeshes(), MESH_MS);
  }

  // Events were missed: whatever was not there may be there now.
  everything() {
    for (const { source } of this.sources()) this.refresh(source, null, false);
  }

  async flush() {
    const { blocks, chunks } = this;
    this.blocks = new Map();
    this.chunks = new Map();
    this.timer = 0;
    for (const { source, path } of this.sources()) {
      const [layer, scale] = path.split("/");
      for (const end of COMPANIONS) {
        if (!layer.endsWith(end)) continue;
        const base = layer.slice(0, layer.length - end.length);
        const names = chunks.get(`${base}/${scale}`);
        if (names) this.refresh(source, names, true);
        if (blocks.has(base)) await this.refreshBlocks(source, base, scale, blocks.get(base));
      }
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
    this.refresh(source, names, false);
  }

  // Lists of fragments and skeletons, by object: the viewer holds those it shows.
  flushMeshes() {
    const { grown } = this;
    this.grown = new Set();
    this.meshTimer = 0;
    for (const { source, path } of this.sources()) {
      const [layer, ...rest] = path.split("/");
      const known = COMPANIONS.some(
        (end) => layer.endsWith(end) && grown.has(layer.slice(0, layer.length - end.length)),
      );
      // A volume's source has a grid; what is left is asked for by object.
      if (known && rest.length > 0 && !source.spec?.chunkDataSize)
        this.refresh(source, null, true);
    }
  }
}

export function refreshLayers(viewer, base) {
  const refresher = new Refresher(viewer, base);
  return listen(base, (event) => refresher.tell(event));
}
