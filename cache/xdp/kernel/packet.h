// What a frame must look like to be answered here, and where its parts are.
#pragma once

#include "kernel.h"

enum {
	maxKey = 250,       // bytes, memcached's limit
	maxPayload = 1400,  // bytes of a UDP reply, frame header included: what the server in user space sends in one datagram
	minFrame = 60,      // bytes of an Ethernet frame; drivers do not all fill up what XDP transmits
	udpFrame = 8,       // memcached's header in front of every UDP payload
	endLength = 5,      // "END\r\n"
	headersMost = 14 + 4 + 40 + 8 + udpFrame,
};

// What became of a datagram sent to the cache. The order is that of Counters in Go.
enum outcome {
	hit,
	miss,
	passSource,    // its source is on no allow-list
	passAsleep,    // user space has not shown for a second that it lives
	passFragment,
	passOptions,   // IPv4 options, IPv6 extension headers
	passMalformed, // too short, lengths that contradict each other, or a source nobody can be
	passChecksum,
	passCommand,   // anything but one get or gets of one key, in one datagram
	passKey,       // empty, longer than 250 bytes, or with bytes that are no key's
	passAbsent,    // a miss that only user space can be sure of
	passLarge,     // the reply does not fit one datagram
	passRoom,      // the driver has no room in the frame for the reply
	passBusy,      // the index changed again and again while it was read
	outcomes,
	notOurs,       // not sent to the cache: passed and not counted
	understood,    // by parse: the request may be looked up
};

// request is where the parts of a request are, in bytes from the start of the
// frame: numbers survive a resize of the frame, pointers do not.
struct request {
	__u32 ip;        // of the IP header
	__u32 udp;       // of the UDP header
	__u32 text;      // of the command, behind memcached's frame header
	__u32 length;    // of the command with its \r\n
	__u32 key;       // of the key
	__u32 keyLength;
	__u64 sum;       // one's-complement sum of all that the UDP checksum is of, but the key
	struct in6 from; // the source
	bool v6;
	bool gets;
};

// Set by the loader before the program is loaded, constants from then on.
enum { maxOwn = 32 };
const volatile __be16 port;
const volatile __u32 ownCount;
const volatile struct in6 own[maxOwn]; // addresses that the cache listens on
const volatile bool offloaded;         // senders leave checksums to a device, and there is none: a veth pair

// mapped is an IPv4 address as one of IPv6 (RFC 4291, 2.5.5.2).
static __always_inline struct in6 mapped(__be32 address)
{
	return (struct in6){ { 0, (__u64)address << 32 | 0xffff0000 } };
}

static __always_inline bool equal(const volatile struct in6 *a, const struct in6 *b)
{
	return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}

static __always_inline bool isOwn(const struct in6 *address)
{
	for (__u32 i = 0; i < ownCount && i < maxOwn; i++)
		if (equal(&own[i], address))
			return true;
	return false;
}

// toUs tells whether a UDP header at an offset is for the cache's port.
static __always_inline bool toUs(struct xdp_md *ctx, __u32 offset)
{
	struct udphdr *udp = at(ctx, offset, sizeof(*udp));
	return udp && udp->dest == port;
}

static __always_inline enum outcome parse4(struct xdp_md *ctx, struct request *q)
{
	struct iphdr *ip = at(ctx, q->ip, sizeof(*ip));
	if (!ip || ip->version != 4 || ip->protocol != IPPROTO_UDP)
		return notOurs;
	struct in6 to = mapped(ip->daddr);
	q->from = mapped(ip->saddr);
	__u32 header = ip->ihl * 4, total = bpf_ntohs(ip->tot_len);
	if (!isOwn(&to) || ip->frag_off & bpf_htons(0x1fff) || header < sizeof(*ip) || !toUs(ctx, q->ip + header))
		return notOurs;
	// Counted by reason from here on; what is wrong twice counts by the first.
	if (ip->frag_off & bpf_htons(0x2000))
		return passFragment;
	if (header != sizeof(*ip))
		return passOptions;
	__u64 sum = 0;
	__u32 *words = (__u32 *)ip;
#pragma unroll
	for (int i = 0; i < 5; i++)
		sum += words[i];
	if (fold(sum) != 0xffff)
		return passChecksum;
	// 0.0.0.0/8, 127/8, 224/4 and above are no senders.
	__u8 first = bpf_ntohl(ip->saddr) >> 24;
	if (first == 0 || first == 127 || first >= 224 || ip->saddr == ip->daddr)
		return passMalformed;
	q->udp = q->ip + sizeof(*ip);
	struct udphdr *udp = at(ctx, q->udp, sizeof(*udp));
	if (!udp || bpf_ntohs(udp->len) != total - sizeof(*ip))
		return passMalformed;
	return understood;
}

// extended is what to say of an IPv6 packet whose next header is not UDP: one
// extension header before UDP is recognised, to be counted.
static __always_inline enum outcome extended(struct xdp_md *ctx, __u32 offset, __u8 kind)
{
	if (kind != 0 && kind != 43 && kind != 44 && kind != 60)
		return notOurs;
	__u8 *next = at(ctx, offset, 8);
	if (!next || next[0] != IPPROTO_UDP)
		return notOurs;
	bool fragment = kind == 44;
	if (fragment && (next[2] | (next[3] & 0xf8))) // not the first, which alone has a port
		return notOurs;
	__u32 length = fragment ? 8 : (next[1] + 1) * 8;
	if (!toUs(ctx, offset + length))
		return notOurs;
	return fragment ? passFragment : passOptions;
}

