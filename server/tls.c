/* SPDX-License-Identifier: Apache-2.0 */
/* GnuTLS: see the header. Replaced certificates are kept until the end, because a
 * handshake may still hold them. */
#include "config.h"

#include "server/tls.h"

#ifdef HAVE_GNUTLS

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"

#define CHAIN_MAX 16
#define PEM_MAX (1 << 20)
#define WARN_DAYS 14

struct pair {
	gnutls_pcert_st chain[CHAIN_MAX];
	unsigned chain_n;
	gnutls_privkey_t key;
	struct pair *older;
};

static _Atomic(struct pair *) now;

static void
free_pair(struct pair *p)
{
	for (unsigned i = 0; i < p->chain_n; i++)
		gnutls_pcert_deinit(&p->chain[i]);
	if (p->key)
		gnutls_privkey_deinit(p->key);
	free(p);
}

static struct fg_buf *
read_pem(const char *what, const char *path, gnutls_datum_t *out, struct fg_err *err)
{
	struct fg_buf *b = fg_file_read(path, PEM_MAX, err);

	if (!b) {
		(void)fg_err_prefix(err, "%s", what);
		return NULL;
	}
	out->data = b->data;
	out->size = (unsigned)b->len;
	return b;
}

static int
load_chain(struct pair *p, const char *path, struct fg_err *err)
{
	gnutls_datum_t pem;
	struct fg_buf *b = read_pem("tls_cert", path, &pem, err);
	unsigned n = CHAIN_MAX;
	int rc;

	if (!b)
		return -1;
	rc = gnutls_pcert_list_import_x509_raw(p->chain, &n, &pem, GNUTLS_X509_FMT_PEM,
	    0);
	fg_buf_unref(b);
	if (rc < 0)
		return fg_fail(err, FG_EINVAL, "tls_cert: %s: %s", path,
		    gnutls_strerror(rc));
	p->chain_n = n;
	return 0;
}

static int
load_key(struct pair *p, const char *path, struct fg_err *err)
{
	gnutls_datum_t pem;
	struct fg_buf *b = read_pem("tls_key", path, &pem, err);
	int rc;

	if (!b)
		return -1;
	rc = gnutls_privkey_init(&p->key);
	if (rc >= 0)
		rc = gnutls_privkey_import_x509_raw(p->key, &pem, GNUTLS_X509_FMT_PEM,
		    NULL, 0);
	fg_buf_unref(b);
	if (rc < 0)
		return fg_fail(err, FG_EINVAL, "tls_key: %s: %s", path,
		    gnutls_strerror(rc));
	return 0;
}

/* Whether the key is that of the first certificate. */
static int
check_match(const struct pair *p, struct fg_err *err)
{
	unsigned char a[64], b[64];
	size_t an = sizeof a, bn = sizeof b;
	gnutls_pubkey_t own;
	bool same = false;

	if (gnutls_pubkey_init(&own) < 0)
		return fg_fail(err, FG_ENOMEM, "tls_key: no memory");
	same = gnutls_pubkey_import_privkey(own, p->key, 0, 0) >= 0 &&
	       gnutls_pubkey_get_key_id(own, GNUTLS_KEYID_USE_SHA256, a, &an) >= 0 &&
	       gnutls_pubkey_get_key_id(p->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, b,
		   &bn) >= 0 &&
	       an == bn && memcmp(a, b, an) == 0;
	gnutls_pubkey_deinit(own);
	if (same)
		return 0;
	return fg_fail(err, FG_EINVAL,
	    "tls_key is not the key of the first certificate in tls_cert");
}

static void
warn_expiry(const struct pair *p, const char *path)
{
	gnutls_x509_crt_t crt;
	time_t end, t = time(NULL);

	if (gnutls_x509_crt_init(&crt) < 0)
		return;
	if (gnutls_x509_crt_import(crt, &p->chain[0].cert, GNUTLS_X509_FMT_DER) >= 0) {
		end = gnutls_x509_crt_get_expiration_time(crt);
		if (end < t)
			fg_log(FG_LOG_WARN, "tls_cert: %s has expired", path);
		else if (end - t < WARN_DAYS * 86400)
			fg_log(FG_LOG_WARN, "tls_cert: %s expires in %lld hours", path,
			    (long long)(end - t) / 3600);
	}
	gnutls_x509_crt_deinit(crt);
}

int
fg_tls_load(const char *cert, const char *key, struct fg_err *err)
{
	struct pair *p = fg_calloc(1, sizeof *p);

	if (load_chain(p, cert, err) < 0 || load_key(p, key, err) < 0 ||
	    check_match(p, err) < 0) {
		free_pair(p);
		return -1;
	}
	warn_expiry(p, cert);
	p->older = atomic_load(&now);
	atomic_store(&now, p);
	return 0;
}

static int
retrieve(gnutls_session_t session, const gnutls_datum_t *ca, int ca_n,
    const gnutls_pk_algorithm_t *algorithms, int algorithms_n, gnutls_pcert_st **chain,
    unsigned *chain_n, gnutls_privkey_t *key)
{
	struct pair *p = atomic_load(&now);

	(void)session;
	(void)ca;
	(void)ca_n;
	(void)algorithms;
	(void)algorithms_n;
	if (!p)
		return -1;
	*chain = p->chain;
	*chain_n = p->chain_n;
	*key = p->key;
	return 0;
}

fg_tls_fn *
fg_tls_callback(void)
{
	return (fg_tls_fn *)retrieve;
}

void
fg_tls_free(void)
{
	for (struct pair *p = atomic_exchange(&now, NULL), *older; p; p = older) {
		older = p->older;
		free_pair(p);
	}
}

#else

int
fg_tls_load(const char *cert, const char *key, struct fg_err *err)
{
	(void)cert;
	(void)key;
	return fg_fail(err, FG_ENOTSUP, "tls_cert: this build has no TLS (GnuTLS)");
}

fg_tls_fn *
fg_tls_callback(void)
{
	return NULL;
}

void
fg_tls_free(void)
{
}

#endif
