/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate of the TCP socket. libmicrohttpd asks for it at each handshake, so it
 * can be replaced while the daemon runs; connections that are open keep theirs. There
 * is one per process, as the callback carries no context.
 */
#ifndef FG_SERVER_TLS_H
#define FG_SERVER_TLS_H

#include "base/err.h"

/*
 * Read certificate (with its chain, own one first) and private key, both PEM, and use
 * them from the next handshake on. On failure the old ones stay.
 * Fails: FG_ENOENT, FG_EINVAL (not PEM, or the key is not the certificate's);
 * FG_ENOTSUP: built without GnuTLS. Warns when the certificate is out of date.
 */
int fg_tls_load(const char *cert, const char *key, struct fg_err *err) FG_MUST_USE;

/* For MHD_OPTION_HTTPS_CERT_CALLBACK, whose type is GnuTLS's. */
typedef void fg_tls_fn(void);
fg_tls_fn *fg_tls_callback(void);

/* When no handshake can be running any more. */
void fg_tls_free(void);

#endif
