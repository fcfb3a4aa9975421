#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job as a person sees it: image and freshly made segmentation in a real
# Neuroglancer. A daemon with the FIB-25 sample and an empty segmentation layer; the
# viewer's own requests make the block, see run.mjs. The screenshot is viewer.png in
# the build folder.
srcdir=${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
builddir=${builddir:-.}
. "$srcdir/tests/tap.sh"

browser=${FLOODGATE_BROWSER:-$builddir/browser}
viewer=${FLOODGATE_VIEWER:-$builddir/viewer}
sample=${FLOODGATE_TEST_DATA:-}/fib25
[ -n "${FLOODGATE_TEST_DATA:-}" ] ||
	missing "FLOODGATE_TEST_DATA is not set (folder that holds fib25/)"
[ -f "$browser/.made-from" ] ||
	missing "no Playwright in $browser (tests/browser/build.sh, which needs npm)"
[ -f "$viewer/.made-from" ] || missing "no viewer in $viewer (make viewer)"
command -v node >/dev/null || missing "node"
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || [ -x /usr/bin/chromium-browser ] ||
	missing "Chromium"

work=$(mktemp -d) || exit 1
daemon=
finish() {
	if [ -n "$daemon" ]; then
		kill "$daemon" 2>/dev/null
		wait "$daemon"
	fi
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

bail() {
	sed 's/^/# /' "$work/log" 2>/dev/null
	echo "Bail out! $*"
	exit 1
}

# A small block, so that the one chunk in view takes seconds rather than minutes.
export FLOODGATE_ROOT="$work/root"
"$builddir/floodgate" import "$sample/training_sample2_grayscale" em \
	--resolution 10,10,10 --encoding raw >"$work/log" 2>&1 || bail "import"
"$builddir/floodgate" layer add seg --ffn --image em \
	--model "$sample/model.ckpt-27465036" --block 40,40,40 --chunk 40,40,40 --halo 16,16,16 \
	>"$work/log" 2>&1 || bail "layer add"
"$builddir/floodgated" --listen 127.0.0.1:0 >"$work/ready" 2>"$work/log" &
daemon=$!
url=
tries=0
while [ -z "$url" ]; do
	url=$(sed -n 's|.* ready at \(http://[^ /]*\)/.*|\1|p' "$work/ready")
	[ -z "$url" ] || break
	kill -0 "$daemon" 2>/dev/null || bail "floodgated ended"
	tries=$((tries + 1))
	[ "$tries" -lt 600 ] || bail "floodgated is not ready after 60 s"
	sleep 0.1
done

node "$srcdir/tests/browser/run.mjs" "$url" "$browser" "$viewer" "$builddir/viewer.png" 900 ||
	{
		sed 's/^/# /' "$work/log"
		exit 1
	}
