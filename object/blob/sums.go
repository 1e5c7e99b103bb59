package blob

import (
	"encoding/binary"
	"fmt"

	"carillon/object"
	"carillon/object/backend"
)

// blockSums are the checksums of the blocks of a content.
type blockSums struct {
	info object.Info
	sums []byte
}

// newBlockSums takes what stands in a file behind the content, if it and the header are as they have to be.
func newBlockSums(info object.Info, h Header, sums []byte) (blockSums, error) {
	if h.Info != info {
		return blockSums{}, backend.Damaged(info, fmt.Sprintf("its file is of %q version %s, %d bytes", h.Info.Name, h.Info.Version, h.Info.Size))
	}
	if checksum(sums) != h.blockSum {
		return blockSums{}, backend.Damaged(info, "its block checksums are damaged")
	}
	return blockSums{info, sums}, nil
}

// size is how many bytes a block has.
func (s blockSums) size(block int64) int64 { return min(BlockSize, s.info.Size-block*BlockSize) }

// check compares a block.
func (s blockSums) check(block int64, content []byte) error {
	if checksum(content) != binary.LittleEndian.Uint32(s.sums[sumSize*block:]) {
		return backend.Damaged(s.info, fmt.Sprintf("block %d does not have its checksum", block))
	}
	return nil
}

// appendSums appends the checksums of the blocks of a content that begins with one.
func appendSums(dst, content []byte) []byte {
	for len(content) > 0 {
		n := min(BlockSize, len(content))
		dst = binary.LittleEndian.AppendUint32(dst, checksum(content[:n]))
		content = content[n:]
	}
	return dst
}
