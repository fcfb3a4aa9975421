/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgated: command line, start, signals.
 *
 * The main thread does everything but serve: it starts the server and waits for a
 * signal. SIGTERM and SIGINT begin the drain, which a second thread does, so that a
 * second signal still finds somebody who listens and ends the process at once.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "server/notify.h"
#include "server/server.h"
#include "server/tls.h"

struct options {
	const char *root, *config; /* config NULL: ROOT/floodgate.json if it is there */
	bool create, check;
};

static void
usage(FILE *out)
{
	fputs(
	    "Usage: floodgated [OPTION]...\n"
	    "Serve microscope volumes in Neuroglancer's precomputed format, and make "
	    "what\n"
	    "is missing.\n\n"
	    "  --root DIR\n      Data directory [$FLOODGATE_ROOT, else "
	    "./floodgate.d]\n"
	    "  --create\n      Make the data directory if there is none.\n"
	    "  --config FILE\n      Read settings from FILE [DIR/floodgate.json, if "
	    "there]\n"
	    "  --check-config\n      Check settings and data directory's name, then "
	    "end.\n"
	    "  --help, --version\n\n"
	    "Settings, also in the configuration file as {\"hold_s\": 15, ...}, and in "
	    "the\nenvironment as FLOODGATE_HOLD_S=15; the command line wins, then the\n"
	    "environment:\n",
	    out);
	fg_settings_help(out);
}

/* Value of "--name=value" or "--name value"; advances *i. NULL if there is none. */
static const char *
value_of(char **argv, int argc, int *i, size_t name_n)
{
	const char *arg = argv[*i];

	if (arg[2 + name_n] == '=')
		return arg + 2 + name_n + 1;
	return *i + 1 < argc ? argv[++*i] : NULL;
}

/* A setting given as an option: --hold-s 3, --access-log, --no-access-log. */
static int
setting_option(struct fg_settings *set, char **argv, int argc, int *i,
    struct fg_err *err)
{
	const char *arg = argv[*i];
	size_t n = strcspn(arg + 2, "=");
	char *name = fg_strndup(arg + 2, n);
	const char *value;
	int rc;

	if (fg_settings_is_switch(name) && !arg[2 + n]) {
		rc = fg_settings_set(set, name, "yes", err);
	} else if (strncmp(name, "no-", 3) == 0 && fg_settings_is_switch(name + 3)) {
		rc = fg_settings_set(set, name + 3, "no", err);
	} else {
		value = value_of(argv, argc, i, n);
		rc = value ? fg_settings_set(set, name, value, err)
			   : fg_fail(err, FG_EINVAL, "--%s needs a value", name);
	}
	if (rc < 0 && err->code == FG_ENOENT) {
		fg_err_clear(err);
		fg_fail(err, FG_EINVAL, "there is no option --%s (see --help)", name);
	}
	free(name);
	return rc;
}

/* Options that are no settings. Returns 1 if argv[*i] was one. */
static int
own_option(struct options *o, char **argv, int argc, int *i, struct fg_err *err)
{
	static const char *const names[] = {"root", "config"};

	for (size_t k = 0; k < FG_COUNTOF(names); k++) {
		size_t n = strlen(names[k]);
		const char *arg = argv[*i];

		if (strncmp(arg + 2, names[k], n) != 0 ||
		    (arg[2 + n] && arg[2 + n] != '='))
			continue;
		const char *v = value_of(argv, argc, i, n);

		if (!v || !*v)
			return fg_fail(err, FG_EINVAL, "--%s needs a value", names[k]);
		*(k == 0 ? &o->root : &o->config) = v;
		return 1;
	}
	if (strcmp(argv[*i], "--create") == 0)
		o->create = true;
	else if (strcmp(argv[*i], "--check-config") == 0)
		o->check = true;
	else
		return 0;
	return 1;
}

