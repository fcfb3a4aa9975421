// SPDX-License-Identifier: Apache-2.0
// Reads voxels of a precomputed volume over HTTP: an independent reader to hold the
// viewer's values against. Encodings raw and compressed_segmentation, one channel.

const bytesPer = { uint8: 1, uint16: 2, uint32: 4, uint64: 8 };

function little(view, at, size) {
  if (size === 8) return view.getBigUint64(at, true);
  if (size === 4) return BigInt(view.getUint32(at, true));
  if (size === 2) return BigInt(view.getUint16(at, true));
  return BigInt(view.getUint8(at));
}

// One voxel of a compressed_segmentation chunk of `shape`, straight from its bytes.
function compressedValue(view, shape, block, p, size) {
  const word = (i) => view.getUint32(4 * i, true);
  const start = word(0);
  const grid = shape.map((n, d) => Math.ceil(n / block[d]));
  const b = p.map((v, d) => Math.floor(v / block[d]));
  const header = start + 2 * (b[0] + grid[0] * (b[1] + grid[1] * b[2]));
  const table = start + (word(header) & 0xffffff);
  const bits = word(header) >>> 24;
  const [x, y, z] = p.map((v, d) => v % block[d]);
  const bit = bits * (x + block[0] * (y + block[1] * z));
  let index = 0;
  if (bits > 0) {
    const values = start + word(header + 1);
    index = (word(values + (bit >>> 5)) >>> (bit & 31)) & (2 ** bits - 1);
  }
  return little(view, 4 * table + index * size, size);
}

export class Volume {
  static async open(url, request = fetch) {
    const response = await request(`${url}/info`);
    if (!response.ok) throw new Error(`${url}/info: ${response.status}`);
    return new Volume(url, await response.json(), request);
  }

  constructor(url, info, request) {
    Object.assign(this, { url, info, request, scale: info.scales[0], chunks: new Map() });
    this.offset = this.scale.voxel_offset ?? [0, 0, 0];
  }

  chunkOf(point) {
    const chunk = this.scale.chunk_sizes[0];
    const lo = point.map(
      (v, d) => this.offset[d] + Math.floor((v - this.offset[d]) / chunk[d]) * chunk[d],
    );
    const hi = lo.map((v, d) =>
      Math.min(v + chunk[d], this.offset[d] + this.scale.size[d]),
    );
    const name = lo.map((v, d) => `${v}-${hi[d]}`).join("_");
    return { lo, hi, name };
  }

  async bytes(name) {
    if (!this.chunks.has(name)) {
      const response = await this.request(`${this.url}/${this.scale.key}/${name}`);
      if (!response.ok) throw new Error(`${this.url} ${name}: ${response.status}`);
      this.chunks.set(name, new DataView(await response.arrayBuffer()));
    }
    return this.chunks.get(name);
  }

  async value(point) {
    const { lo, hi, name } = this.chunkOf(point);
    const view = await this.bytes(name);
    const size = bytesPer[this.info.data_type];
    const shape = hi.map((v, d) => v - lo[d]);
    const [x, y, z] = point.map((v, d) => v - lo[d]);
    if (this.scale.encoding === "compressed_segmentation") {
      const block = this.scale.compressed_segmentation_block_size;
      return String(compressedValue(view, shape, block, [x, y, z], size));
    }
    if (this.scale.encoding !== "raw")
      throw new Error(`cannot read ${this.scale.encoding}`);
    return String(little(view, size * (x + shape[0] * (y + shape[1] * z)), size));
  }
}
