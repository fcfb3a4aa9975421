#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One reader holds one file in mind: no function above 120 lines or with more than 25
# ways to branch, no file above 900 lines, and the licence named at the top of each.
srcdir=${srcdir:-$(dirname "$0")/..}
. "$srcdir/tests/tap.sh"

cd "$srcdir" || exit 1
max_function=120
max_file=900
max_branches=25
dirs=
for dir in base formats store seg mesh work server tests bench; do
	[ -d "$dir" ] && dirs="$dirs $dir"
done
# shellcheck disable=SC2086
sources=$(find $dirs -name node_modules -prune -o \( -name '*.[ch]' -o -name '*.cc' \
	-o -name '*.cu' \) -print | sort)
# shellcheck disable=SC2086
scripts=$(find $dirs .ci -name node_modules -prune -o \( -name '*.sh' -o -name '*.py' \
	-o -name '*.mjs' -o -name '*.js' \) -print 2>/dev/null | sort)
for f in quickstart autogen.sh configure.ac Makefile.am .ci/run; do
	[ -f "$f" ] && scripts="$scripts $f"
done

is "no file is longer than $max_file lines" "$(for f in $sources; do
	n=$(wc -l <"$f")
	[ "$n" -le $max_file ] || echo "$f: $n lines"
done)" ""

is "each source names its licence in line 1, each script in the first 3" "$(
	for f in $sources; do
		head -n 1 "$f" | grep -q 'SPDX-License-Identifier: ' || echo "$f"
	done
	for f in $scripts; do
		head -n 3 "$f" | grep -q 'SPDX-License-Identifier: ' || echo "$f"
	done
)" ""

ctags=${CTAGS:-ctags}
"$ctags" --version 2>/dev/null | grep -q 'Universal Ctags' ||
	missing "Universal Ctags (Debian package universal-ctags)"

# One line per function: file, first line, last line, name. A function begins with its
# return type, which stands on the line before the name.
functions() {
	"$ctags" -f - --languages=C,C++ --langmap=C++:+.cu --kinds-C=f --kinds-C++=f \
		--fields=ne --excmd=number "$@" | awk -F'\t' '!/^!/ {
		for (i = 3; i <= NF; i++) {
			if ($i ~ /^line:/) first = substr($i, 6)
			if ($i ~ /^end:/) last = substr($i, 5)
		}
		print $2 "\t" first "\t" last "\t" $1
	}'
}
# branches FILE FIRST LAST: 1 + decisions, comments and strings left out; a switch
# counts once, since a flat table of cases is easy to read. Tests are left out: their
# conditions are mostly what is asserted.
branches() {
	sed -n "$2,$3p" "$1" | awk '{
		gsub(/\\./, ""); gsub(/"[^"]*"/, ""); gsub(/\/\*[^*]*\*\//, "")
		if (open) { if (!sub(/^.*\*\//, "")) next; open = 0 }
		if (sub(/\/\*.*/, "")) open = 1
		sub(/\/\/.*/, "")
		n += gsub(/(^|[^A-Za-z0-9_])(if|for|while|switch) *\(/, "")
		n += gsub(/&&|\|\||[?]/, "")
	} END { print n + 1 }'
}

# shellcheck disable=SC2086
list=$(functions $sources)
ok "functions are found" [ "$(printf '%s\n' "$list" | wc -l)" -gt 20 ]
is "no function is longer than $max_function lines" "$(printf '%s\n' "$list" |
	awk -F'\t' -v max=$max_function \
		'$3 - $2 + 1 > max { print $1 ":" $2 ": " $4 " has " $3 - $2 + 1 " lines" }')" ""
is "no function branches more than $max_branches times" "$(printf '%s\n' "$list" |
	awk -F'\t' '$3 - $2 > 30 && $1 !~ /^tests\//' | while IFS='	' read -r f first last name; do
	n=$(branches "$f" "$first" "$last")
	[ "$n" -le $max_branches ] || echo "$f:$first: $name branches $n times"
done)" ""
tap_done
