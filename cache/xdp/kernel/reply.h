// Turning a request into its reply, in place.
#pragma once

#include "packet.h"
#include "region.h"

enum {
	maxAhead = 192, // bytes to grow into the room in front of a frame, which drivers also use
	maxDigits = 20, // of a CAS unique
};

// headersForward moves the headers to the start of a frame that grew there.
static __always_inline void headersForward(struct xdp_md *ctx, const struct request *q, __u32 by)
{
	for (__u32 i = 0; i < headersMost + 7 && i < q->text; i += 8) {
		__u64 *from = at(ctx, by + i, 8), *to = at(ctx, i, 8);
		if (from && to)
			*to = *from;
	}
}

// resize makes the frame fit a reply text of length bytes behind the same headers,
// or leaves it untouched. Room is behind the frame, else in front of it, else both.
static __always_inline bool resize(struct xdp_md *ctx, const struct request *q, __u32 length)
{
	__u32 size = q->text + length;
	int grow = (int)(size < minFrame ? minFrame : size) - (int)(end(ctx) - start(ctx));
	if (grow == 0 || bpf_xdp_adjust_tail(ctx, grow) == 0)
		return true;
	if (grow < 0)
		return false;
	int behind = grow > maxAhead ? grow - maxAhead : 0;
	if (behind && bpf_xdp_adjust_tail(ctx, behind) != 0)
		return false;
	__u32 ahead = grow - behind;
	if (ahead > maxAhead)
		return false;
	if (bpf_xdp_adjust_head(ctx, -(int)ahead) == 0) {
		headersForward(ctx, q, ahead);
		return true;
	}
	if (behind)
		bpf_xdp_adjust_tail(ctx, -behind);
	return false;
}

// shifted is a one's-complement sum as it counts from an odd offset on.
static __always_inline __u64 shifted(__u16 sum)
{
	return (__u64)sum << 8;
}

// sumOfText is the one's-complement sum of the first bytes of a chunk's text.
static __always_inline __u64 sumOfText(struct chunk *chunk, __u32 length)
{
	length &= 2047;
	if (length > sizeof(chunk->text) - 8)
		return 0;
	__u32 whole = length & ~3U;
	__u64 sum = (__u32)bpf_csum_diff(0, 0, (__be32 *)chunk->text, whole, 0);
	__u32 rest = *(__u32 *)(chunk->text + whole);
	return sum + (rest & ((1ULL << (length % 4 * 8)) - 1));
}

// copySmall copies a text of 8 to smallText bytes into the frame and is its
// one's-complement sum: for such texts much quicker than two calls into the kernel.
enum { smallText = 128 };
static __always_inline __u64 copySmall(struct xdp_md *ctx, __u32 offset, const struct chunk *chunk, __u32 length)
{
	const __u8 *from = chunk->text;
	__u8 *to = at(ctx, offset, 1), *limit = end(ctx);
	__u64 sum = 0;
	__u32 whole = hidden(ctx, length / 8);
	for (__u32 i = 0; i < smallText / 8 && i < whole; i++, from += 8, to += 8) {
		if (!to || to + 8 > limit)
			break;
		__u64 word = *(__u64 *)from;
		*(__u64 *)to = word;
		sum += halves(word);
	}
	__u64 *last = at(ctx, offset + length - 8, 8);
	if (length % 8 == 0 || !last)
		return sum;
	*last = *(__u64 *)(chunk->text + length - 8);
	return sum + halves(*last >> (64 - length % 8 * 8));
}

// writeEnd writes END behind length bytes of reply and is its part of the checksum.
static __always_inline __u64 writeEnd(struct xdp_md *ctx, const struct request *q, __u32 length)
{
	__u8 *end = at(ctx, q->text + length, endLength);
	if (!end)
		return 0;
	__builtin_memcpy(end, "END\r\n", endLength);
	const __u16 sum = 0x4e45 + 0x0d44 + 0x0a; // "EN", "D\r", "\n"
	return length % 2 ? shifted(sum) : sum;
}

