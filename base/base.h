/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vocabulary every file shares: compiler attributes under our own names,
 * assertions that are never compiled out, little-endian access to file bytes,
 * and allocation that checks for overflow.
 *
 * Allocation rule: sizes that come from a file or a request are checked against
 * a limit by the caller *before* allocating, and such a failure is returned.
 * fg_alloc() and friends abort on exhaustion and are for sizes the program chose
 * itself; fg_try_alloc() returns NULL and is for everything that may be large.
 */
#ifndef FG_BASE_BASE_H
#define FG_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "floodgate runs on little-endian machines only"
#endif
_Static_assert(sizeof(void *) == 8, "floodgate is a 64-bit program");

#define FG_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define FG_MUST_USE __attribute__((warn_unused_result))
#define FG_UNUSED __attribute__((unused))
#define FG_NORETURN __attribute__((noreturn))
/* Before a loop of at most 16 rounds whose number the compiler knows: code for each, so
 * that what they index may be registers. */
#if defined(FG_UNROLL) /* a plug-in's compiler has its own */
#elif defined(__clang__)
#define FG_UNROLL _Pragma("unroll")
#else
#define FG_UNROLL _Pragma("GCC unroll 16")
#endif

#define FG_COUNTOF(a) (sizeof(a) / sizeof((a)[0]))
#define FG_MIN(a, b) ((a) < (b) ? (a) : (b))
#define FG_MAX(a, b) ((a) > (b) ? (a) : (b))

/* A broken invariant: print where and abort. Never compiled out. */
#define fg_assert(x) ((x) ? (void)0 : fg_assert_failed(#x, __FILE__, __LINE__))
FG_NORETURN void fg_assert_failed(const char *what, const char *file, int line);

/* Heap memory for n bytes, n * size bytes zeroed, or a resized block; aborts when
 * the machine has none or when n * size overflows. Release with free(). */
void *fg_alloc(size_t n) FG_MUST_USE;
void *fg_calloc(size_t n, size_t size) FG_MUST_USE;
void *fg_realloc(void *p, size_t n, size_t size) FG_MUST_USE;
char *fg_strdup(const char *s) FG_MUST_USE;
char *fg_strndup(const char *s, size_t n) FG_MUST_USE;
/* A new string made like printf does; the caller frees it. */
char *fg_asprintf(const char *fmt, ...) FG_PRINTF(1, 2) FG_MUST_USE;

/* n * size bytes (not zeroed, 64-byte aligned), or NULL. For big arrays. free(). */
void *fg_try_alloc(size_t n, size_t size) FG_MUST_USE;

/* Little-endian loads and stores at any alignment. */
static inline uint16_t
fg_get_u16le(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t
fg_get_u32le(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t
fg_get_u64le(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline void
fg_put_u16le(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline void
fg_put_u32le(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline void
fg_put_u64le(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline int64_t
fg_div_ceil(int64_t a, int64_t b)
{
	return a >= 0 ? (a + b - 1) / b : -(-a / b);
}

/* Floor division for b > 0, also for negative a. */
static inline int64_t
fg_div_floor(int64_t a, int64_t b)
{
	return a >= 0 ? a / b : -((-a + b - 1) / b);
}

#endif
