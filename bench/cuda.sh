#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything that wants an NVIDIA GPU, in one go and in less than 8 minutes:
#
#   bench/cuda.sh BUILD DATA              run it; BUILD is made first if it can be
#   bench/cuda.sh pack BUILD DATA FILE    programs, libraries and sample in one archive, for
#   bench/cuda.sh unpack FILE             a machine with a GPU where nothing can be built:
#                                         unpack and run there (beside it: this source tree)
#
# BUILD: a build folder (configured --with-cuda if it is empty). DATA: the folder that
# holds fib25/. Most important first: self-check and speed in each precision, the FIB-25
# block, the suite's table of devices, PyTorch on the same card (if it is installed), then
# compute-sanitizer. A part that fails or takes too long does not keep others from running.
# All output also goes to $OUT/cuda.txt (BUILD/cuda.txt without OUT). Nothing is fetched.
set -u
usage() { sed -n '5,16s/^# \{0,1\}//p' "$0"; exit 2; }
src=$(cd "$(dirname "$0")/.." && pwd)
programs="floodgate floodgate-cuda.so bench/cuda_rate bench/fib25 tests/seg/test_devices
	tests/cuda/floodgate-emulated.so"
model=fib25/model.ckpt-27465036
small=seg/models/phantom-small.safetensors
all=450 # seconds

make_all() { # in the build folder
	nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc) || nvcc=nvcc
	make -s -j"$(nproc)" NVCC="$nvcc" $programs
}

pack() { # BUILD DATA FILE
	to=$(mktemp -d) && trap 'rm -r "$to"' EXIT
	(cd "$1" && make_all) || exit 1
	mkdir -p "$to/lib" "$to/data/fib25"
	for p in $programs; do
		mkdir -p "$to/$(dirname $p)" && cp "$1/$p" "$to/$p" && strip -g "$to/$p" || exit 1
	done
	# C and C++ themselves are those of the other machine.
	(cd "$1" && ldd $programs) | awk '/=> \// { print $3 }' | sort -u |
		grep -v -E '/(libc|libm|libstdc\+\+|libgcc_s|libdl|libpthread|libresolv|librt)\.so' |
		xargs -I{} cp -L {} "$to/lib/"
	cp -rL "$2"/$model* "$2"/fib25/training_sample2_grayscale \
		"$2"/fib25/sample-training2.npz "$to/data/fib25/"
	tar -C "$to" -czf "$3" . && ls -l "$3"
}

case ${1:-} in
pack)
	[ $# -eq 4 ] || usage
	pack "$2" "$3" "$4"
	exit
	;;
unpack)
	[ $# -eq 2 ] || usage
	build=$(mktemp -d) && tar -xzf "$2" -C "$build" || exit 1
	data=$build/data
	;;
*)
	[ $# -eq 2 ] || usage
	mkdir -p "$1" && build=$(cd "$1" && pwd) && data=$(cd "$2" && pwd) || exit 2
	;;
esac
PATH=$PATH:/usr/local/cuda/bin
report=${OUT:-$build}/cuda.txt
end=$(($(date +%s) + all))
failed=$(mktemp)

# A part gets its own limit or what is left of all.
part() { # NAME SECONDS COMMAND...
	name=$1 limit=$2 begun=$(date +%s)
	shift 2
	[ $((end - begun)) -ge "$limit" ] || limit=$((end - begun))
	echo "== $name"
	if [ "$limit" -lt 3 ]; then
		echo "== $name SKIPPED: no time left"
		echo "$name" >>"$failed"
		return
	fi
	timeout -k 5 "$limit" "$@"
	rc=$?
	[ $rc -eq 0 ] || { echo "== $name FAILED: $rc" && echo "$name" >>"$failed"; }
	echo "== $name: $(($(date +%s) - begun)) s"
}

# With the libraries that were brought along; not for others' programs.
own() { # NAME SECONDS PROGRAM...
	name=$1 limit=$2
	shift 2
	part "$name" "$limit" env LD_LIBRARY_PATH="$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
		FLOODGATE_PLUGIN_DIR="$build" builddir="$build" "$@"
}

check() { # PRECISION BATCH
	own "check-$1" 30 ./floodgate devices --plugin-dir . --check --device cuda:0 \
		--precision "$1" --batch "$2" --model "$data/$model"
}

sanitize() { # TOOL
	own "$1" 45 compute-sanitizer --tool "$1" --error-exitcode 9 ./floodgate devices \
		--plugin-dir . --check --device cuda:0 --precision bf16 --batch 2 \
		--model "$src/$small"
}

# Ours and PyTorch's, of what was printed: patches a second at batch 64, and the share of
# the matrix product.
compare() {
	awk '/^bf16 matrix product/ { rate = $(NF - 1) }
	/^bf16$/ { bf16 = 1 } /^f16$/ { bf16 = 0 }
	bf16 && /^network +batch/ { split($3, b, ":"); own[b[1]] = $4; tf[b[1]] = $6 }
	/^pytorch / && $6 == "patches/s," {
		split($4, b, ":"); if ($5 + 0 > torch[b[1]] + 0) torch[b[1]] = $5 }
	END { for (n = 1; n <= 64; n *= 8) {
		printf "batch %d: %s patches/s here, %s by PyTorch at best", n, own[n], torch[n]
		if (torch[n] > 0) printf ", %.2f times", own[n] / torch[n]
		if (rate > 0) printf "; %.1f %% of the matrix product", 100 * tf[n] / rate
		print "" } }' "$report"
}

run_all() {
	cd "$build" || exit 1
	[ -f Makefile ] || [ -f floodgate ] ||
		part configure 60 "$src/configure" -q --with-cuda
	[ ! -f Makefile ] || make_all >make.log 2>&1 || {
		echo "== build FAILED" && tail -5 make.log && echo build >>"$failed"
	}
	part card 10 nvidia-smi --format=csv \
		--query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit
	check bf16 64
	part rate 60 bench/cuda_rate
	check f16 64
	check f32 8 # slow, and every place of a batch is tried
	own fib25 60 bench/fib25 "$data/fib25" --device cuda --floods 64 --labels labels.npy
	own published 20 ./floodgate evaluate labels.npy \
		"$data/fib25/sample-training2.npz:segmentation"
	for p in bf16 f16; do
		own "error-$p" 30 bench/fib25 "$data/fib25" --error 8 --device cuda --precision $p
	done
	own devices 75 tests/seg/test_devices
	part pytorch 110 python3 "$src/bench/cuda_torch.py"
	compare
	sanitize memcheck
	sanitize racecheck
	box=75-175_75-175_75-175
	own box-cpu 60 bench/fib25 "$data/fib25" --precision f32 --threads "$(nproc)" \
		--floods "$(nproc)" --box $box --labels cpu.npy
	own box-gpu 20 bench/fib25 "$data/fib25" --device cuda --floods 64 --box $box \
		--labels gpu.npy
	own box-objects 10 ./floodgate evaluate gpu.npy cpu.npy
}

run_all 2>&1 | tee "$report"
bad=$(tr '\n' ' ' <"$failed")
rm "$failed"
[ -z "$bad" ] || { echo "failed: $bad" | tee -a "$report"; exit 1; }