static __always_inline enum outcome parse6(struct xdp_md *ctx, struct request *q)
{
	struct ipv6hdr *ip = at(ctx, q->ip, sizeof(*ip));
	if (!ip || ip->version != 6)
		return notOurs;
	struct in6 to;
	__builtin_memcpy(&to, &ip->daddr, sizeof(to));
	__builtin_memcpy(&q->from, &ip->saddr, sizeof(q->from));
	if (!isOwn(&to))
		return notOurs;
	__u32 total = bpf_ntohs(ip->payload_len);
	q->udp = q->ip + sizeof(*ip);
	if (ip->nexthdr != IPPROTO_UDP)
		return extended(ctx, q->udp, ip->nexthdr);
	if (!toUs(ctx, q->udp))
		return notOurs;
	// ::/64 (unspecified, loopback, IPv4 addresses) and multicast are no senders.
	if (q->from.half[0] == 0 || (q->from.half[0] & 0xff) == 0xff || equal(&to, &q->from))
		return passMalformed;
	struct udphdr *udp = at(ctx, q->udp, sizeof(*udp));
	if (!udp || bpf_ntohs(udp->len) != total || udp->check == 0) // IPv6 knows no datagram without a checksum
		return passMalformed;
	return understood;
}

// pseudo is the one's-complement sum of the addresses, the protocol and the length.
static __always_inline __u64 pseudo(struct xdp_md *ctx, const struct request *q, __u32 length)
{
	__u64 sum = bpf_htons(IPPROTO_UDP) + bpf_htons(length);
	__u32 size = q->v6 ? 32 : 8;
	__u32 *address = at(ctx, q->udp - size, size);
	if (!address)
		return 0;
	sum += (__u64)address[0] + address[1];
	if (q->v6) {
		address = at(ctx, q->udp - 32, 32);
		if (!address)
			return 0;
#pragma unroll
		for (int i = 2; i < 8; i++)
			sum += address[i];
	}
	return sum;
}

// parse finds the request in a frame, or says why there is none. All that is not
// notOurs has a source.
static __always_inline enum outcome parse(struct xdp_md *ctx, struct request *q)
{
	__be16 *type = at(ctx, 12, 2);
	if (!type)
		return notOurs;
	__be16 protocol = *type;
	q->ip = 14;
	if (protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD)) {
		type = at(ctx, 16, 2);
		if (!type)
			return notOurs;
		protocol = *type;
		q->ip = 18;
	}
	enum outcome kind;
	if (protocol == bpf_htons(ETH_P_IP))
		kind = parse4(ctx, q);
	else if (protocol == bpf_htons(ETH_P_IPV6)) {
		q->v6 = true;
		kind = parse6(ctx, q);
	} else
		return notOurs;
	if (kind != understood)
		return kind;

	struct udphdr *udp = at(ctx, q->udp, sizeof(*udp) + udpFrame + 6);
	if (!udp)
		return passMalformed;
	__u32 length = bpf_ntohs(udp->len);
	if (udp->source == 0 || q->udp + length > end(ctx) - start(ctx))
		return passMalformed;
	if (length < sizeof(*udp) + udpFrame + 7) // "get k\r\n"
		return passCommand;
	__u64 *frame = (__u64 *)(udp + 1);
	if (*frame >> 16 != 0x01000000) // number 0 of 1, and 0
		return passCommand;
	q->text = q->udp + sizeof(*udp) + udpFrame;
	q->length = length - sizeof(*udp) - udpFrame;
	__u8 *text = (__u8 *)(frame + 1);
	__u32 word = *(__u32 *)text;
	q->sum = halves(*(__u64 *)udp) + halves(*frame) + word;
	if (word == 0x20746567) // "get "
		q->key = 4;
	else if (word == 0x73746567 && text[4] == ' ') { // "gets"
		q->key = 5;
		q->gets = true;
		q->sum += ' ';
	} else
		return passCommand;
	if (q->length > q->key + maxKey + 2)
		return passKey;
	if (wordBefore(ctx, q->text + q->length) >> 48 != 0x0a0d)
		return passCommand;
	if (q->length < q->key + 3)
		return passKey;
	q->sum += q->length % 2 ? 0x0d0a : 0x0a0d;
	q->keyLength = q->length - q->key - 2;
	q->key += q->text;
	return understood;
}

// checksumRight tells whether the UDP checksum is right, for the sum of the key as
// it counts at an even offset.
static __always_inline bool checksumRight(struct xdp_md *ctx, const struct request *q, __u64 ofKey)
{
	struct udphdr *udp = at(ctx, q->udp, sizeof(*udp));
	if (!udp)
		return false;
	if (udp->check == 0)
		return true;
	__u64 head = pseudo(ctx, q, q->length + sizeof(*udp) + udpFrame);
	if (offloaded && udp->check == fold(head)) // the sender's half; a device would have done the rest
		return true;
	return fold(head + q->sum + (q->gets ? ofKey << 8 : ofKey)) == 0xffff;
}
