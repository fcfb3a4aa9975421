/* SPDX-License-Identifier: Apache-2.0 */
/* The callbacks of http.c that listen.c gives to libmicrohttpd; ctx is the server. */
#ifndef FG_SERVER_HTTP_H
#define FG_SERVER_HTTP_H

#include <microhttpd.h>

/* MHD_OPTION_URI_LOG_CALLBACK: makes the request. */
void *fg_http_begin_tcp(void *ctx, const char *target, struct MHD_Connection *conn);
void *fg_http_begin_control(void *ctx, const char *target, struct MHD_Connection *conn);
/* The access handler. */
enum MHD_Result fg_http_handle(void *ctx, struct MHD_Connection *conn, const char *url,
    const char *method, const char *version, const char *data, size_t *n, void **req);
/* MHD_OPTION_NOTIFY_COMPLETED: frees it. */
void fg_http_completed(void *ctx, struct MHD_Connection *conn, void **req,
    enum MHD_RequestTerminationCode why);

#endif
