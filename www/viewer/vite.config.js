// SPDX-License-Identifier: Apache-2.0
// Neuroglancer with the precomputed format only. Its icon package is pinned to the
// registry's version, which lacks three icons; ours stand in for them.
import { fileURLToPath } from "node:url";

const conditions = [
  "neuroglancer/datasource:none_by_default",
  "neuroglancer/datasource/precomputed:enabled",
];
const icons = fileURLToPath(new URL("./icons/", import.meta.url));

export default {
  base: "",
  logLevel: "warn",
  resolve: {
    conditions,
    alias: [
      {
        find: /^ikonate\/icons\/(code-alt|controls-alt|layers)\.svg/,
        replacement: `${icons}$1.svg`,
      },
    ],
  },
  worker: { format: "es" },
  optimizeDeps: { noDiscovery: true },
  build: {
    outDir: "dist",
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 4096,
  },
};
