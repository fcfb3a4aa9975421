// SPDX-License-Identifier: Apache-2.0
// A slice of one layer in square tiles of the server's pictures, so that it appears bit
// by bit, stays while one moves, and only what changed is asked for again. Level n has
// 2^n voxels (of the layer's finest scale, along x) to a pixel.
import { layerPath, picture } from "./api.js";

const SIDE = 256; // pixels
const KEPT = 400; // tiles, of all levels

export class Tiles {
  // changed(): a tile came. weight: of its requests among those of this page.
  constructor(layer, { changed, weight, smooth }) {
    Object.assign(this, { layer, changed, weight, smooth });
    const { size, voxel_offset: o, resolution } = layer.scales[0];
    this.lo = o;
    this.hi = o.map((v, d) => v + size[d]);
    this.ratio = resolution[0] / resolution[1]; // voxels along y for one along x
    this.most = Math.max(0, Math.ceil(Math.log2(Math.max(size[0], size[1] / this.ratio) / SIDE)));
    this.tiles = new Map(); // key -> {bitmap, box, stale, abort}
    this.problem = "";
  }

  level(scale) {
    return Math.min(Math.max(0, Math.floor(Math.log2(scale) + 0.4)), this.most);
  }

  // The tile's box in voxels, cut at the volume; null outside of it.
  box(level, tx, ty) {
    const wide = SIDE * 2 ** level;
    const high = wide * this.ratio;
    const box = [
      Math.max(this.lo[0] + tx * wide, this.lo[0]),
      Math.max(this.lo[1] + Math.round(ty * high), this.lo[1]),
      Math.min(this.lo[0] + (tx + 1) * wide, this.hi[0]),
      Math.min(this.lo[1] + Math.round((ty + 1) * high), this.hi[1]),
    ];
    return box[0] < box[2] && box[1] < box[3] ? box : null;
  }

  // Tiles of a level over a box of voxels: [key, tx, ty], the middle ones first.
  over(level, z, seen) {
    const wide = SIDE * 2 ** level;
    const high = wide * this.ratio;
    const from = [(seen[0] - this.lo[0]) / wide, (seen[1] - this.lo[1]) / high].map(Math.floor);
    const to = [(seen[2] - this.lo[0]) / wide, (seen[3] - this.lo[1]) / high].map(Math.ceil);
    const list = [];
    for (let ty = from[1]; ty < to[1]; ty++)
      for (let tx = from[0]; tx < to[0]; tx++) list.push([`${level}/${z}/${tx}/${ty}`, tx, ty]);
    const middle = [(from[0] + to[0] - 1) / 2, (from[1] + to[1] - 1) / 2];
    const far = ([, x, y]) => Math.hypot(x - middle[0], y - middle[1]);
    return list.sort((a, b) => far(a) - far(b));
  }

  // Ask for what is seen and not there; what is not seen any more is not waited for.
  load(scale, z, seen) {
    const level = this.level(scale);
    const wanted = this.over(level, z, seen);
    const keys = new Set(wanted.map(([key]) => key));
    for (const [key, tile] of this.tiles) {
      if (!tile.abort || keys.has(key)) continue;
      tile.abort.abort();
      tile.abort = null;
      if (!tile.bitmap) this.tiles.delete(key);
    }
    for (const [key, tx, ty] of wanted) {
      const tile = this.tiles.get(key);
      if (tile && (tile.abort || !tile.stale)) continue;
      const box = this.box(level, tx, ty);
      if (box) this.ask(key, level, z, box, tile);
    }
    this.forget(keys);
  }

  async ask(key, level, z, box, old) {
    const abort = new AbortController();
    const tile = { bitmap: old?.bitmap ?? null, box, stale: false, abort };
    this.tiles.set(key, tile);
    const width = Math.max(1, Math.round((box[2] - box[0]) / 2 ** level));
    try {
      const path = layerPath(this.layer.name, `/slice?z=${z}&width=${width}&box=${box.join()}`);
      tile.bitmap = await picture(path, { signal: abort.signal, weight: this.weight });
      this.problem = "";
    } catch (error) {
      if (abort.signal.aborted) return;
      this.problem = error.status === 413
        ? "Zoom in to see this layer: it has no coarse scales" : error.message;
      tile.stale = true;
    }
    tile.abort = null;
    this.changed();
  }

  // Tiles over these voxels are out of date.
  spoil(lo, hi) {
    for (const tile of this.tiles.values()) {
      const { box } = tile;
      if (box[0] < hi[0] && box[2] > lo[0] && box[1] < hi[1] && box[3] > lo[1])
        tile.stale = true;
    }
  }

  forget(keep) {
    for (const [key, tile] of this.tiles) {
      if (this.tiles.size <= KEPT) return;
      if (!keep.has(key) && !tile.abort) this.tiles.delete(key);
    }
  }

  stop() {
    for (const tile of this.tiles.values()) tile.abort?.abort();
  }

  // Coarser tiles below, those of this level above. place(x, y): where a voxel is.
  paint(context, scale, z, seen, place) {
    const level = this.level(scale);
    context.imageSmoothingEnabled = this.smooth;
    for (let l = this.most; l >= level; l--) {
      for (const [key] of this.over(l, z, seen)) {
        const tile = this.tiles.get(key);
        if (!tile?.bitmap) continue;
        const a = place([tile.box[0], tile.box[1]]);
        const b = place([tile.box[2], tile.box[3]]);
        context.drawImage(tile.bitmap, a[0], a[1], b[0] - a[0], b[1] - a[1]);
      }
    }
  }

  // Every tile of this level is there.
  complete(scale, z, seen) {
    return this.over(this.level(scale), z, seen).every(([key, tx, ty]) =>
      this.tiles.get(key)?.bitmap || !this.box(this.level(scale), tx, ty));
  }
}