/* One walk over the command line; with set NULL only our own options are taken. */
static int
parse_options(struct options *o, struct fg_settings *set, char **argv, int argc,
    struct fg_err *err)
{
	for (int i = 1; i < argc; i++) {
		int rc;

		if (strncmp(argv[i], "--", 2) != 0 || !argv[i][2])
			return fg_fail(err, FG_EINVAL, "what is \"%s\"? (see --help)",
			    argv[i]);
		rc = own_option(o, argv, argc, &i, err);
		if (rc < 0 || (rc == 0 && setting_option(set, argv, argc, &i, err) < 0))
			return -1;
	}
	return 0;
}

/* Settings from the file; a missing one is fine unless it was named. */
static int
read_config(const struct options *o, struct fg_settings *set, struct fg_err *err)
{
	char *path = o->config ? fg_strdup(o->config)
			       : fg_asprintf("%s/floodgate.json", o->root);
	struct fg_buf *b = fg_file_read(path, 1 << 20, err);
	int rc = -1;

	if (b) {
		rc = fg_settings_parse(set, (const char *)b->data, b->len, path, err);
	} else if (err->code == FG_ENOENT && !o->config) {
		fg_err_clear(err);
		rc = 0;
	}
	fg_buf_unref(b);
	free(path);
	return rc;
}

/* Defaults, then the file, the environment, the command line. The command line is read
 * twice: it names the file, and wins over it. */
static int
configure(struct options *o, struct fg_settings *set, char **argv, int argc,
    struct fg_err *err)
{
	const char *env = getenv("FLOODGATE_ROOT");
	struct fg_settings scratch;
	int rc;

	o->root = env && *env ? env : "floodgate.d";
	fg_settings_init(&scratch);
	rc = parse_options(o, &scratch, argc > 0 ? argv : NULL, argc, err);
	fg_settings_fini(&scratch);
	if (rc < 0 || read_config(o, set, err) < 0 ||
	    fg_settings_environment(set, err) < 0 ||
	    parse_options(o, set, argv, argc, err) < 0)
		return -1;
	return fg_settings_check(set, err);
}

/* Connections, cached files and index handles all are descriptors. */
static void
raise_descriptors(const struct fg_settings *set)
{
	struct rlimit lim;
	rlim_t need = (rlim_t)set->connections + 256;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	if (lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
			return;
	}
	if (lim.rlim_cur < need)
		fg_log(FG_LOG_WARN,
		    "descriptors: %llu allowed (ulimit -n), %lld connections may need "
		    "%llu",
		    (unsigned long long)lim.rlim_cur, (long long)set->connections,
		    (unsigned long long)need);
}

static void *
stop_thread(void *server)
{
	fg_server_stop(server);
	kill(getpid(), SIGUSR1); /* tells the main thread that it is over */
	return NULL;
}

/* Signals that the main thread waits for, and how it was called. */
struct life {
	sigset_t signals;
	struct options *options;
	char **argv;
	int argc;
};

/* SIGHUP: read everything that can be read again. */
static void
reload(struct fg_server *s, const struct life *life)
{
	struct fg_settings *set = fg_alloc(sizeof *set);
	struct fg_err err = FG_ERR_INIT;
	struct options o = *life->options;
	int rc;

	fg_notify_reloading();
	fg_settings_init(set);
	rc = configure(&o, set, life->argv, life->argc, &err);
	if (rc < 0) {
		fg_settings_fini(set);
		free(set);
	} else {
		rc = fg_server_reload(s, set, &err);
	}
	if (rc < 0)
		fg_log(FG_LOG_ERROR, "nothing was reloaded: %s", err.msg);
	fg_notify_send("READY=1");
}

/* The next signal, or 0: it is time to tell the watchdog. */
static int
next_signal(const struct life *life, int64_t watchdog_ns)
{
	struct timespec t = {.tv_sec = watchdog_ns / FG_NS_PER_S,
	    .tv_nsec = watchdog_ns % FG_NS_PER_S};
	int sig;

	do {
		sig = watchdog_ns > 0 ? sigtimedwait(&life->signals, NULL, &t)
				      : sigwaitinfo(&life->signals, NULL);
	} while (sig < 0 && errno == EINTR);
	return sig < 0 ? 0 : sig;
}

static void
begin_stop(struct fg_server *s, int sig, pthread_t *thread)
{
	fg_log(FG_LOG_INFO, "signal %d: finishing what runs", sig);
	fg_notify_send("STOPPING=1");
	fg_assert(pthread_create(thread, NULL, stop_thread, s) == 0);
}

