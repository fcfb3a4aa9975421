// SPDX-License-Identifier: Apache-2.0
// Added to Neuroglancer's worker (vite.config.js): asks again for chunks that were
// named by refresh.js, whatever became of the first try: failed, empty, still waiting,
// or drawn. Neuroglancer itself can only forget all chunks of a source at once.
import { ChunkState } from "neuroglancer/unstable/chunk_manager/base.js";
import { PrecomputedVolumeChunkSource } from "neuroglancer/unstable/datasource/precomputed/backend.js";
import { registerRPC } from "neuroglancer/unstable/worker_rpc.js";

const AT_ONCE = 4; // chunks that are replaced while they are drawn

// Which chunks came without data ("not there"): it cannot be seen later, when the data
// has moved on to the GPU.
const empty = new WeakSet();
const { download } = PrecomputedVolumeChunkSource.prototype;
PrecomputedVolumeChunkSource.prototype.download = async function (chunk, signal) {
  empty.delete(chunk);
  await download.call(this, chunk, signal);
  if (chunk.data === null) empty.add(chunk);
};

const isDrawn = (chunk) => chunk.state === ChunkState.GPU_MEMORY;
const isVolume = (chunk) => chunk.source instanceof PrecomputedVolumeChunkSource;

function stopDownload(chunk) {
  const controller = chunk.downloadAbortController;
  chunk.downloadAbortController = undefined;
  controller?.abort(new DOMException("asked for again", "AbortError"));
}

// Back to the queue, as when it is evicted.
function askAgain(manager, chunk) {
  switch (chunk.state) {
    case ChunkState.DOWNLOADING:
      stopDownload(chunk);
      break;
    case ChunkState.FAILED:
      break;
    case ChunkState.GPU_MEMORY:
      manager.freeChunkGPUMemory(chunk);
      manager.freeChunkSystemMemory(chunk);
      break;
    case ChunkState.SYSTEM_MEMORY:
    case ChunkState.SYSTEM_MEMORY_WORKER:
      manager.freeChunkSystemMemory(chunk);
      break;
    default: // waits for its turn, or is not wanted any more
      return;
  }
  manager.updateChunkState(chunk, ChunkState.QUEUED);
}

// A chunk that is drawn stays until its new data is here, so that nothing flickers.
const waiting = new Set();
let replacing = 0;

async function replaceNext() {
  if (replacing >= AT_ONCE || waiting.size === 0) return;
  const [chunk] = waiting;
  waiting.delete(chunk);
  if (chunk.source === null || !isDrawn(chunk)) {
    replaceNext();
    return;
  }
  const { source } = chunk;
  const manager = source.chunkManager.queueManager;
  replacing++;
  try {
    await source.download(chunk, new AbortController().signal);
    if (chunk.source === source && isDrawn(chunk)) {
      manager.freeChunkGPUMemory(chunk);
      manager.freeChunkSystemMemory(chunk); // what the page holds of it
      manager.updateChunkState(chunk, ChunkState.SYSTEM_MEMORY_WORKER);
    }
  } catch {
    if (chunk.source === source && isDrawn(chunk)) askAgain(manager, chunk);
  }
  replacing--;
  replaceNext();
}

// How far a chunk is from being there: what refresh.js asks for is this or less.
function rank(chunk) {
  if (chunk.state === ChunkState.FAILED) return 0;
  if (empty.has(chunk)) return 1;
  return chunk.state === ChunkState.DOWNLOADING ? 2 : 3;
}

// keys: names of chunks, null for all of the source. which: 0 those that failed, 1 also
// those that were not there, 2 also those that are waited for, 3 all.
registerRPC("floodgate.refresh", function ({ id, keys, which }) {
  const source = this.get(id);
  if (!source?.chunks) return;
  const manager = source.chunkManager.queueManager;
  for (const key of keys ?? [...source.chunks.keys()]) {
    const chunk = source.chunks.get(key);
    if (!chunk || rank(chunk) > which) continue;
    if (isVolume(chunk) && isDrawn(chunk)) waiting.add(chunk);
    else askAgain(manager, chunk);
  }
  for (let i = 0; i < AT_ONCE; i++) replaceNext();
});
