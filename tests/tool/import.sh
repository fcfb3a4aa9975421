#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# floodgate import from the shell: round trips, and everything that can be wrong with a
# stack or a user's patience. After each refusal nothing may be left. Disks are in
# disk.sh, the published sample in sample.sh.
. "${srcdir:-.}/tests/tool/tool.sh"

# ------------------------------------------------------------- what works

make_stack "$top/stack" 90 70 8 9 10 11 12
exits 0 '90 x 70 x 5 voxels, uint8' "a stack is imported" \
	import "$top/stack" em --resolution 8,8,40
exits 0 '^em +image +90 x 70 x 5 +uint8 +2 +ok' "and is a layer" layer list
is "with nothing beside it" "$(layers_left)" em
ok "progress goes to standard error, line by line where that is no terminal" \
	grep -q '^import p: 100 %' "$(
		floodgate import "$top/stack" p --resolution 1 2>"$top/progress" >/dev/null
		echo "$top/progress"
	)"
make_stack "$top/tall" 256 256 1 700
python3 -c 'import os, pty, sys
out = open(sys.argv[1], "wb")
def read(fd):
    data = os.read(fd, 1024)
    out.write(data)
    return data
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[2:], read)))' "$top/tty" \
	"$builddir/floodgate" import "$top/tall" tall --resolution 1 --allow-holes --gzip \
	</dev/null >/dev/null 2>&1
is "on a terminal" $? 0
ok "there is a bar with rate and time left" grep -aEq \
	'import tall \[#+\.*\] +[0-9]+ %  [0-9.]+ Mvoxel/s  [0-9.]+ s left' "$top/tty"
ok "that is wiped before the summary" grep -aq "$(printf '\r\033')\[Ktall: 256 x 256 x 700" \
	"$top/tty"
exits 0 '"mean": [0-9.]+' "--json is JSON" import "$top/stack" j --resolution 1 --json -q
ok "for a program" python3 -c 'import json, sys
s = json.load(open(sys.argv[1]))
v = [(3*x + 5*y + 7*z) % 251 for z in range(8, 13) for y in range(70) for x in range(90)]
assert s["size"] == [90, 70, 5] and s["min"] == min(v) and s["max"] == max(v), s
assert abs(s["mean"] - sum(v) / len(v)) < 1e-9, s' "$top/out"
exits 0 'uint8, axes' "voxels come out again" cutout em -o "$top/em.npy"
ok "each where it was" python3 -c 'import sys
b = open(sys.argv[1], "rb").read()
assert b[:6] == b"\x93NUMPY" and b"(5, 70, 90)" in b[:128], b[:128]
v = bytes((3*x + 5*y + 7*z) % 251 for z in range(8, 13) for y in range(70) for x in range(90))
assert b.endswith(v) and len(b) % 64 == len(v) % 64' "$top/em.npy"
for enc in raw png compressed_segmentation; do
	exits 0 '90 x 70 x 5' "an array is imported as $enc" import "$top/em.npy" "a-$enc" \
		--resolution 8,8,40 --encoding $enc --offset 5,-3,7 --gzip
	exits 0 'axes' "cut out of $enc" cutout "a-$enc" -o "$top/$enc.npy"
done
exits 0 'kind +segmentation' "an encoding of labels makes it a segmentation" \
	layer show a-compressed_segmentation
exits 0 'kind +image' "others do not" layer show a-png
ok "raw and png lose nothing" cmp "$top/raw.npy" "$top/png.npy"
ok "as little as a file of its own" cmp "$top/raw.npy" "$top/em.npy"
exits 0 '"voi": 0(\.0)?,' "labels are the same partition" evaluate --json -q \
	a-compressed_segmentation "$top/em.npy"
exits 0 '10-20_0-4_7-9' "a box of it" cutout a-raw --box 10-20_0-4_7-9 -o "$top/box.npy"
exits 0 'uint8' "a coarser scale" cutout em@16_16_40 -o "$top/coarse.npy"
exits 3 'no scale' "a scale that is not there" cutout em@1_1_1 -o "$top/x.npy"
exits 2 'not inside the volume' "a box outside" cutout em --box 0-91_0-1_0-1 -o "$top/x.npy"
exits 2 'is no box' "no box at all" cutout em --box 0,0,0 -o "$top/x.npy"
exits 3 'No such file' "a folder that is not there" cutout em -o "$top/none/x.npy"
ok "standard output" test "$(floodgate cutout em -o - | cksum)" = "$(cksum <"$top/em.npy")"

