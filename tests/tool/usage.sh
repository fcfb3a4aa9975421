#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command line itself: help, unknown words, bad options and values, and that the man
# page says about every command and option what --help says.
. "${srcdir:-.}/tests/tool/tool.sh"

exits 0 'Usage: floodgate COMMAND' "--help" --help
exits 0 '^floodgate [0-9]' "--version" --version
exits 2 'Usage: floodgate COMMAND' "no command at all"
exits 2 'no command "segmnt"; did you mean segment\?' "a slip is corrected" segmnt x
exits 2 'no command "zebra"; floodgate --help' "a strange word is not" zebra
exits 2 'no command "layer ad"; did you mean layer add\?' "a slip in a group" layer ad
exits 2 'floodgate layer remove' "a group alone lists its commands" layer
exits 0 'floodgate layer remove' "a group's --help" layer --help
exits 2 'no option --resolutoin.*did you mean --resolution\?' "an option's slip" \
	import a b --resolutoin 1
exits 2 '--resolution needs a value' "an option without its value" import a b --resolution
exits 2 'gzip=3 takes no value' "a switch with a value" import a b --gzip=3
exits 2 'no option -z' "an unknown letter" import a b -z
exits 2 '1 argument given, wanted: INPUT NAME' "an argument too few" import a
exits 2 '3 arguments given' "an argument too many" import a b c
exits 2 '--resolution X,Y,Z is needed' "a needed option" import a b
for bad in 0,1,1 1,2 1,2,3,4 1,,2 x nan inf 1e400 '1 2 3' ''; do
	exits 2 '--resolution .*wanted three numbers' "--resolution '$bad'" \
		import a b --resolution "$bad"
done
exits 2 'wanted three whole numbers' "half a voxel" import a b --resolution 1 --chunk 3.5
exits 2 'whole number.* from 1 to 32' "too many scales" import a b --resolution 1 --scales 33
exits 2 'encoding.*zip' "no such encoding" import a b --resolution 1 --encoding zip
exits 2 'wanted image or segmentation' "no such type" import a b --resolution 1 --type labels
exits 2 'needs --encoding jpeg' "options that do not go together" \
	import a b --resolution 1 --jpeg-quality 80
exits 2 'cannot be a layer' "a name that is a path" import a ../b --resolution 1
exits 3 'no layer' "a path is no layer's name" layer remove ../../etc
exits 3 'No such file' "no data directory" layer list
exits 3 'No such file' "nothing is made to look into it" info
ok "indeed" test ! -e "$FLOODGATE_ROOT"
exits 2 'goes with --ffn' "options of generated layers only" layer add x "$top" --fov 33
exits 2 'needs --image' "what a generated layer needs" layer add x --ffn
exits 2 'only NAME is given' "a generated layer has no source" layer add x y --ffn
exits 3 'nowhere' "a model that is not there" model "$top/nowhere"

# --help and man page, both as lines COMMAND|OPTION|SENTENCE in lower case.
floodgate --help | sed -n 's/^  \([a-z]* \{0,1\}[a-z]\{1,\}\)  .*/\1/p' >"$top/commands"
ok "there are commands" test "$(wc -l <"$top/commands")" -ge 15
while read -r command; do
	# shellcheck disable=SC2086
	floodgate $command --help
done <"$top/commands" | awk 'length($0) > 90' >"$top/wide"
ok "no line of their help is wider than 90" test ! -s "$top/wide"
sed 's/^/# /' "$top/wide"
while read -r command; do
	# shellcheck disable=SC2086
	floodgate $command --help | awk -v command="$command" '
		/^Options:/ { on = 1; next }
		!on { next }
		/^  (-|    --)/ {
			if (text) print text
			sub(/^ */, ""); sub(/^-., /, "")
			n = split($0, w, " ")
			name = w[1]; first = 2
			# The option itself ends at column 29; an argument is in capitals,
			# or a key and a value in capitals.
			if (w[2] ~ /^([A-Za-z]+=)?[A-Z][A-Z,.\[\]@]*$/) { name = name " " w[2]; first = 3 }
			text = command "|" name "|"
			for (i = first; i <= n; i++) text = text " " w[i]
			next
		}
		{ sub(/^ */, ""); text = text " " $0 }
		END { print text }'
done <"$top/commands" | grep -Ev '\|--(root DIR|index-dir DIR|json|quiet|help)\|' | tr 'A-Z' 'a-z' |
	sort >"$top/help.txt"
awk '
	/^\.SS "floodgate / {
		command = $0
		sub(/^\.SS "floodgate /, "", command); sub(/"$/, "", command)
		gsub(/\\/, "", command); sub(/ [A-Z[].*/, "", command)
	}
	/^\.SH/ { command = "" }
	/^\.BI? / && command {
		name = $0
		gsub(/\\|"/, "", name); sub(/^\.BI? /, "", name); sub(/^-., /, "", name)
		gsub(/  */, " ", name)
		getline text
		gsub(/\\&|\\/, "", text); sub(/\.$/, "", text)
		print command "|" name "| " text
	}' "$srcdir/docs/floodgate.1" | tr 'A-Z' 'a-z' | sort >"$top/man.txt"
ok "there are options" test "$(wc -l <"$top/help.txt")" -ge 40
ok "the man page has every option, word for word" cmp "$top/help.txt" "$top/man.txt"
diff "$top/help.txt" "$top/man.txt" | head -n 20 | sed 's/^/# /'
sed -n 's/^\.SS "floodgate \([a-z]* \{0,1\}[a-z]*\).*/\1/p' "$srcdir/docs/floodgate.1" |
	sed 's/ $//' | sort >"$top/man.commands"
sort "$top/commands" >"$top/help.commands"
ok "and every command" cmp "$top/help.commands" "$top/man.commands"
diff "$top/help.commands" "$top/man.commands" | sed 's/^/# /'
tap_done
