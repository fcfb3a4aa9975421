#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is installed beside the programs: units of systemd, completion of shells, manual
# pages, the description of the Debian package.
. "${srcdir:-.}/tests/tool/tool.sh"
builddir=${builddir:?}

# --- completion: every command and every option, and no others
floodgate --print-completion bash >"$top/bash"
floodgate --print-completion zsh >"$top/zsh"
ok "bash takes its completion" bash -n "$top/bash"
exits 2 'bash or zsh' "another shell" --print-completion fish
floodgate --help | sed -n 's/^  \([a-z]* \{0,1\}[a-z]\{1,\}\)  .*/\1/p' >"$top/commands"
# complete WORD...: what bash offers for the last word
complete() {
	bash -c '. "$1"; shift; COMP_WORDS=(floodgate "$@"); COMP_CWORD=$#; _floodgate
		printf "%s\n" "${COMPREPLY[@]}"' - "$top/bash" "$@" 2>/dev/null | sort -u
}
is "first words" "$(complete '' | tr '\n' ' ')" \
	"$(cut -d' ' -f1 "$top/commands" | sort -u | tr '\n' ' ')"
is "words of a group" "$(complete layer '' | tr '\n' ' ')" \
	"$(sed -n 's/^layer //p' "$top/commands" | sort -u | tr '\n' ' ')"
is "the beginning of one" "$(complete layer pa)" pause
is "an option of a command" "$(complete layer add x --std)" --stddev
is "not of another" "$(complete layer remove --std)" ""
is "behind --root" "$(complete --root "$top" ver)" verify
# shellcheck disable=SC2013
is "each has all its options" "$(while read -r command; do
	# shellcheck disable=SC2086
	floodgate $command --help | sed -n 's/^  \(-.,\|   \) \(--[a-z-]*\).*/\2/p' | sort -u \
		>"$top/help"
	# shellcheck disable=SC2086
	complete $command - >"$top/offered"
	comm -3 "$top/help" "$top/offered" | sed "s/^/$command: /"
done <"$top/commands")" ""
command -v zsh >/dev/null 2>&1 || missing "zsh"
ok "zsh takes its completion" zsh -n "$top/zsh"

# --- units
command -v systemd-analyze >/dev/null 2>&1 || missing "systemd-analyze"
mkdir "$top/units"
sed "s|^ExecStart=[^ ]*|ExecStart=$builddir/floodgated|" "$builddir/data/floodgated.service" \
	>"$top/units/floodgated.service"
cp "$srcdir/data/floodgated.socket" "$top/units/"
ok "systemd takes the units" systemd-analyze verify --man=no "$top/units/floodgated.service" \
	"$top/units/floodgated.socket"
ok "the service is shut in (exposure below 3 of 10)" systemd-analyze security \
	--offline=true --threshold=30 --no-pager "$top/units/floodgated.service"

# --- manual pages
for page in "$srcdir/docs/floodgate.1" "$builddir/docs/floodgated.8" \
	"$builddir/docs/floodgate.json.5"; do
	is "$(basename "$page") is well-formed" \
		"$(LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)" ""
done

# --- the Debian package
version=$(sed -n 's/^AC_INIT(\[floodgate\], \[\(.*\)\])/\1/p' "$srcdir/configure.ac")
is "its version is that of the project" \
	"$(sed -n '1s/^floodgate (\(.*\)) .*/\1/p' "$srcdir/debian/changelog")" "$version"
# Every library that quickstart installs for building is wanted for building the package.
wanted=$(sed -n '/^packages_build="/,/^"/p' "$srcdir/quickstart" | awk '/-dev/ { print $1 }' |
	sed 's/libjpeg62-turbo-dev|libjpeg-turbo8-dev/libjpeg-dev/')
for package in $wanted; do
	grep -qw -- "$package" "$srcdir/debian/control" || echo "$package"
done >"$top/lacking"
is "it is built with the same libraries" "$(cat "$top/lacking")" ""
tap_done
