/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plug-ins: back ends (seg/device.h) in shared objects of their own, so that floodgate
 * itself links nothing of a vendor.
 *
 * A plug-in is a file floodgate-NAME.so with one symbol, a function fg_plugin of type
 * fg_plugin_fn. It is called once and gives the table of back end NAME. The table's
 * first two words say what it was built for; one that says anything else than this
 * program is refused, never guessed at. Nothing of the program is offered to plug-ins:
 * they bring what they need.
 *
 * Folders are searched when devices are first asked for: those of
 * fg_plugins_search(), else of $FLOODGATE_PLUGIN_DIR (separated by colons; empty:
 * none), else the package's own (PREFIX/lib/floodgate). No such folder or file is no
 * error: a machine without plug-ins has the built-in back ends.
 *
 * Loaded plug-ins stay until the process ends.
 */
#ifndef FG_SEG_PLUGIN_H
#define FG_SEG_PLUGIN_H

#include "seg/device.h"

/* The table, or NULL. */
typedef const struct fg_backend *fg_plugin_fn(void);

/* Folders, separated by colons, instead of the default. Only before devices are first
 * asked for, by the thread that starts the program; the string is copied. */
void fg_plugins_search(const char *folders);

/* Back end i of the plug-ins that were accepted; NULL behind the last. */
const struct fg_backend *fg_plugin_backend(size_t i);

/* File name of the i-th plug-in that was refused, and the reason; NULL behind the
 * last. Lent for good. */
const char *fg_plugin_refused(size_t i, const char **why);

#endif
