/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding and opening plug-ins, once per process. The list is built by whichever thread
 * first asks and not changed after that, so it needs no lock. Files are taken in the
 * order of the folders, then by name: the order of devices is the same at each start.
 */
#include "config.h"

#include "seg/plugin.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define PLUGINS_MAX 16
#define PREFIX "floodgate-"
#define SUFFIX ".so"

static struct {
	char *folders; /* as set; NULL = not */
	const struct fg_backend *backend[PLUGINS_MAX];
	struct {
		char *file, *why;
	} refused[PLUGINS_MAX];
	size_t backends, refusals;
} list;
static pthread_once_t once = PTHREAD_ONCE_INIT;

void
fg_plugins_search(const char *folders)
{
	free(list.folders);
	list.folders = fg_strdup(folders);
}

static void
refuse(const char *file, const struct fg_err *err)
{
	if (list.refusals == PLUGINS_MAX)
		return;
	list.refused[list.refusals].file = fg_strdup(file);
	list.refused[list.refusals++].why = fg_strdup(err->msg);
}

/* The name between prefix and suffix is the back end's. */
static bool
is_named(const char *file, const char *name)
{
	size_t n = strlen(name);

	return strlen(file) == strlen(PREFIX) + n + strlen(SUFFIX) &&
	       strncmp(file + strlen(PREFIX), name, n) == 0;
}

static bool
is_complete(const struct fg_backend *b)
{
	int own = !!b->step + !!b->canvas_open + !!b->canvas_clear + !!b->canvas_write +
		  !!b->canvas_read + !!b->canvas_close;

	return b->name && b->count && b->describe && b->open && b->close && b->load &&
	       b->unload && b->forward && (own == 0 || own == 6);
}

static int
check_table(const char *file, const struct fg_backend *b, struct fg_err *err)
{
	if (!b)
		return fg_fail(err, FG_ENOTSUP, "it has no back end here");
	/* Nothing behind these words means anything before they are right. */
	if (b->abi != FG_BACKEND_ABI)
		return fg_fail(err, FG_ENOTSUP,
		    "made for interface %u, this program has %u", b->abi,
		    FG_BACKEND_ABI);
	if (b->size != sizeof *b)
		return fg_fail(err, FG_ENOTSUP,
		    "its table has %u bytes, this program's %zu", b->size, sizeof *b);
	if (!is_complete(b))
		return fg_fail(err, FG_ENOTSUP, "its table has gaps");
	if (!is_named(file, b->name))
		return fg_fail(err, FG_ENOTSUP, "it calls itself \"%.20s\"", b->name);
	if (strcmp(b->name, fg_backend_cpu.name) == 0 ||
	    strcmp(b->name, fg_backend_opencl.name) == 0)
		return fg_fail(err, FG_ENOTSUP, "back end %s is built in", b->name);
	for (size_t i = 0; i < list.backends; i++) {
		if (strcmp(list.backend[i]->name, b->name) == 0)
			return fg_fail(err, FG_ENOTSUP,
			    "another plug-in brought back end %s", b->name);
	}
	if (list.backends == PLUGINS_MAX)
		return fg_fail(err, FG_EFULL, "more than %d plug-ins", PLUGINS_MAX);
	return 0;
}

static int
open_plugin(const char *path, const char *file, struct fg_err *err)
{
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	union {
		void *p;
		fg_plugin_fn *fn;
	} symbol;
	int rc = -1;

	if (!lib) {
		const char *why = dlerror(), *p = strstr(why, path);

		/* Without the folder, which is nobody's business. */
		if (p == why && why[strlen(path)] == ':')
			why += strlen(path) + 2;
		return fg_fail(err, FG_ENOTSUP, "%s", why);
	}
	symbol.p = dlsym(lib, "fg_plugin");
	if (!symbol.p) {
		fg_fail(err, FG_ENOTSUP, "it has no symbol fg_plugin");
	} else {
		const struct fg_backend *b = symbol.fn();

		rc = check_table(file, b, err);
		if (rc == 0)
			list.backend[list.backends++] = b;
	}
	if (rc < 0)
		dlclose(lib);
	return rc;
}

static int
is_plugin(const struct dirent *d)
{
	size_t n = strlen(d->d_name), edges = strlen(PREFIX) + strlen(SUFFIX);

	return n > edges && strncmp(d->d_name, PREFIX, strlen(PREFIX)) == 0 &&
	       strcmp(d->d_name + n - strlen(SUFFIX), SUFFIX) == 0;
}

static void
search_folder(const char *folder)
{
	struct dirent **entry;
	int n = scandir(folder, &entry, is_plugin, alphasort);

	for (int i = 0; i < n; i++) {
		char *path = fg_asprintf("%s/%s", folder, entry[i]->d_name);
		struct fg_err err = FG_ERR_INIT;

		if (open_plugin(path, entry[i]->d_name, &err) < 0)
			refuse(entry[i]->d_name, &err);
		free(path);
		free(entry[i]);
	}
	if (n >= 0)
		free(entry);
}

static void
search(void)
{
	const char *env = getenv("FLOODGATE_PLUGIN_DIR");
	char *all = fg_strdup(list.folders ? list.folders : env ? env : FG_PKGLIBDIR);
	char *at = all, *folder;

	while ((folder = strsep(&at, ":")) != NULL) {
		if (*folder)
			search_folder(folder);
	}
	free(all);
}

const struct fg_backend *
fg_plugin_backend(size_t i)
{
	pthread_once(&once, search);
	return i < list.backends ? list.backend[i] : NULL;
}

const char *
fg_plugin_refused(size_t i, const char **why)
{
	pthread_once(&once, search);
	if (i >= list.refusals)
		return NULL;
	*why = list.refused[i].why;
	return list.refused[i].file;
}