// unique is " <cas>" in decimal, which ends at uniqueEnd, a power of two, so that the
// rest of a division is a mask, which the verifier knows.
enum { uniqueEnd = 32 };
struct unique {
	__u8 text[2 * uniqueEnd]; // the second half is for the verifier, which knows start and length apart
	__u32 start;
	__u16 sum; // one's-complement sum of the text, as if it started at an even offset
};

__noinline int print(__u64 n, struct unique *u)
{
	if (!u)
		return 0;
	__u32 sum = 0, i = uniqueEnd;
	for (int digits = 0; digits < maxDigits; digits++) {
		i--;
		__u8 digit = '0' + n % 10;
		u->text[i & (uniqueEnd - 1)] = digit;
		sum += (__u32)digit << (i % 2 * 8);
		n /= 10;
		if (n == 0)
			break;
	}
	i--;
	u->text[i & (uniqueEnd - 1)] = ' ';
	sum += ' ' << (i % 2 * 8);
	u->start = i;
	u->sum = fold(i % 2 ? sum << 8 : sum);
	return 0;
}

// swapEthernet makes the sender the receiver, in the Ethernet header.
static __always_inline void swapEthernet(struct xdp_md *ctx)
{
	__u8 *header = at(ctx, 0, 12);
	if (!header)
		return;
	__u64 low = *(__u64 *)header;
	__u32 high = *(__u32 *)(header + 8);
	*(__u64 *)header = low >> 48 | (__u64)high << 16 | low << 48;
	*(__u32 *)(header + 8) = low >> 16;
}

static __always_inline void header4(struct xdp_md *ctx, const struct request *q, __u32 length)
{
	struct iphdr *ip = at(ctx, q->ip, sizeof(*ip));
	if (!ip)
		return;
	__be32 from = ip->saddr, to = ip->daddr;
	__u32 *words = (__u32 *)ip;
	__u32 first = bpf_htonl(0x45000000 | (length + sizeof(*ip)));
	__u32 second = bpf_htonl(0x4000), third = bpf_htonl(64 << 24 | IPPROTO_UDP << 16); // not to be fragmented; 64 hops
	words[0] = first;
	words[1] = second;
	words[2] = third | (__u32)(__u16)~fold((__u64)first + second + third + from + to) << 16;
	ip->saddr = to;
	ip->daddr = from;
}

static __always_inline void header6(struct xdp_md *ctx, const struct request *q, __u32 length)
{
	struct ipv6hdr *ip = at(ctx, q->ip, sizeof(*ip));
	if (!ip)
		return;
	struct in6 from, to;
	__builtin_memcpy(&from, &ip->saddr, sizeof(from));
	__builtin_memcpy(&to, &ip->daddr, sizeof(to));
	*(__u32 *)ip = bpf_htonl(0x60000000);
	ip->payload_len = bpf_htons(length);
	ip->hop_limit = 64;
	__builtin_memcpy(&ip->saddr, &to, sizeof(to));
	__builtin_memcpy(&ip->daddr, &from, sizeof(from));
}

// address writes all headers for a reply text of length bytes with a given
// one's-complement sum.
static __always_inline void address(struct xdp_md *ctx, const struct request *q, __u32 length, __u64 sum)
{
	length += sizeof(struct udphdr) + udpFrame;
	sum += pseudo(ctx, q, length);
	swapEthernet(ctx);
	if (q->v6)
		header6(ctx, q, length);
	else
		header4(ctx, q, length);
	struct udphdr *udp = at(ctx, q->udp, sizeof(*udp) + udpFrame);
	if (!udp)
		return;
	__be16 from = udp->source;
	udp->source = udp->dest;
	udp->dest = from;
	udp->len = bpf_htons(length);
	// Of memcached's header the request's number is kept; 0, 1 and 0 stay what they were.
	sum += (__u64)udp->source + udp->dest + udp->len + halves(*(__u64 *)(udp + 1));
	__u16 check = ~fold(sum);
	udp->check = check ? check : 0xffff;
}
