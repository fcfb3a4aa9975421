#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every C source is as clang-format 14 with the tree's .clang-format leaves it. Other
# versions of the program format differently, so only 14 is asked.
srcdir=${srcdir:-$(dirname "$0")/..}
. "$srcdir/tests/tap.sh"

cd "$srcdir" || exit 1
format=
for name in "${CLANG_FORMAT:-clang-format-14}" clang-format; do
	if "$name" --version 2>/dev/null | grep -q 'version 14\.'; then
		format=$name
		break
	fi
done
[ -n "$format" ] || missing "clang-format 14 (Debian package clang-format-14)"

for dir in base formats store seg mesh work server tests bench; do
	[ -d "$dir" ] || continue
	files=$(find "$dir" -name node_modules -prune -o \
		\( -name '*.[ch]' -o -name '*.cc' -o -name '*.cu' \) -print | sort)
	[ -n "$files" ] || continue
	bad=$(for f in $files; do
		"$format" --style=file "$f" | cmp -s - "$f" || echo "$f"
	done)
	is "$dir/ is formatted" "$bad" ""
done
note "to repair: $format -i FILE"
tap_done
