package page

import "carillon/bucket"

// order is how many times differences are taken of an integer column.
func (c column) order() int {
	switch c {
	case firstTime:
		return 2 // the beat is steady
	case staleTime:
		return 0 // nearly always zero
	}
	return 1
}

// appendInts writes an integer column. base is the value before the first.
func appendInts(dst []byte, c column, buckets []bucket.Bucket, base int64) []byte {
	var scratch [blockLength]uint64
	p := packer{dst: dst}
	carry := [2]uint64{uint64(base)}
	for len(buckets) > 0 {
		block := scratch[:min(len(buckets), blockLength)]
		c.gather(block, buckets)
		for i := range c.order() {
			differences(block, &carry[i])
		}
		zigzagAll(block)
		p.varints(block)
		buckets = buckets[len(block):]
	}
	p.flush()
	return p.dst
}

// ints is the inverse of appendInts.
func (u *unpacker) ints(c column, buckets []bucket.Bucket, base int64) {
	if !u.begin(c) {
		return
	}
	var scratch [blockLength]uint64
	carry := [2]uint64{uint64(base)}
	for len(buckets) > 0 && u.wrong == "" {
		block := scratch[:min(len(buckets), blockLength)]
		u.varints(block)
		unzigzagAll(block)
		for i := c.order() - 1; i >= 0; i-- {
			integrate(block, &carry[i])
		}
		c.scatter(block, buckets)
		buckets = buckets[len(block):]
	}
	u.end()
}

// differences replaces each number by its distance from the one before. They wrap
// around, so any numbers come back. previous carries over to the next block.
func differences(block []uint64, previous *uint64) {
	p := *previous
	for i, x := range block {
		block[i] = x - p
		p = x
	}
	*previous = p
}

// integrate is the inverse of differences.
func integrate(block []uint64, previous *uint64) {
	p := *previous
	for i, x := range block {
		p += x
		block[i] = p
	}
	*previous = p
}

// zigzagAll maps integers near zero to small numbers: 0, -1, 1, -2 to 0, 1, 2, 3.
func zigzagAll(block []uint64) {
	for i, x := range block {
		block[i] = x<<1 ^ uint64(int64(x)>>63)
	}
}

// unzigzagAll is the inverse of zigzagAll.
func unzigzagAll(block []uint64) {
	for i, x := range block {
		block[i] = unzigzag(x)
	}
}

func unzigzag(x uint64) uint64 { return x>>1 ^ -(x & 1) }
