// Answers UDP get and gets of one key from the cache's region, in the receive path
// of a network driver. A frame comes in; it is transmitted as the reply, or goes on
// to user space without a changed byte. Loaded and attached by package xdp.
#include "kernel.h"
#include "packet.h"
#include "region.h"
#include "reply.h"

enum {
	controlAt = 64,                 // offset in the region
	maxLine = 300,                  // bytes, more than VALUE, a key, flags and a length have
	knownSources = 64,              // sources on the allow-list that need no look-up in it
	sampleBytes = 256,              // of a sample: length, key
	asleepAfter = 800 * 1000 * 1000 // ns without a heartbeat until nothing is answered
};

// Source prefixes that are answered, those of IPv4 mapped, but not to be found under one
// of IPv6. An empty list answers nobody.
struct prefix {
	__u32 bits;    // with the 32 of family
	__u32 family;  // 4 or 6
	__be32 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct prefix);
	__type(value, __u8);
} allow SEC(".maps");

// What a processor keeps to itself.
struct local {
	__u64 count[outcomes];
	__u64 looked; // the jiffy in which it last saw that user space lives
	struct in6 known[knownSources];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct local);
} locals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} samples SEC(".maps");

// Set by the loader: one GET in sampleMask + 1 is told to user space.
const volatile bool sampling;
const volatile __u64 sampleMask;

// largest is the bytes of an IP packet that the interface sends.
const volatile __u32 largest;

// sample puts the key into the ring, which nobody is woken for.
static __always_inline void sample(struct xdp_md *ctx, const struct request *q)
{
	__u8 *record = bpf_ringbuf_reserve(&samples, sampleBytes, 0);
	if (!record)
		return;
	__u32 length = q->keyLength;
	if (length - 1 < maxKey && bpf_xdp_load_bytes(ctx, q->key, record + 1, length) == 0) {
		record[0] = length;
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	} else
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
}

// allowed tells whether a source is on the list. The list does not change while the
// program is loaded, so what was found once is remembered.
static __always_inline bool allowed(struct local *local, const struct request *q)
{
	const struct in6 *source = &q->from;
	__u64 mixed = (source->half[0] ^ source->half[1]) * 0x9e3779b97f4a7c15;
	struct in6 *known = &local->known[mixed >> 58];
	if (equal(known, source))
		return true;
	struct prefix whole = { .bits = 32 + 128, .family = q->v6 ? 6 : 4 };
	__builtin_memcpy(whole.address, source, sizeof(whole.address));
	if (!bpf_map_lookup_elem(&allow, &whole))
		return false;
	*known = *source;
	return true;
}

// awake tells whether user space lives, at the cost of looking at the clock once in
// a jiffy.
static __always_inline bool awake(struct local *local)
{
	__u64 jiffy = bpf_jiffies64();
	if (local->looked == jiffy)
		return true;
	struct control *control = words(controlAt, struct control);
	if (!control || (__s64)(bpf_ktime_get_coarse_ns() - control->heartbeat) > asleepAfter)
		return false;
	local->looked = jiffy;
	return true;
}

// The functions below that are not static are verified each by itself, for any
// arguments. That keeps the verifier's work the sum of theirs and not the product, on which
// kernels differ; they are few, because on some processors every return is slow.

// find looks a request up. It is the offset of the chunk with the answer, or what is to
// become of the request without.
__noinline __u64 find(struct xdp_md *ctx, const struct request *q)
{
	struct control *control = words(controlAt, struct control);
	if (!q || !control)
		return passAbsent;
	__u32 at = q->key, length = q->keyLength;
	if (length == 0 || length > maxKey)
		return passKey;
	struct digest d = digestOf(ctx, at, length);
	if (!checksumRight(ctx, q, d.sum))
		return passChecksum;
	if (d.low & 0x80 * EACH)
		return passCommand;
	__u64 offset = seek(ctx, at, length, d.hash);
	if (offset == changing)
		return passBusy;
	if (offset == farther)
		return passLarge;
	struct chunk *chunk = offset == absent ? 0 : chunkAt(offset);
	if (chunk) {
		__u64 state = *(volatile __u64 *)&chunk->state;
		__u32 expiry = state;
		if ((!expiry || expiry > (__u32)control->clock) && chunk->generation == (__u8)control->generation) {
			if (!(state & REFERENCED))
				__sync_fetch_and_or(&chunk->state, REFERENCED);
			return offset;
		}
	}
	return control->authoritative ? miss : passAbsent;
}

