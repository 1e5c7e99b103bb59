package cache

// minBatch is how many retired chunks of a class are worth a grace period, if those are no
// more than a sixteenth of the class.
const minBatch = 512

// allocate is the first of the chunks for a text of so many bytes, chained if it needs more
// than one; none if there are not enough now.
func (c *Cache) allocate(text int) (first uint64, ok bool) {
	last := uint64(0)
	for remaining, more := text, true; more; {
		var here int
		here, more = extent(remaining)
		chunk, ok := c.takeFor(here, more, first == 0)
		if !ok {
			if first != 0 {
				c.setNext(last, 0)
				c.freeUntil(first, text, remaining)
			}
			return 0, false
		}
		if first == 0 {
			first = chunk
		} else {
			c.setNext(last, chunk)
			c.words[chunk/8+chunkUnique] = first
			c.setLengths(chunk, newLengths(here, 0, 0, 0))
		}
		last, remaining = chunk, remaining-here
	}
	return first, true
}

// takeFor is a chunk for a piece of a text.
func (c *Cache) takeFor(here int, more, first bool) (chunk uint64, ok bool) {
	class := c.classOfPiece(here, more)
	cl := &c.slabs.classes[class]
	cl.Lock()
	chunk, ok = c.slabs.take(class, headerBytes+here)
	short := cl.nfree < cl.reserve/2
	if ok && first {
		cl.events.Stored++
	}
	cl.Unlock()
	if short {
		c.recycler.call()
	}
	return chunk, ok
}

func (c *Cache) classOfPiece(here int, more bool) int {
	if more {
		return len(c.slabs.classes) - 1
	}
	return c.slabs.classFor(headerBytes + here)
}

// free makes the chunks of an item free, which nobody can reach any more, and is how many
// bytes they have.
func (c *Cache) free(first uint64, text int) (bytes int) { return c.freeUntil(first, text, 0) }

// freeUntil is free for an item of which the last bytes of the text have no chunks yet.
func (c *Cache) freeUntil(first uint64, text, missing int) (bytes int) {
	c.eachPiece(first, text, func(chunk uint64, piece []byte) bool {
		bytes += int(c.slabs.classOf(chunk).size)
		c.slabs.put(chunk, headerBytes+len(piece))
		text -= len(piece)
		return text > missing
	})
	return bytes
}

// retire hands an item that is no longer in the index to the recycler.
func (c *Cache) retire(chunk uint64, why event) {
	cl := c.slabs.classOf(chunk)
	cl.Lock()
	cl.retired = append(cl.retired, chunk)
	cl.limbo++
	cl.events.count(why, c.load(chunk/8+chunkState)&(markFetched|markReference) != 0)
	enough := len(cl.retired) >= min(minBatch, cl.chunks/reserveShare+1)
	cl.Unlock()
	if enough {
		c.recycler.call()
	}
}

// await waits until the recycler has done what it can for an item of so many bytes of text.
func (c *Cache) await(text int) {
	full := 0
	here, more := extent(text)
	for ; more; here, more = extent(text) {
		text -= here
		full++
	}
	if full > 0 {
		c.awaitChunks(len(c.slabs.classes)-1, full)
	}
	c.awaitChunks(c.classOfPiece(here, false), 1)
}

// awaitChunks waits until a class has n free chunks, or the recycler has been there twice:
// the first time it may have looked before.
func (c *Cache) awaitChunks(class, n int) {
	cl := &c.slabs.classes[class]
	cl.Lock()
	defer cl.Unlock()
	cl.waiting += n
	for enough := cl.rounds + 2; cl.nfree < n && cl.rounds < enough && !c.recycler.isStopped(); {
		c.recycler.call()
		cl.more.Wait()
	}
	cl.waiting -= n
}

// refuse counts an item of so many bytes of text that found no room.
func (c *Cache) refuse(text int) {
	here, more := extent(text)
	cl := &c.slabs.classes[c.classOfPiece(here, more)]
	cl.Lock()
	cl.events.OutOfSpace++
	cl.Unlock()
}