# ------------------------------------------------------------- what does not

before=$(layers_left)
refuse() { # CODE PATTERN TEXT INPUT [OPTION...]
	wanted=$1 pattern=$2 text=$3 input=$4
	shift 4
	exits "$wanted" "$pattern" "$text" import "$input" bad --resolution 1 "$@"
	is "$text: nothing is left" "$(layers_left)" "$before"
}
refuse 3 'nowhere' "no such folder" "$top/nowhere"
refuse 2 'is for labels: wanted --type segmentation' "an image as labels" "$top/stack" \
	--type image --encoding compresso
mkdir "$top/empty"
refuse 3 'no .png, .jpg or .tif files' "an empty folder" "$top/empty"
make_stack "$top/holes" 20 20 1 2 5 6
refuse 2 '2 of 6 sections are missing.*between s2.png and s5.png' "holes" "$top/holes"
make_stack "$top/odd" 20 20 1 3
make_stack "$top/odd" 20 21 2
refuse 2 's2.png: 20 x 21 pixels, wanted 20 x 20 as in s1.png' "an odd size" "$top/odd"
make_stack "$top/deep" 20 20 1 3
make_stack "$top/deep" 20 20 2 --bits 16
refuse 2 's2.png: 16 bits a pixel, wanted 8' "16 bits among 8" "$top/deep"
make_stack "$top/cut" 20 20 1 2 3
head -c 100 "$top/cut/s1.png" >"$top/cut/s2.png"
refuse 1 's2.png: ' "a truncated PNG" "$top/cut"
echo 'not a PNG' >"$top/cut/s2.png"
refuse 1 's2.png: ' "a file that is no PNG" "$top/cut"
exits 2 'layer em exists already' "a name that is taken" \
	import "$top/stack" em --resolution 1
exits 0 '2 sections, black' "holes may be allowed" \
	import "$top/holes" black --resolution 1 --allow-holes

# A layer of that name that is served from elsewhere counts, too.
mkdir "$top/served"
cp -R "$FLOODGATE_ROOT/layers/em" "$top/served/em"
exits 0 'served' "a volume is served in place" layer add served "$top/served/em"
exits 2 'layer served exists already' "its name is taken" \
	import "$top/stack" served --resolution 1
exits 2 'needs no import' "a precomputed volume as input" \
	import "$top/served/em" again --resolution 1

# ------------------------------------------------------------- interrupted

# Two sections and 60,000 holes: minutes of work.
make_stack "$top/long" 256 256 1 60000
before=$(layers_left)
"${builddir:?}/floodgate" import "$top/long" long --resolution 1 --allow-holes --gzip \
	--scales 1 >"$top/out" 2>"$top/err" &
pid=$!
wait_for "it began" ls "$FLOODGATE_ROOT/layers/.long.importing/1_1_1"
exits 4 'another import of long' "the same name at the same time" \
	import "$top/stack" long --resolution 1
kill -TERM $pid
wait $pid
is "exit code of an interrupted import" $? 130
ok "it says so" grep -q 'interrupted' "$top/err"
exits 0 'black' "another input of that name begins anew" import "$top/holes" long \
	--resolution 1 --allow-holes
ok "and nothing is left of the first" test ! -e "$FLOODGATE_ROOT/layers/.long.importing"
"${builddir:?}/floodgate" import "$top/long" long2 --resolution 1 --allow-holes --gzip \
	--scales 1 >"$top/out" 2>"$top/err" &
pid=$!
wait_for "it began again" ls "$FLOODGATE_ROOT/layers/.long2.importing/1_1_1"
kill -KILL $pid
wait $pid 2>/dev/null
exits 0 'voxels' "a killed import does not block the next" \
	import "$top/stack" long2 --resolution 1
ok "whose chunks alone are there" test ! -e "$FLOODGATE_ROOT/layers/.long2.importing"

tap_done
