// Reading the cache's region while user space writes it. docs/format/cache.md has
// the layout, and says why this reads right without a lock.
#pragma once

#include "kernel.h"

enum {
	pageBytes = 1 << 20,  // value size of the map
	chunkBytes = 2048,    // of the largest chunk read here
	bucketSlots = 7,
	tagAt = 37,           // bits of a slot word below the tag: the chunk's offset / 8
	hashWords = 32,
};

// The region. The loader puts its own map here, with as many pages as it has.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, pageBytes);
} pages SEC(".maps");

// Control words that never change while the region lives, set by the loader.
const volatile __u64 hashKey[hashWords + 1];
const volatile __u64 directory; // offset
const volatile __u32 shift;
const volatile bool inOrder;    // this processor keeps loads in order by itself

// control is the words at offset 64.
struct control {
	volatile __u64 clock;
	volatile __u64 heartbeat;
	volatile __u64 generation;
	volatile __u64 authoritative;
};

struct bucket {
	volatile __u64 version;
	volatile __u64 slot[bucketSlots];
};

struct chunk {
	__u64 state;
	__u64 unique;
	__u32 length;     // of text
	__u16 lineLength;
	__u8 keyLength;
	__u8 generation;
	__u8 text[chunkBytes - 24];
};

enum {
	keyAt = 6, // in text, behind "VALUE "
};
#define REFERENCED (1ULL << 32)

// pageOf is the page that an offset of the region lies in.
static __always_inline void *pageOf(__u64 offset)
{
	__u32 number = offset / pageBytes;
	return bpf_map_lookup_elem(&pages, &number);
}

// words is what lies at an offset, which is a multiple of its size, a power of two.
#define words(offset, type) ({ \
	void *page_ = pageOf(offset); \
	page_ ? (type *)(page_ + ((offset) & (pageBytes - sizeof(type)))) : 0; \
})

// chunkAt is a chunk, or null if it is of those too large to be read here, which
// may lie on two pages.
static __always_inline struct chunk *chunkAt(__u64 offset)
{
	void *page = pageOf(offset);
	if (!page)
		return 0;
	__u32 within = offset % pageBytes;
	if (within > pageBytes - chunkBytes)
		return 0;
	return page + within;
}

// loadsInOrder keeps the loads before it before those behind it.
static __always_inline void loadsInOrder(void)
{
	__u64 word = 0;
	asm volatile("" ::: "memory");
	if (!inOrder)
		__sync_fetch_and_add(&word, 1); // which the instruction set defines as a full barrier
}

#define EACH 0x0101010101010101ULL

// digest is what is computed of all bytes of a key.
struct digest {
	__u64 hash;
	__u64 sum; // one's-complement sum
	__u64 low; // the highest bit of a byte for bytes below 0x21, which end keys and commands
};

// step takes in a word of a key, of which only the bits of used count; the others are 0.
static __always_inline void step(struct digest *d, __u64 word, __u64 used, __u64 key)
{
	__u64 filled = word | ~used;
	d->low |= (filled - 0x21 * EACH) & ~filled; // its lowest bit set is right, which is all that is asked
	d->sum += halves(word);
	d->hash += word + (__u64)((__u32)word + (__u32)key) * (__u32)((__u32)(word >> 32) + (__u32)(key >> 32));
}

// digestOf reads a key in the frame.
static __always_inline struct digest digestOf(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	struct digest d = { .hash = hashKey[hashWords] + length };
	__u8 *data = at(ctx, offset, 1), *limit = end(ctx);
	__u32 i, whole = hidden(ctx, length / 8);
	for (i = 0; i < hashWords - 1 && i < whole; i++, data += 8) {
		if (!data || data + 8 > limit)
			break;
		step(&d, *(__u64 *)data, ~0ULL, hashKey[i]);
	}
	__u32 unused = 64 - length % 8 * 8;
	if (unused < 64)
		step(&d, wordBefore(ctx, offset + length) >> unused, ~0ULL >> unused, hashKey[whole & (hashWords - 1)]);
	for (int again = 0; again < 2; again++)
		d.hash = (d.hash ^ d.hash >> 32) * 0xd6e8feb86659fd93;
	d.hash ^= d.hash >> 32;
	return d;
}

// same tells whether a chunk's key is the one in the frame.
static __always_inline bool same(struct xdp_md *ctx, __u32 offset, __u32 length, const struct chunk *chunk)
{
	if (chunk->keyLength != length)
		return false;
	const __u8 *theirs = chunk->text + keyAt;
	__u8 *ours = at(ctx, offset, 1), *limit = end(ctx);
	__u32 whole = hidden(ctx, length / 8);
	for (__u32 i = 0; i < hashWords && i < whole; i++, ours += 8, theirs += 8)
		if (!ours || ours + 8 > limit || *(__u64 *)ours != *(__u64 *)theirs)
			return false;
	if (length % 8 == 0)
		return true;
	// The last eight bytes; of a shorter key with what stands in front of it, shifted out.
	__u64 last = *(__u64 *)(chunk->text + keyAt - 8 + length);
	return (wordBefore(ctx, offset + length) ^ last) >> (64 - length % 8 * 8) == 0;
}

// scan is the first slot of a bucket with the tag of a hash, 0 if there is none.
static __always_inline __u64 scan(struct bucket *bucket, __u64 hash)
{
#pragma unroll
	for (int i = 0; i < bucketSlots; i++) {
		__u64 slot = bucket->slot[i];
		if ((slot ^ hash) >> tagAt == 0)
			return slot;
	}
	return 0;
}

// What seek says instead of an offset.
enum { absent, changing, farther };

// seek looks for a key. It is the offset of its chunk, which stays as it is while this
// program runs.
static __always_inline __u64 seek(struct xdp_md *ctx, __u32 key, __u32 length, __u64 hash)
{
	volatile __u64 *entry = words(directory + (hash >> shift) * 8, volatile __u64);
	if (!entry)
		return farther;
	__u64 page = *entry, first = hash & 1023;
	__u64 second = first ^ (((hash >> tagAt) * 0x9e3779b1 >> 17 & 1023) | 1);
	struct bucket *one = words(page + first * sizeof(struct bucket), struct bucket);
	struct bucket *two = words(page + second * sizeof(struct bucket), struct bucket);
	if (!one || !two)
		return farther;
	loadsInOrder();
	__u64 versions[2] = { one->version, two->version };
	loadsInOrder();
	__u64 slot = scan(one, hash);
	if (!slot)
		slot = scan(two, hash);
	if (slot) {
		__u64 offset = (slot & ((1ULL << tagAt) - 1)) * 8;
		struct chunk *chunk = chunkAt(offset);
		if (!chunk)
			return farther; // a large one
		// Another key with the same tag: one in 2^27, left to user space, which looks on.
		return same(ctx, key, length, chunk) ? offset : changing;
	}
	loadsInOrder();
	if (page != *entry || one->version != versions[0] || two->version != versions[1])
		return changing;
	return absent;
}
