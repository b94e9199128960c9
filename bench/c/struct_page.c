/*
 * The loops a booting kernel runs over its memory map, reduced to what they store.
 *
 * Built with `cc -O2 -shared -fPIC` when benchmarks run; the yardstick for the compiled Python kernels. Every loop walks
 * an array of 64-byte records in ascending order. `links` are the node and zone bits, `cpupid` the bits that say "no CPU
 * used this page yet", `lru` the virtual address of the first record's list head, which an empty list points at.
 */
#include <stddef.h>
#include <stdint.h>

struct record {
	uint64_t flags;
	uint64_t next, prev;
	uint64_t mapping, index, private_data;
	int32_t mapcount, refcount;
	uint64_t memcg;
};

_Static_assert(sizeof(struct record) == 64, "one record is one cache line");

/* All eight words to zero, then every field that is not zero: links, reference, map count, last CPU, list head. */
static inline void set_up(struct record *r, uint64_t links, uint64_t cpupid, uint64_t lru)
{
	uint64_t *word = (uint64_t *)r;

	for (int i = 0; i < 8; i++)
		word[i] = 0;
	r->flags |= links;
	r->refcount = 1;
	r->mapcount = -1;
	r->flags |= cpupid;
	r->next = lru;
	r->prev = lru;
}

void pages_init(struct record *map, size_t count, uint64_t links, uint64_t cpupid, uint64_t lru)
{
	for (size_t i = 0; i < count; i++)
		set_up(map + i, links, cpupid, lru + 64 * i);
}

void pages_free(struct record *map, size_t count, uint64_t reserved)
{
	for (size_t i = 0; i < count; i++) {
		map[i].flags &= ~reserved;
		map[i].refcount = 0;
	}
}

/* Deferred memory: initialise a run, then free it, a run of at most `run` records (a power of two) at a time. */
void pages_init_free(struct record *map, size_t count, uint64_t links, uint64_t cpupid, uint64_t lru, size_t run)
{
	for (size_t start = 0; start < count; start += run) {
		size_t length = count - start < run ? count - start : run;

		pages_init(map + start, length, links, cpupid, lru + 64 * start);
		pages_free(map + start, length, 0);
	}
}
