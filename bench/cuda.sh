#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything that wants an NVIDIA GPU, in one go and in less than 10 minutes:
#
#   bench/cuda.sh BUILD DATA
#
# BUILD: a build folder (configured here with --with-cuda if it is empty). DATA: the folder
# that holds fib25/. Self-check and speed at batch 1, 8, 64 in each precision, the suite's
# table of devices, PyTorch on the same card (if it is installed), the FIB-25 block, then
# compute-sanitizer on the table. Each part has a time limit and says when it failed.
set -u
[ $# -eq 2 ] || { sed -n '4,11s/^# \{0,1\}//p' "$0"; exit 2; }
src=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1" && build=$(cd "$1" && pwd)
data=$(cd "$2" && pwd) || exit 2
failed=

part() { # NAME SECONDS COMMAND...
	name=$1 limit=$2
	shift 2
	echo "== $name"
	timeout "$limit" "$@" || { echo "== $name FAILED: $?"; failed="$failed $name"; }
}

cd "$build" || exit 1
[ -f Makefile ] || part configure 60 "$src/configure" --with-cuda
part build 150 make -j16 floodgate floodgate-cuda.so tests/seg/test_devices \
	tests/cuda/floodgate-emulated.so bench/fib25
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm --format=csv
for precision in bf16 f16 f32; do
	part "check $precision" 40 ./floodgate devices --plugin-dir . --check \
		--device cuda:0 --precision $precision \
		--model "$data/fib25/model.ckpt-27465036"
done
part devices 90 env builddir="$build" tests/seg/test_devices
part pytorch 90 python3 "$src/bench/cuda_torch.py"
export FLOODGATE_PLUGIN_DIR="$build"
part fib25 60 bench/fib25 "$data/fib25" --device cuda --floods 64
for tool in memcheck racecheck; do
	part $tool 60 compute-sanitizer --tool $tool --error-exitcode 9 ./floodgate devices \
		--plugin-dir . --check --device cuda:0 --precision bf16 --batch 2 \
		--model "$src/seg/models/phantom-small.safetensors"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
