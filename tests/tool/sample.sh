#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The way of the README on the published sample, without a daemon: import, a layer that
# is generated, one small block of it, and everything that looks at the result.
. "${srcdir:-.}/tests/tool/tool.sh"

[ -n "${FLOODGATE_TEST_DATA:-}" ] ||
	missing "FLOODGATE_TEST_DATA is not set (folder that holds fib25/)"
data=$FLOODGATE_TEST_DATA/fib25
model=$data/model.ckpt-27465036

exits 0 '250 x 250 x 250 voxels, uint8' "the sample is imported" \
	import "$data/training_sample2_grayscale" fib25 --resolution 10,10,10
ok "its range and mean are the known ones" grep -q 'values *26 to 217, mean 130.03$' \
	"$top/out"
ok "no chunk is empty" grep -q '0.0 % of the finest are empty' "$top/out"
exits 0 'depth +12' "what is in the checkpoint" model "$model"
ok "and how much" grep -q 'parameters *638433' "$top/out"
exits 0 '^cpu:0 +(bf16|f32)' "devices" devices
exits 0 '"usable": true' "devices --json" devices --json

# 48^3 voxels around a neurite, one block without halo: seconds of work.
exits 0 'uint8' "a corner is cut out" cutout fib25 --box 60-108_60-108_60-108 \
	-o "$top/small.npy"
exits 0 '48 x 48 x 48' "and imported" import "$top/small.npy" em --resolution 10 \
	--offset 60,60,60
for bad in "--precision f64" "--block 65" "--fov 32" "--delta 20" "--encoding jpeg" \
	"--image nothing" "--image em@9_9_9" "--model $top/nothing" "--stddev 0"; do
	# shellcheck disable=SC2086
	exits '[23]' '' "layer add --ffn $bad" layer add seg --ffn --image em \
		--model "$model" --block 64 --halo 0 $bad
done
exits 0 'precision +(bf16|f32)' "a generated layer prints its recipe" layer add seg --ffn \
	--image em --model "$model" --block 64 --halo 0 \
	--min-segment-size 100 --prob
ok "with the network's checksum" grep -q 'sha256 *[0-9a-f]\{64\}' "$top/out"
exits 3 'absent' "nothing is there yet" why seg 60,60,60
exits 3 'do not exist' "nothing to cut out" cutout seg --strict -o "$top/x.npy"
exits 2 'not inside the volume' "a box outside" segment seg --box 0-64_60-108_60-108
exits 0 'paused seg' "pause" layer pause seg
exits 0 'seg .* paused' "is seen" layer list
exits 4 'paused' "a paused layer makes nothing" segment seg
exits 0 'resumed seg' "resume" layer resume seg
exits 0 'seg .* ok' "is seen, too" layer list
exits 0 '1 blocks made, 0 were there, 0 failed' "the block is made" segment seg
exits 0 '0 blocks made, 1 were there, 0 failed' "once" segment seg --box 60-61_60-61_60-61
exits 0 'precision +(bf16|f32)' "what made a voxel" why seg 70,80,90
for fact in 'sha256 *[0-9a-f]\{64\}' 'device *cpu:' 'version *[0-9]' 'started *20' \
	'min_segment_size *100$' 'state *present'; do
	ok "is said: $fact" grep -q "$fact" "$top/out"
done
exits 0 '"state": "present"' "also to programs" why seg 60-108_60-108_60-108 --json
exits 2 'no chunk' "a chunk off the grid" why seg 61-109_60-108_60-108
exits 2 'outside' "a voxel outside" why seg 0,0,0
exits 0 'uint64' "the labels are cut out" cutout seg --strict -o "$top/seg.npy"
exits 0 'uint8' "probabilities, too" cutout seg.prob --strict -o "$top/prob.npy"
exits 0 'present' "with their origin" why seg.prob 70,80,90
exits 2 'together with seg' "which are not made alone" segment seg.prob
exits 0 '"voi": 0(\.0)?,' "they equal themselves" evaluate --json seg "$top/seg.npy"
exits 0 'matched at IoU 0.50' "and can be scored" evaluate "$top/seg.npy" seg
exits 2 'choose with --box' "volumes that do not cover each other" evaluate seg \
	"$data/sample-training2.npz:segmentation"
exits 0 '110592 \(|of 110592' "a box of both" evaluate seg \
	"$data/sample-training2.npz:segmentation" --box 60-108_60-108_60-108
exits 0 'blocks_done +1' "show counts" layer show seg
exits 0 '0 errors' "verify" verify
exits 0 '' "backup" backup "$top/backup"
exits 0 '0 errors' "whose copy is whole" verify --root "$top/backup"
exits 0 'removed seg' "the layer is removed" layer remove seg
tap_done