/* Serve until a signal; 0 after a clean stop. */
static int
wait_for_end(struct fg_server *s, const struct life *life)
{
	int64_t watchdog_ns = fg_notify_watchdog_ns();
	pthread_t thread;
	bool stopping = false;

	for (;;) {
		int sig = next_signal(life, watchdog_ns);

		/* While it drains it is alive by definition: the deadline is drain_s.
		 */
		if (sig == 0 && (stopping || fg_server_is_alive(s))) {
			fg_notify_send("WATCHDOG=1");
		} else if (sig == SIGHUP && !stopping) {
			reload(s, life);
		} else if (sig == SIGUSR1 && stopping) {
			pthread_join(thread, NULL);
			fg_log(FG_LOG_INFO, "stopped");
			return 0;
		} else if (sig == SIGTERM || sig == SIGINT) {
			if (stopping) {
				fg_log(FG_LOG_WARN, "second signal: ending at once");
				_exit(1);
			}
			stopping = true;
			begin_stop(s, sig, &thread);
		}
	}
}

static int
serve(struct life *life, const struct fg_settings *set)
{
	const struct options *o = life->options;
	struct fg_err err = FG_ERR_INIT;
	struct fg_server *s;
	char *link;

	sigemptyset(&life->signals);
	sigaddset(&life->signals, SIGTERM);
	sigaddset(&life->signals, SIGINT);
	sigaddset(&life->signals, SIGHUP);
	sigaddset(&life->signals, SIGUSR1);
	/* Before the first thread: all of them inherit it. */
	pthread_sigmask(SIG_BLOCK, &life->signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	raise_descriptors(set);
	s = fg_server_start(o->root, o->create, set, &err);
	if (!s) {
		fprintf(stderr, "floodgated: %s\n", err.msg);
		return 1;
	}
	link = fg_status_link(s, "*", fg_server_url(s));
	printf("floodgated " PACKAGE_VERSION " ready at %s/  Neuroglancer: %s\n",
	    s->url, link);
	fflush(stdout);
	free(link);
	fg_notify_send("READY=1");
	return wait_for_end(s, life);
}

/* Options that print something and end. */
static bool
print_and_end(const char *arg)
{
	if (strcmp(arg, "--help") == 0)
		usage(stdout);
	else if (strcmp(arg, "--version") == 0)
		puts("floodgated " PACKAGE_VERSION);
	else if (strcmp(arg, "--print-man-settings") == 0) /* for the makefile */
		fg_settings_man(stdout, false);
	else if (strcmp(arg, "--print-man-file") == 0)
		fg_settings_man(stdout, true);
	else
		return false;
	return true;
}

/* Whether the files that the settings name can be used, beyond the settings' form. */
static int
check_files(const struct fg_settings *set, struct fg_err *err)
{
	struct fg_access *a = fg_access_new(set, err);

	if (!a)
		return -1;
	fg_access_free(a);
	if (*set->tls_cert && fg_tls_load(set->tls_cert, set->tls_key, err) < 0)
		return -1;
	fg_tls_free();
	return 0;
}

int
main(int argc, char **argv)
{
	struct options o = {0};
	struct life life = {.options = &o, .argv = argv, .argc = argc};
	struct fg_settings set;
	struct fg_err err = FG_ERR_INIT;
	int rc = 0;

	for (int i = 1; i < argc; i++) {
		if (print_and_end(argv[i]))
			return 0;
	}
	fg_settings_init(&set);
	if (configure(&o, &set, argv, argc, &err) < 0 ||
	    (o.check && check_files(&set, &err) < 0)) {
		fprintf(stderr, "floodgated: %s\n", err.msg);
		rc = 2;
	} else if (o.check) {
		printf("settings are good (data directory %s)\n", o.root);
	} else {
		fg_log_setup(fg_settings_log_level(&set),
		    set.log_json ? FG_LOG_JSON : FG_LOG_TEXT);
		rc = serve(&life, &set);
	}
	fg_settings_fini(&set);
	return rc;
}
