#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: build.sh FOLDER
#
# Builds the viewer into FOLDER/dist: installs the pinned packages of package-lock.json
# in FOLDER and bundles them. Does nothing when FOLDER was made from the same files. The
# source tree is not written to. Needs Node.js 18 or later and npm; the network is used
# for the packages only, and nothing of the result asks another host for anything.
#
# package-lock.json holds one change by hand: neuroglancer asks for a commit of ikonate on
# GitHub, which an override cannot replace in every npm (Debian's 9.2 stops at it), so its
# entry names the registry's 1.1.1 instead. To update: npm install --package-lock-only with
# "ikonate": "1.1.1" among the overrides, then move it to the dependencies again and edit
# that entry.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
files=".npmrc compress.js icons index.html notices.js package-lock.json package.json
	refresh.js viewer.js vite.config.js worker.js"
shared="events.js stream.js"
now=$({
	(cd "$here" && find $files -type f | sort | xargs cat)
	(cd "$here/.." && cat $shared)
} | cksum)
[ "$(cat .made-from 2>/dev/null || true)" != "$now" ] || exit 0
for tool in node npm; do
	command -v $tool >/dev/null || {
		echo "the viewer needs Node.js 18 or later with npm, and there is no $tool" >&2
		exit 1
	}
done
version=$(node -p 'process.versions.node.split(".")[0]')
[ "$version" -ge 18 ] || {
	echo "the viewer needs Node.js 18 or later; node is version $version" >&2
	exit 1
}
rm -rf .made-from source dist
mkdir source
(cd "$here" && tar -cf - $files) | (cd source && tar -xf -)
(cd "$here/.." && tar -cf - $shared) | tar -xf -
# The packages stay where they are while the list does not change.
if ! cmp -s source/package-lock.json node_modules/.floodgate-lock; then
	rm -rf node_modules package.json package-lock.json .npmrc
	cp source/package.json source/package-lock.json source/.npmrc .
	npm ci --ignore-scripts --no-audit --no-fund
	cp source/package-lock.json node_modules/.floodgate-lock
fi
(cd source && node ../node_modules/vite/bin/vite.js build --outDir ../dist --emptyOutDir)
node source/compress.js dist
echo "$now" >.made-from
