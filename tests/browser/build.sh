#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: build.sh FOLDER
#
# Installs the pinned packages and builds the test page into FOLDER/dist. Does nothing
# when FOLDER was made from the same files. The source tree is not written to.
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
files=".npmrc package.json package-lock.json vite.config.js index.html page.js icons"
now=$(cd "$here" && find $files -type f | sort | xargs cat | cksum)
[ "$(cat .made-from 2>/dev/null || true)" != "$now" ] || exit 0
command -v npm >/dev/null || { echo "npm is not installed" >&2; exit 1; }
rm -rf .made-from dist $files
(cd "$here" && tar -cf - $files) | tar -xf -
npm ci --ignore-scripts --no-audit --no-fund
node node_modules/vite/bin/vite.js build
echo "$now" >.made-from
