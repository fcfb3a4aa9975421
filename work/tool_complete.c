/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shell completion, written from the table of commands when the package is built
 * (floodgate --print-completion bash|zsh): commands, options, and files where an
 * argument is one. Names of layers are asked for when they are wanted.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "work/tool.h"

static const char common[] = "--root --index-dir --json --quiet --help";

/* Options of a command that take a value. */
static void
put_options(const struct fg_tool_command *c, bool valued)
{
	for (const struct fg_tool_option *o = c->options; o && o->name; o++) {
		if (!valued || o->arg)
			printf(" --%s", o->name);
	}
}

/* First words, or the second words of a group. */
static void
put_words(const char *group)
{
	size_t n = strlen(group);
	const struct fg_tool_command *c;
	const char *last = "";
	size_t last_n = 0;

	for (int i = 0; (c = fg_tool_command_get(i)) != NULL; i++) {
		const char *word = c->name;

		if (n > 0) {
			if (strncmp(c->name, group, n) != 0 || c->name[n] != ' ')
				continue;
			word = c->name + n + 1;
		}
		size_t len = strcspn(word, " ");

		if (len == last_n && memcmp(word, last, len) == 0)
			continue;
		printf(" %.*s", (int)len, word);
		last = word;
		last_n = len;
	}
}

/* "layer" of "layer add" the first time; NULL otherwise. */
static bool
begins_group(int i, char group[32])
{
	const struct fg_tool_command *c = fg_tool_command_get(i);
	const struct fg_tool_command *before =
	    i > 0 ? fg_tool_command_get(i - 1) : NULL;
	size_t n = strcspn(c->name, " ");

	if (!c->name[n] || (before && strncmp(before->name, c->name, n + 1) == 0))
		return false;
	snprintf(group, 32, "%.*s", (int)n, c->name);
	return true;
}

static bool
wants_layer(const struct fg_tool_command *c)
{
	return c->args && (strncmp(c->args, "LAYER", 5) == 0 ||
			      (strncmp(c->name, "layer ", 6) == 0 &&
				  strcmp(c->name, "layer add") != 0));
}

static void
put_cases(void)
{
	const struct fg_tool_command *c;
	char group[32];

	for (int i = 0; (c = fg_tool_command_get(i)) != NULL; i++) {
		if (begins_group(i, group)) {
			printf("\t\"%s\") words=\"", group);
			put_words(group);
			puts("\" ;;");
		}
		printf("\t\"%s\") options=\"%s", c->name, common);
		put_options(c, false);
		fputs("\" valued=\"--root --index-dir", stdout);
		put_options(c, true);
		printf("\"%s ;;\n", wants_layer(c) ? " layers=1" : "");
	}
}

static void
print_common(void)
{
	puts("# Completion of the command line tool floodgate; made from its own "
	     "table.\n"
	     "_floodgate_table() {\n"
	     "\twords= options= valued= layers=\n"
	     "\tcase $1 in");
	fputs("\t\"\") words=\"", stdout);
	put_words("");
	puts("\" options=\"--root --help --version\" valued=--root ;;");
	put_cases();
	puts("\tesac\n}");
}

static void
print_bash(void)
{
	print_common();
	puts("_floodgate() {\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	     "\tlocal command= i words options valued layers w\n"
	     "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	     "\t\tw=${COMP_WORDS[i]}\n"
	     "\t\tcase $w in\n"
	     "\t\t--root) ((i++)) ;;\n"
	     "\t\t-*) ;;\n"
	     "\t\t*) _floodgate_table \"$command\"\n"
	     "\t\t\tcase \" $words \" in *\" $w \"*) command=${command:+$command }$w "
	     ";;\n"
	     "\t\t\tesac ;;\n"
	     "\t\tesac\n"
	     "\tdone\n"
	     "\t_floodgate_table \"$command\"\n"
	     "\tcase \" $valued \" in *\" $prev \"*) COMPREPLY=($(compgen -f -- "
	     "\"$cur\"))\n"
	     "\t\treturn ;;\n"
	     "\tesac\n"
	     "\tcase $cur in\n"
	     "\t-*) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")) ;;\n"
	     "\t*) [ -z \"$layers\" ] || words=$(floodgate layer list 2>/dev/null |\n"
	     "\t\t\tawk 'NR > 1 { print $1 }')\n"
	     "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	     "\t\t[ -n \"$words\" ] || COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
	     "\tesac\n"
	     "}\n"
	     "_floodgated() {\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]}\n"
	     "\tcase $cur in\n"
	     "\t-*) COMPREPLY=($(compgen -W \"$(floodgated --help |\n"
	     "\t\tsed -n 's/^  --\\[no-\\]\\([a-z-]*\\).*/--\\1 --no-\\1/p; "
	     "s/^  \\(--[a-z-]*\\).*/\\1/p')\" \\\n"
	     "\t\t-- \"$cur\")) ;;\n"
	     "\t*) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
	     "\tesac\n"
	     "}\n"
	     "complete -o filenames -F _floodgate floodgate\n"
	     "complete -o filenames -F _floodgated floodgated");
}

static void
print_zsh(void)
{
	puts("#compdef floodgate");
	print_common();
	puts("_floodgate() {\n"
	     "\tlocal command= i w words_typed=(${words[2,CURRENT-1]}) "
	     "cur=${words[CURRENT]}\n"
	     "\tlocal prev=${words[CURRENT-1]} words options valued layers\n"
	     "\tfor ((i = 1; i <= $#words_typed; i++)); do\n"
	     "\t\tw=${words_typed[i]}\n"
	     "\t\tcase $w in\n"
	     "\t\t--root) ((i++)) ;;\n"
	     "\t\t-*) ;;\n"
	     "\t\t*) _floodgate_table \"$command\"\n"
	     "\t\t\tcase \" $words \" in *\" $w \"*) command=${command:+$command }$w "
	     ";;\n"
	     "\t\t\tesac ;;\n"
	     "\t\tesac\n"
	     "\tdone\n"
	     "\t_floodgate_table \"$command\"\n"
	     "\tcase \" $valued \" in *\" $prev \"*) _files; return ;;\n"
	     "\tesac\n"
	     "\tcase $cur in\n"
	     "\t-*) compadd -- ${=options} ;;\n"
	     "\t*) [[ -z $layers ]] || words=$(floodgate layer list 2>/dev/null |\n"
	     "\t\t\tawk 'NR > 1 { print $1 }')\n"
	     "\t\tif [[ -n $words ]]; then compadd -- ${=words}; else _files; fi ;;\n"
	     "\tesac\n"
	     "}\n"
	     "_floodgate \"$@\"");
}

int
fg_tool_print_completion(const char *shell)
{
	if (shell && strcmp(shell, "bash") == 0) {
		print_bash();
		return FG_EXIT_OK;
	}
	if (shell && strcmp(shell, "zsh") == 0) {
		print_zsh();
		return FG_EXIT_OK;
	}
	fputs("floodgate: --print-completion bash or zsh\n", stderr);
	return FG_EXIT_USAGE;
}
