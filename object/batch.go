package object

import "context"

// Batcher is a Store that takes many contents at once for less than one after the other. A Store need not be one.
type Batcher interface {
	// PutBatch is Put of each, and returns their results in order: what one's error is says nothing of the others.
	// The contents are read until it returns, and not changed.
	PutBatch(ctx context.Context, puts []ContentPut) []PutResult
}

// ContentPut is a Put of a content in memory. Its Size is not looked at.
type ContentPut struct {
	Name    string
	Content []byte
	Put
}

// PutResult is what Put returns.
type PutResult struct {
	Info Info
	Err  error
}
