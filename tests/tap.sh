# SPDX-License-Identifier: Apache-2.0
# TAP for shell tests, the counterpart of tests/tap.h:
#
#	. "${srcdir:-.}/tests/tap.sh"
#	ok "copies the file" cmp -s a b          # passes if the command succeeds
#	is "its length" "$(wc -c <a)" 12         # passes if both strings are equal
#	note "a line for the log"
#	tap_done
#
# skip_all WHY ends the test as skipped, only for missing hardware. missing WHAT is for
# software and data: a loud skip on a user's machine, a failure where CI is set.

tap_count=0
tap_failed=0

tap_result() { # status text
	tap_count=$((tap_count + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $tap_count - $2"
	else
		tap_failed=$((tap_failed + 1))
		echo "not ok $tap_count - $2"
	fi
	return "$1"
}

ok() { # text command...
	tap_text=$1
	shift
	if "$@"; then tap_result 0 "$tap_text"; else tap_result 1 "$tap_text"; fi
}

is() { # text got wanted
	if [ "$2" = "$3" ]; then
		tap_result 0 "$1"
	else
		tap_result 1 "$1"
		note "got \"$2\", wanted \"$3\""
		return 1
	fi
}

note() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

skip_all() {
	echo "1..0 # SKIP $*"
	echo "SKIPPED: $*" >&2
	exit 0
}

missing() {
	if [ -n "${CI:-}" ]; then
		echo "Bail out! missing in CI: $*"
		exit 1
	fi
	skip_all "$*"
}

tap_done() {
	echo "1..$tap_count"
	[ "$tap_failed" -eq 0 ] || note "$tap_failed of $tap_count failed"
	[ "$tap_failed" -eq 0 ]
	exit
}
