// SPDX-License-Identifier: Apache-2.0
// usage: node compress.js FOLDER
//
// Puts NAME.gz beside each file of the bundle that gets smaller by it: the server sends
// what is there and does not compress at run time.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

for (const name of readdirSync(process.argv[2], { recursive: true })) {
  const file = join(process.argv[2], name);
  if (!statSync(file).isFile() || file.endsWith(".gz")) continue;
  const bytes = readFileSync(file);
  const packed = gzipSync(bytes, { level: 9 });
  if (packed.length < 0.9 * bytes.length) writeFileSync(`${file}.gz`, packed);
}
