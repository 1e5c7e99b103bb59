// The other end of the wire: a generator of requests, a sink of replies, and a
// program that runs another one on the same request again and again.
#include "../../kernel/kernel.h"
#include <linux/pkt_cls.h>

enum {
	maxRequest = 384, // bytes of a request's frame
	maxKeys = 1 << 16,
	digits = 8,       // of a key's number, decimal
	replyBytes = 2048,
	sampleMask = 255, // one reply in 256 goes to user space as a whole
};

// The request as a frame, with a number of 00000000. Set by the loader, constants from then on.
const volatile __u8 request[maxRequest];
const volatile __u32 length;  // of request
const volatile __u32 number;  // where the number is, 0 for none
const volatile __u32 check;   // where the UDP checksum is
const volatile __u32 sum;     // one's-complement sum of what it is of, folded
const volatile __u32 spread;  // entries of keys less one

// Numbers of keys in the order of the requests, which start over.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, maxKeys);
	__type(key, __u32);
	__type(value, __u32);
} keys SEC(".maps");

// How many requests were made on this processor.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} made SEC(".maps");

// What came back, by what the reply begins with.
struct replies {
	__u64 values, ends, others, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct replies);
} received SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 21);
} samples SEC(".maps");

// reply is one of them.
struct reply {
	__u32 length;
	__u8 frame[replyBytes];
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured SEC(".maps");

// restore makes the frame the request.
static __always_inline bool restore(struct xdp_md *ctx)
{
	__u32 size = length;
	if (size - 1 >= maxRequest)
		return false;
	int grow = (int)size - (int)(ctx->data_end - ctx->data);
	if (grow && bpf_xdp_adjust_tail(ctx, grow))
		return false;
	return bpf_xdp_store_bytes(ctx, 0, (void *)request, size) == 0;
}

// setNumber writes a key's number and what it adds to the checksum.
static __always_inline void setNumber(struct xdp_md *ctx, __u32 n)
{
	__u8 *text = at(ctx, number, digits);
	__u16 *field = at(ctx, check, 2);
	if (!text || !field)
		return;
	__u32 more = 0;
#pragma unroll
	for (int i = digits - 1; i >= 0; i--) {
		__u32 digit = n % 10;
		n /= 10;
		text[i] = '0' + digit;
		more += digit << ((number + i + check) % 2 * 8);
	}
	__u16 result = ~fold((__u64)sum + more);
	*field = result ? result : 0xffff;
}

// To be run on live frames: sends a request out of the interface it is run for.
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&made, &zero);
	if (!count || !restore(ctx))
		return XDP_ABORTED;
	if (number) {
		__u32 turn = *count & spread;
		__u32 *key = bpf_map_lookup_elem(&keys, &turn);
		if (!key)
			return XDP_ABORTED;
		setNumber(ctx, *key);
	}
	++*count;
	return XDP_TX;
}

// textAt is the first word of the reply in a UDP datagram, or 0.
static __always_inline __u32 textAt(void *data, void *end)
{
	struct ethhdr *eth = data;
	if (data + 14 + 20 + 16 + 4 > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return *(__u8 *)(data + 14 + 9) == IPPROTO_UDP ? *(__u32 *)(data + 14 + 20 + 16) : 0;
	if (eth->h_proto != bpf_htons(ETH_P_IPV6) || data + 14 + 40 + 16 + 4 > end)
		return 0;
	return *(__u8 *)(data + 14 + 6) == IPPROTO_UDP ? *(__u32 *)(data + 14 + 40 + 16) : 0;
}

// count takes a reply in, and tells whether there was one. One in sampleMask + 1 is to be
// put into *sampled, a place in the ring, which nobody is woken for.
static __always_inline bool count(void *data, void *end, __u32 size, struct reply **sampled)
{
	__u32 zero = 0, text = textAt(data, end);
	struct replies *r = bpf_map_lookup_elem(&received, &zero);
	if (!r || !text)
		return false;
	if (((r->values + r->ends + r->others) & sampleMask) == 0)
		*sampled = bpf_ringbuf_reserve(&samples, sizeof(**sampled), 0);
	if (text == 0x554c4156) // "VALU"
		r->values++;
	else if (text == 0x0d444e45) // "END\r"
		r->ends++;
	else
		r->others++;
	r->bytes += size;
	return true;
}

// submit is the end of a sample: load copies the reply, whatever it is in.
#define submit(sampled, load, from, size) do { \
	__u32 length_ = (size); \
	opaque(length_); \
	length_ &= 2 * replyBytes - 1; \
	if (length_ > 0 && length_ <= replyBytes && load(from, 0, (sampled)->frame, length_) == 0) { \
		(sampled)->length = length_; \
		bpf_ringbuf_submit(sampled, BPF_RB_NO_WAKEUP); \
	} else \
		bpf_ringbuf_discard(sampled, BPF_RB_NO_WAKEUP); \
} while (0)

// On the interface that requests go out of: counts the replies and drops them.
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	struct reply *sampled = 0;
	bool reply = count(start(ctx), end(ctx), ctx->data_end - ctx->data, &sampled);
	if (sampled)
		submit(sampled, bpf_xdp_load_bytes, ctx, ctx->data_end - ctx->data);
	return reply ? XDP_DROP : XDP_PASS;
}

// The same for replies that come as packets of a socket, of which XDP would have to make
// frames first.
SEC("tcx/ingress")
int sink_packets(struct __sk_buff *skb)
{
	const __u32 head = 14 + 40 + 16 + 4;
	struct reply *sampled = 0;
	if (skb->data_end - skb->data < head) // what was cut of a larger message has only its headers there
		bpf_skb_pull_data(skb, skb->len < head ? skb->len : head);
	bool reply = count((void *)(long)skb->data, (void *)(long)skb->data_end, skb->len, &sampled);
	if (sampled)
		submit(sampled, bpf_skb_load_bytes, skb, skb->len);
	return reply ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

// On an interface where a program must be for frames to be taken from the other end.
SEC("xdp")
int open(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

// What the next one does besides running the measured program.
SEC("xdp.frags")
int idle(struct xdp_md *ctx)
{
	return restore(ctx) ? XDP_PASS : XDP_ABORTED;
}

SEC("xdp.frags")
int repeat(struct xdp_md *ctx)
{
	if (restore(ctx))
		bpf_tail_call(ctx, &measured, 0);
	return XDP_ABORTED;
}

char _license[] SEC("license") = "Apache-2.0";
