// SPDX-License-Identifier: Apache-2.0
// Neuroglancer with the precomputed format only. Its icon package is pinned to the
// registry's version, which lacks three icons; ours stand in for them.
import { fileURLToPath } from "node:url";
import { notices } from "./notices.js";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const seen = new Set(); // every module that goes into the bundle

// Neuroglancer's worker gets our worker.js as its last import.
function ownWorker() {
  let found = false;
  return {
    name: "floodgate-worker",
    transform(code, id) {
      if (!/[/\\]chunk_worker\.bundle\.js(\?|$)/.test(id)) return null;
      found = true;
      return { code: `${code}\nimport ${JSON.stringify(here("./worker.js"))};\n`, map: null };
    },
    buildEnd(error) {
      if (!error && !found && this.getModuleIds && [...this.getModuleIds()].some(
        (id) => id.includes("chunk_manager/backend")))
        this.error("Neuroglancer's worker is not where it was: see ownWorker()");
    },
  };
}

export default {
  base: "",
  logLevel: "warn",
  resolve: {
    conditions: [
      "neuroglancer/datasource:none_by_default",
      "neuroglancer/datasource/precomputed:enabled",
    ],
    alias: [
      {
        find: /^ikonate\/icons\/(code-alt|controls-alt|layers)\.svg/,
        replacement: `${here("./icons/")}$1.svg`,
      },
    ],
  },
  plugins: [notices(seen, true)],
  worker: { format: "es", plugins: () => [ownWorker(), notices(seen, false)] },
  optimizeDeps: { noDiscovery: true },
  build: {
    outDir: "dist",
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 4096,
  },
};
