/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Progress on standard error. A terminal gets one line that is redrawn at most ten
 * times a second; a file or a pipe gets a line at each tenth of the way.
 */
#include "config.h"

#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "work/tool.h"

#define REDRAW_NS (100 * FG_NS_PER_MS)
#define FIRST_S 0.1 /* before that a rate says nothing */
#define BAR_MAX 40

const char *
fg_tool_time(double seconds, char out[32])
{
	int64_t s = seconds > 0 && seconds < 1e12 ? (int64_t)(seconds + 0.5) : 0;

	if (seconds < 9.95)
		snprintf(out, 32, "%.1f s", seconds > 0 ? seconds : 0.0);
	else if (s >= 3600)
		snprintf(out, 32, "%lld:%02lld:%02lld", (long long)s / 3600,
		    (long long)s / 60 % 60, (long long)s % 60);
	else
		snprintf(out, 32, "%lld:%02lld", (long long)s / 60, (long long)s % 60);
	return out;
}

const char *
fg_tool_bytes(double bytes, char out[32])
{
	static const char *const unit[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
	size_t u = 0;

	while (bytes >= 999.5 && u + 1 < FG_COUNTOF(unit)) {
		bytes /= 1000;
		u++;
	}
	snprintf(out, 32, u == 0 || bytes >= 99.95 ? "%.0f %s" : "%.1f %s", bytes,
	    unit[u]);
	return out;
}

static void
begin(struct fg_progress *p)
{
	struct winsize w = {0};

	p->begun = true;
	p->start_ns = fg_clock_ns();
	p->tty = isatty(STDERR_FILENO) == 1;
	p->width =
	    ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

/* "  112.3 MB/s  0:12 left" */
static void
describe(const struct fg_progress *p, double done, double all, const char *note,
    char *out, size_t size)
{
	double s = (double)(fg_clock_ns() - p->start_ns) / (double)FG_NS_PER_S;
	char left[32], rate[48] = "";

	if (p->unit && s > FIRST_S)
		snprintf(rate, sizeof rate, "  %.1f %s/s", done / p->per / s, p->unit);
	if (done >= all)
		snprintf(out, size, "%s%s%s  %s", rate, note ? "  " : "",
		    note ? note : "", fg_tool_time(s, left));
	else if (done > 0 && s > FIRST_S)
		snprintf(out, size, "%s%s%s  %s left", rate, note ? "  " : "",
		    note ? note : "", fg_tool_time(s * (all - done) / done, left));
	else
		snprintf(out, size, "%s%s", note ? "  " : "", note ? note : "");
}

static void
draw(struct fg_progress *p, double share, const char *text)
{
	char bar[BAR_MAX + 1], line[512];
	int room = p->width - 1 - (int)strlen(p->what) - (int)strlen(text) - 10;
	int n = FG_MIN(room, BAR_MAX);
	int full = n > 0 ? (int)(share * n) : 0;

	memset(bar, '.', sizeof bar);
	memset(bar, '#', (size_t)FG_MAX(0, full));
	if (n >= 5)
		snprintf(line, sizeof line, "%s [%.*s] %3.0f %%%s", p->what, n, bar,
		    floor(share * 100), text);
	else
		snprintf(line, sizeof line, "%s %3.0f %%%s", p->what,
		    floor(share * 100), text);
	/* \033[K: what is left of a longer line before. */
	fprintf(stderr, "\r%.*s\033[K", p->width - 1, line);
	fflush(stderr);
}

void
fg_progress_note(struct fg_progress *p, double done, double all, const char *note)
{
	double share = all > 0 ? FG_MIN(1, FG_MAX(0, done / all)) : 1;
	char text[160];
	int64_t now = fg_clock_ns();

	if (p->quiet)
		return;
	if (!p->begun)
		begin(p);
	if (p->tty) {
		if (p->drawn_ns && now - p->drawn_ns < REDRAW_NS && share < 1)
			return;
		p->drawn_ns = now;
		describe(p, done, all, note, text, sizeof text);
		draw(p, share, text);
		return;
	}
	if ((int)(share * 10) <= p->tenth)
		return;
	p->tenth = (int)(share * 10);
	describe(p, done, all, note, text, sizeof text);
	fprintf(stderr, "%s: %3d %%%s\n", p->what, p->tenth * 10, text);
}

void
fg_progress_set(struct fg_progress *p, double done, double all)
{
	fg_progress_note(p, done, all, NULL);
}

void
fg_progress_end(struct fg_progress *p)
{
	if (p->begun && p->tty && !p->quiet)
		fputs("\r\033[K", stderr);
	p->begun = false;
	p->tenth = 0;
	p->drawn_ns = 0;
}
