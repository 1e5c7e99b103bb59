// The other end of the wire: a generator of requests, a sink of replies, and a
// program that runs another one on the same request again and again.
#include "../../kernel/kernel.h"

enum {
	maxRequest = 384, // bytes of a request's frame
	maxKeys = 1 << 16,
	digits = 8,       // of a key's number, decimal
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
static __always_inline __u32 textAt(struct xdp_md *ctx)
{
	__be16 *type = at(ctx, 12, 2);
	if (!type || (*type != bpf_htons(ETH_P_IP) && *type != bpf_htons(ETH_P_IPV6)))
		return 0;
	__u32 ip = 14, udp = ip + (*type == bpf_htons(ETH_P_IP) ? 20 : 40);
	__u8 *protocol = at(ctx, udp == 34 ? ip + 9 : ip + 6, 1);
	__u32 *text = at(ctx, udp + 16, 4);
	return protocol && *protocol == IPPROTO_UDP && text ? *text : 0;
}

// On the interface that requests go out of: counts the replies and drops them.
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0, text = textAt(ctx);
	struct replies *r = bpf_map_lookup_elem(&received, &zero);
	if (!r || !text)
		return XDP_PASS;
	if (text == 0x554c4156) // "VALU"
		r->values++;
	else if (text == 0x0d444e45) // "END\r"
		r->ends++;
	else
		r->others++;
	r->bytes += ctx->data_end - ctx->data;
	return XDP_DROP;
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
