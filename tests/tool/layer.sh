#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Layers by the tool alone, no daemon: list, show, pause, remove, and what happens when
# somebody else holds the data directory.
. "${srcdir:-.}/tests/tool/tool.sh"

make_stack "$top/stack" 40 30 1 2 3
floodgate import "$top/stack" em --resolution 4.5,4.5,40 -q >"$top/out" || exit 1
exits 0 '^4.5_4.5_40 |^  4.5_4.5_40 +40 x 30 x 3 at 0,0,0; raw in 64 x 64 x 64' "show" \
	layer show em
exits 0 '"name": "em"' "show --json" layer show em --json
ok "is JSON" python3 -m json.tool "$top/out" "$top/json"
exits 0 '"uuid"' "list --json" layer list --json
ok "is JSON" python3 -m json.tool "$top/out" "$top/json"
exits 0 '^layers +1' "info" info
exits 0 '"layers": 1' "info --json" info --json
exits 3 'no layer "eem" .*did you mean em\?' "a slip in a name" layer show eem
exits 3 'no layer "eem" .*did you mean em\?' "also for changes" layer pause eem
exits 2 'not generated' "only what is generated can pause" layer pause em
exits 2 'served.*not generated|not generated' "a served layer has no past" why em 0,0,0
exits 2 'not generated' "and is not segmented" segment em
exits 2 '' "a name twice" layer add em "$FLOODGATE_ROOT/layers/em"
exits 3 'nowhere' "a volume that is not there" layer add x "$top/nowhere"
exits 2 'gopher' "a scheme that is not known" layer add x gopher://host/x
exits 2 '' "a reserved name" layer add api "$FLOODGATE_ROOT/layers/em"
mkdir "$top/notvolume"
exits 3 '' "a folder without info" layer add x "$top/notvolume"
echo '{"@type": "neuroglancer_multiscale_volume"' >"$top/notvolume/info"
exits 2 '' "a broken info" layer add x "$top/notvolume"

# Somebody who holds the lock and does not answer.
exec 9<>"$FLOODGATE_ROOT/lock"
flock 9
exits 4 'no daemon answers' "a locked directory without a daemon" layer pause em
exits 0 '^em ' "can be read" layer list
flock -u 9
exec 9>&-

# The volume stays unless --files; with it, it goes; another's files never do.
cp -R "$FLOODGATE_ROOT/layers/em" "$top/copy"
exits 0 '--files deletes it' "remove keeps files" layer remove em
ok "so that" test -f "$FLOODGATE_ROOT/layers/em/info"
exits 0 'em' "they can be a layer again" layer add em "$FLOODGATE_ROOT/layers/em"
exits 0 'alias' "a second layer of the same files" layer add alias \
	"$FLOODGATE_ROOT/layers/em"
exits 2 'stays: layer alias reads it' "files that others read stay" layer remove em --files
ok "indeed" test -f "$FLOODGATE_ROOT/layers/em/info"
exits 0 'removed alias' "without the other" layer remove alias
exits 0 'em' "and again" layer add em "$FLOODGATE_ROOT/layers/em"
exits 0 'removed em' "remove --files" layer remove em --files
ok "deletes them" test ! -e "$FLOODGATE_ROOT/layers/em"
exits 0 'other' "a volume of others" layer add other "$top/copy"
exits 0 'removed other' "is forgotten" layer remove other --files
ok "and left alone" test -f "$top/copy/info"
exits 3 'no layer "other"' "removing twice" layer remove other
exits 0 '0 errors' "verify" verify
tap_done
