// What every part of the program needs of the kernel.
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct in6 {
	__u64 half[2];
};

// opaque keeps the compiler from joining the conditions on a number before it and
// behind it into one that the verifier cannot read a bound from.
#define opaque(x) asm volatile("" : "+r"(x))

// start and end are those of the frame. The compiler must not see that they are read as 32
// bits, or else it copies them as such, and the verifier takes the copy for a number.
static __always_inline void *start(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	asm("" : "+r"(data));
	return data;
}

static __always_inline void *end(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data_end;
	asm("" : "+r"(data));
	return data;
}

// at is a pointer to size bytes at an offset of the frame, or null. No offset here
// is larger than the mask, which is for the verifier.
static __always_inline void *at(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	void *p = start(ctx) + (offset & 0x7ff);
	asm("" : "+r"(p)); // the pointer that is compared is the one that is used
	return p + size > end(ctx) ? 0 : p;
}

// wordBefore is the eight bytes in front of an offset.
static __always_inline __u64 wordBefore(struct xdp_md *ctx, __u32 offset)
{
	__u64 *p = at(ctx, offset - 8, 8);
	return p ? *p : 0;
}

// fold makes a one's-complement sum of any words one of 16 bits, by adding the halves
// to each other, with the carry, twice.
static __always_inline __u16 fold(__u64 sum)
{
	sum += sum << 32 | sum >> 32;
	__u32 half = sum >> 32;
	half += half << 16 | half >> 16;
	return half >> 16;
}

// halves is what eight bytes add to a one's-complement sum.
static __always_inline __u64 halves(__u64 word)
{
	return (word >> 32) + (__u32)word;
}

// hidden is a number that the verifier knows nothing of any more. What follows is
// checked once then, not once for every value the number may have: the offsets of a
// frame's parts, or how often a loop ran.
static __always_inline __u32 hidden(struct xdp_md *ctx, __u32 number)
{
	__u64 size = end(ctx) - start(ctx), same = size;
	opaque(same);
	return number + (size - same);
}
