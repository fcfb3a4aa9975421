#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Imports onto a full and onto a read-only disk. A small file system of our own needs a
# mount: in a user namespace, or as root.
. "${srcdir:-.}/tests/tool/tool.sh"

export tool="$builddir/floodgate" disk="$top/disk" big="$top/big"
mkdir "$disk"
if unshare -rm true 2>/dev/null; then
	ns=-rm
else
	ns=-m
fi
small_disk() { # COMMAND: run with $disk on a file system of 600 kB
	unshare $ns sh -c "mount -t tmpfs -o size=600k tmpfs '$disk' && $1"
}
small_disk true 2>/dev/null || missing "a mount of our own (unshare -rm, or root)"

make_stack "$big" 256 256 1 2 3 4 5 6 7 8 9 10 11 12
# shellcheck disable=SC2016
small_disk '"$tool" import "$big" em --resolution 1 --root "$disk" >"$disk.out" 2>&1
	echo $? >"$disk.code"; ls -A "$disk/layers" >"$disk.left"'
is "a full disk has its exit code" "$(cat "$disk.code")" 5
ok "and message" grep -q 'No space left' "$disk.out"
is "nothing is left on it" "$(cat "$disk.left")" ""
# shellcheck disable=SC2016
small_disk 'mount -o remount,ro "$disk" &&
	"$tool" import "$big" em --resolution 1 --root "$disk/root" >"$disk.out" 2>&1
	echo $? >"$disk.code"'
is "a read-only disk" "$(cat "$disk.code")" 1
ok "is named" grep -q "Read-only file system" "$disk.out"
tap_done
