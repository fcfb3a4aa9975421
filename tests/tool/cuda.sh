#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The plug-in for NVIDIA GPUs by nvcc, and what a machine without a GPU makes of it. (What
# it computes: tests/seg/test_devices, by emulation where there is no GPU.)
. "${srcdir:-.}/tests/tool/tool.sh"
builddir=${builddir:?}

PATH=$PATH:/usr/local/cuda/bin
nvcc=$(command -v nvcc) || skip_all "no nvcc, to build the plug-in for a GPU"
mkdir "$top/plugins"
ok "nvcc takes it, without a warning" make -s -C "$builddir" NVCC="$nvcc" NVCCFLAGS="-Xcompiler -Werror" \
	floodgate-cuda.so
cp "$builddir/floodgate-cuda.so" "$top/plugins/" || exit 1
so=$top/plugins/floodgate-cuda.so
for code in sm_80 sm_90 compute_90; do
	ok "it has code for $code" grep -q -a "$code" "$so"
done
is "no CUDA library is wanted at run time" "$(ldd "$so" | grep -i -E 'cuda|cudnn|nv')" ""
exits 0 '^cpu:0' "devices with it" devices --plugin-dir "$top/plugins"
# Not refused; its GPUs, if there are any, have names of their own.
is "it is not refused" "$(floodgate devices --plugin-dir "$top/plugins" |
	grep -F floodgate-cuda.so)" ""
ls /dev/nvidia[0-9]* >/dev/null 2>&1 ||
	is "no GPU is no device and no complaint" \
		"$(floodgate devices --plugin-dir "$top/plugins" 2>&1 | grep -c -v '^cpu:')" 0
tap_done
