#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Folders include downwards only: base < formats < store | seg | mesh < work < server.
# The three in the middle are siblings that never see each other. Each include of our
# own is written "folder/file.h". See docs/architecture.md.
srcdir=${srcdir:-$(dirname "$0")/..}
. "$srcdir/tests/tap.sh"

cd "$srcdir" || exit 1
set -- base/*.[ch]
[ -f "$1" ] || { echo "Bail out! no sources in $srcdir"; exit 1; }

# check FILES...: prints each include that breaks the rule.
check() {
	awk '
	BEGIN {
		rank["base"] = 1; rank["formats"] = 2
		rank["store"] = rank["seg"] = rank["mesh"] = 3
		rank["work"] = 4; rank["server"] = 5
	}
	FNR == 1 { own = FILENAME; sub(/^\.\//, "", own); sub(/\/.*/, "", own) }
	/^[ \t]*#[ \t]*include[ \t]*"/ {
		split($0, q, "\""); dir = q[2]
		if (dir == "config.h") next
		if (!sub(/\/.*/, "", dir) || !(dir in rank))
			print FILENAME ":" FNR ": \"" q[2] "\" is not folder/file.h of this tree"
		else if (dir != own && rank[dir] >= rank[own])
			print FILENAME ":" FNR ": " own "/ may not include \"" q[2] "\""
	}' "$@"
}

for dir in base formats store seg mesh work server; do
	[ -d "$dir" ] || continue
	files=$(find "$dir" -name '*.[ch]' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' |
		sort)
	[ -n "$files" ] || continue
	# shellcheck disable=SC2086 # names in the tree have no spaces
	bad=$(check $files)
	is "$dir/ includes only from below" "$bad" ""
done

# The check itself: one forbidden include of each kind is found.
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/store" "$tmp/base"
printf '#include "config.h"\n#include "base/err.h"\n#include "seg/net.h"\n' >"$tmp/store/a.c"
printf '#include "work/task.h"\n#include "err.h"\n' >"$tmp/base/b.h"
cd "$tmp" || exit 1
is "a sideways include is found" "$(check store/a.c)" \
	'store/a.c:3: store/ may not include "seg/net.h"'
is "an upward include and one without a folder are found" "$(check base/b.h | wc -l | tr -d ' ')" 2
tap_done
