# SPDX-License-Identifier: Apache-2.0
# What the tests of the command line tool share: a scratch folder $top, the tool as
# `floodgate`, the stack maker, and `exits`.

# shellcheck source=tests/tap.sh
. "${srcdir:?}/tests/tap.sh"

command -v python3 >/dev/null || missing "python3 (tests/tool/make_stack.py)"
top=$(mktemp -d "${TMPDIR:-/tmp}/fg-tool-XXXXXX") || exit 1
trap 'rm -rf "$top"' EXIT
export FLOODGATE_ROOT="$top/root" PYTHONDONTWRITEBYTECODE=1

floodgate() {
	"${builddir:?}/floodgate" "$@"
}

make_stack() {
	python3 "$srcdir/tests/tool/make_stack.py" "$@"
}

# exits WANTED PATTERN TEXT ARG...: the tool's exit code (a shell pattern), and a pattern
# (grep -E) that its messages must match.
exits() {
	wanted=$1 pattern=$2 text=$3
	shift 3
	floodgate "$@" >"$top/out" 2>"$top/err"
	code=$?
	# shellcheck disable=SC2254
	case $code in
	$wanted) as_wanted=true ;;
	*) as_wanted=false ;;
	esac
	if $as_wanted && cat "$top/out" "$top/err" | grep -Eq -e "$pattern"; then
		tap_result 0 "$text"
	else
		tap_result 1 "$text"
		note "exit code $code, wanted $wanted; wanted a line like: $pattern"
		note "$(tail -n 5 "$top/out" "$top/err")"
	fi
}

# Everything under ROOT/layers, hidden names included.
layers_left() {
	# shellcheck disable=SC2012
	ls -A "$FLOODGATE_ROOT/layers" 2>/dev/null | tr '\n' ' ' | sed 's/ $//'
}

# wait_for TEXT COMMAND...: until the command succeeds, at most 30 s.
wait_for() {
	what=$1
	shift
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		if [ $tries -gt 600 ]; then
			tap_result 1 "$what"
			return 1
		fi
		sleep 0.05
	done
	return 0
}
