// SPDX-License-Identifier: Apache-2.0
// A plugin for Vite that writes THIRD-PARTY.txt: the name, version, licence and licence
// text of every package of which something is in the bundle.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

// Inside the neuroglancer package, without a package of their own.
const INSIDE = `Parts of other projects that the neuroglancer package brings along, compiled to
WebAssembly or as source, each under its own licence:
  Draco (Apache-2.0), libpng (PNG Reference Library License), zlib (Zlib),
  compresso (MIT), jxl-oxide (MIT or Apache-2.0), jpgjs (Apache-2.0)
`;

function packageOf(id) {
  const [, root, name] =
    id.match(/^\0?(.*[/\\]node_modules[/\\])((?:@[^/\\]+[/\\])?[^/\\]+)[/\\]/) ?? [];
  return name ? join(root, name) : null;
}

function licenceText(folder) {
  const files = readdirSync(folder).filter((f) => /^(licen[cs]e|notice|copying)/i.test(f));
  return files.sort().map((f) => readFileSync(join(folder, f), "utf8").trim()).join("\n\n");
}

function describe(folder) {
  const { name, version, license, author, homepage } = JSON.parse(
    readFileSync(join(folder, "package.json"), "utf8"),
  );
  const text = licenceText(folder);
  if (!license || !text) throw new Error(`${name} ${version} comes without a licence text`);
  const who = typeof author === "string" ? author : author?.name;
  const head = [`${name} ${version}`, `Licence: ${license}`];
  if (who) head.push(`Author: ${who}`);
  if (homepage) head.push(homepage);
  return [...head, "", text].join("\n");
}

// seen: shared by the page's and the workers' builds. write: the one that is done last.
export function notices(seen, write) {
  return {
    name: "floodgate-notices",
    moduleParsed({ id }) {
      const folder = packageOf(id);
      if (folder && existsSync(join(folder, "package.json"))) seen.add(folder);
    },
    generateBundle() {
      if (!write) return;
      const line = `\n${"-".repeat(72)}\n`;
      const parts = [...seen].sort().map(describe);
      this.emitFile({
        type: "asset",
        fileName: "THIRD-PARTY.txt",
        source: [
          "This viewer is made of the packages below and of floodgate's own files\n" +
            "(Apache-2.0). The list is generated when it is built.\n",
          INSIDE,
          ...parts,
        ].join(line) + "\n",
      });
    },
  };
}
