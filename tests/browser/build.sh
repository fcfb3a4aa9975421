#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: build.sh FOLDER
#
# Installs the pinned packages of the browser tests (Playwright without a browser of its
# own, and axe-core) into FOLDER. Does nothing when FOLDER was made from the same list.
# The viewer that they open is built by www/viewer/build.sh.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
now=$(cat "$here/.npmrc" "$here/package.json" "$here/package-lock.json" | cksum)
[ "$(cat .made-from 2>/dev/null || true)" != "$now" ] || exit 0
command -v npm >/dev/null || { echo "npm is not installed" >&2; exit 1; }
rm -rf .made-from dist node_modules
cp "$here/.npmrc" "$here/package.json" "$here/package-lock.json" .
npm ci --ignore-scripts --no-audit --no-fund
echo "$now" >.made-from
