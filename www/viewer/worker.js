// SPDX-License-Identifier: Apache-2.0
// Added to Neuroglancer's worker (vite.config.js): asks again for chunks that were
// named by refresh.js, whatever became of the first try: failed, empty, still waiting,
// or drawn. Neuroglancer itself can only forget all chunks of a source at once.
import { ChunkState } from "neuroglancer/unstable/chunk_manager/base.js";
import { PrecomputedVolumeChunkSource } from "neuroglancer/unstable/datasource/precomputed/backend.js";
import { registerRPC } from "neuroglancer/unstable/worker_rpc.js";

// Which chunks came without data ("not there"): it cannot be seen later, when the data
// has moved on to the GPU.
const empty = new WeakSet();
const { download } = PrecomputedVolumeChunkSource.prototype;
PrecomputedVolumeChunkSource.prototype.download = async function (chunk, signal) {
  empty.delete(chunk);
  await download.call(this, chunk, signal);
  if (chunk.data === null) empty.add(chunk);
};

function stopDownload(chunk) {
  const controller = chunk.downloadAbortController;
  chunk.downloadAbortController = undefined;
  controller?.abort(new DOMException("asked for again", "AbortError"));
}

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

// keys: names of chunks, null for all of the source. all: also those that have data.
registerRPC("floodgate.refresh", function ({ id, keys, all }) {
  const source = this.get(id);
  if (!source?.chunks) return;
  const manager = source.chunkManager.queueManager;
  for (const key of keys ?? [...source.chunks.keys()]) {
    const chunk = source.chunks.get(key);
    if (!chunk) continue;
    const without =
      chunk.state === ChunkState.DOWNLOADING ||
      chunk.state === ChunkState.FAILED ||
      empty.has(chunk);
    if (all || without) askAgain(manager, chunk);
  }
});
