#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tool beside a daemon that misbehaves, played by fake_daemon.py: what it says of
# each answer, that Ctrl-C takes an order back, and that a data directory may be deeper
# than a socket's name is long.
. "${srcdir:-.}/tests/tool/tool.sh"

deep=$(printf 'a%.0s' $(seq 1 120))
export FLOODGATE_ROOT="$top/$deep/root"
PYTHONPATH="$srcdir/tests/http" python3 -c 'import lib, sys
lib.Volume(sys.argv[1] + "/volume", size=(40, 40, 40), chunk=(32, 32, 32))
lib.write_tiny_model(sys.argv[1] + "/model/tiny")' "$top" || exit 1
exits 0 '^name +em' "a layer" layer add em "$top/volume"
exits 0 'precision +f32' "and a generated one" layer add seg --ffn --image em \
	--model "$top/model/tiny" --fov 9 --delta 2 --block 32 --halo 4 --chunk 32 \
	--precision f32 --min-segment-size 10

fake() { # MODE: start, wait until it listens
	: >"$top/log"
	mkfifo "$top/ready"
	python3 "$srcdir/tests/tool/fake_daemon.py" "$FLOODGATE_ROOT" "$1" "$top/log" \
		>"$top/ready" &
	fake_pid=$!
	read -r _ <"$top/ready"
	rm "$top/ready"
}
end_fake() {
	kill $fake_pid
	wait $fake_pid 2>/dev/null
}

fake busy
exits 4 'the queue is full' "503" layer pause seg
exits 0 '^em ' "reading goes on beside it" layer list
exits 4 'the queue is full' "503 for an order" segment seg
ok "the box is sent" grep -q \
	'^POST /api/jobs {"box":\[8,0,-16,48,40,24\],"layer":"seg"}$' "$top/log"
exits 3 'no layer "sge".*did you mean seg' "a slip is found here" segment sge
make_stack "$top/stack" 20 20 1 2
exits 4 'complete in .*/layers/new, but no layer yet \(.*layer add new .*\): the queue' \
	"an import that cannot be registered" import "$top/stack" new --resolution 1
ok "is not lost" test -f "$FLOODGATE_ROOT/layers/new/info"
end_fake

fake error
exits 1 'it hurts$' "an error that is not JSON: its first line" layer remove seg
end_fake
fake garbage
exits 1 "the daemon's reply" "a reply that is not JSON" segment seg
end_fake
fake vanish
exits 1 'asking the daemon' "no reply at all" layer resume seg
end_fake
fake fail
exits 1 'the device is on fire' "a job that fails" segment seg
ok "its numbers are told" grep -q '2 blocks made, 1 were there, 0 failed' "$top/out"
exits 1 'the device is on fire' "one that is watched" job watch 7
ok "its numbers, too" grep -q '^job 7: 2 blocks made, 1 were there, 0 failed' "$top/out"
end_fake

fake stall
"${builddir:?}/floodgate" segment seg >"$top/out" 2>"$top/err" &
pid=$!
wait_for "it looks" grep -q '^GET /api/jobs/7' "$top/log"
kill -TERM $pid
wait $pid
is "exit code of an interrupted order" $? 130
ok "the order was taken back" grep -q '^DELETE /api/jobs/7' "$top/log"
ok "progress was shown" grep -q '^segment seg:  60 %.*3 of 5 blocks' "$top/err"
end_fake

# The socket is still there, nobody listens, nobody holds the lock.
exits 0 'paused seg' "a dead daemon's socket is in nobody's way" layer pause seg
tap_done