// deny answers that there is no such key.
__noinline int deny(struct xdp_md *ctx, const struct request *q)
{
	if (!q || !resize(ctx, q, endLength))
		return passRoom;
	__u64 sum = writeEnd(ctx, q, 0);
	// A frame of the least length ends up to five bytes later, and not in old text.
	__u8 *text = at(ctx, q->text, 10);
	if (text)
		*(__u32 *)(text + 6) = 0;
	text = at(ctx, q->text, 6);
	if (text)
		text[5] = 0;
	address(ctx, q, endLength, sum);
	return miss;
}

// give answers a get with the text of a chunk.
__noinline int give(struct xdp_md *ctx, const struct request *q, __u64 offset)
{
	struct chunk *chunk = chunkAt(offset);
	if (!q || !chunk)
		return passLarge;
	__u32 length = chunk->length, whole = length + endLength;
	if (length < 8 || length > maxPayload - udpFrame - endLength || q->text + whole > largest + q->ip)
		return passLarge;
	if (!resize(ctx, q, whole))
		return passRoom;
	__u64 sum;
	if (length <= smallText)
		sum = copySmall(ctx, q->text, chunk, length);
	else {
		bpf_xdp_store_bytes(ctx, q->text, chunk->text, length);
		sum = sumOfText(chunk, length);
	}
	sum += writeEnd(ctx, q, length);
	address(ctx, q, whole, sum);
	return hit;
}

// giveUnique answers a gets: the unique goes between the line and its \r\n.
__noinline int giveUnique(struct xdp_md *ctx, const struct request *q, __u64 offset)
{
	struct chunk *chunk = chunkAt(offset);
	if (!q || !chunk)
		return passLarge;
	struct unique u = {};
	print(chunk->unique, &u);
	__u32 line = chunk->lineLength - 2, length = chunk->length, start = u.start;
	if (length > maxPayload || line >= length || start >= uniqueEnd)
		return passLarge;
	__u32 digits = uniqueEnd - start, rest = length - line, whole = length + digits + endLength;
	if (whole > maxPayload - udpFrame || q->text + whole > largest + q->ip)
		return passLarge;
	opaque(rest);
	opaque(line);
	if (rest == 0 || rest > maxPayload || line == 0 || line > maxLine)
		return passLarge;
	if (!resize(ctx, q, whole))
		return passRoom;
	bpf_xdp_store_bytes(ctx, q->text, chunk->text, line);
	bpf_xdp_store_bytes(ctx, q->text + line, u.text + start, digits);
	bpf_xdp_store_bytes(ctx, q->text + line + digits, chunk->text + line, rest);
	// Sums of what comes before, of the unique, of what comes behind: each as it counts
	// at an even offset, then shifted if it landed on an odd one.
	__u16 before = fold(sumOfText(chunk, line));
	__u16 behind = fold((__u64)fold(sumOfText(chunk, length)) + (__u16)~before);
	__u64 sum = before + (digits % 2 ? shifted(behind) : behind) + (line % 2 ? shifted(u.sum) : u.sum);
	sum += writeEnd(ctx, q, length + digits);
	address(ctx, q, whole, sum);
	return hit;
}

// serve is what becomes of a request that was understood. A number tells whether it is
// to be sampled.
static __always_inline enum outcome serve(struct xdp_md *ctx, const struct request *q, __u64 number)
{
	__u64 found = find(ctx, q);
	if (sampling && (found >= outcomes || found == miss) && ((number * 0x9e3779b97f4a7c15) >> 32 & sampleMask) == 0)
		sample(ctx, q);
	if (found == miss)
		return deny(ctx, q);
	if (found < outcomes)
		return found;
	return q->gets ? giveUnique(ctx, q, found) : give(ctx, q, found);
}

SEC("xdp.frags")
int answer(struct xdp_md *ctx)
{
	struct request q = {};
	__u32 zero = 0;
	enum outcome outcome = parse(ctx, &q);
	if (outcome == notOurs)
		return XDP_PASS;
	struct local *local = bpf_map_lookup_elem(&locals, &zero);
	if (!local)
		return XDP_PASS;
	if (!allowed(local, &q))
		outcome = passSource;
	else if (outcome == understood)
		outcome = awake(local) ? serve(ctx, &q, local->count[hit] + local->count[miss]) : passAsleep;
	__u32 which = outcome;
	opaque(which);
	if (which < outcomes)
		local->count[which]++;
	return which <= miss ? XDP_TX : XDP_PASS;
}

char _license[] SEC("license") = "Apache-2.0";
