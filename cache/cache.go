// Package cache is the engine of a cache with memcached's semantics, in one region of
// memory of a fixed size that a kernel program may read at the same time. Commands come in
// as keys and values, and what goes out are items in the form in which they are sent to
// clients; cache/memcached, which speaks the protocol, calls it, and cache/xdp, which puts
// a reader into the kernel, supplies the region. Time comes in by Tick, and goroutines of
// any number may call everything else at any time.
//
// docs/format/cache.md has the layout and the rules that keep readers safe.
package cache

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Defaults of Config.
const (
	DefaultGrowth    = 1.125
	DefaultItemBytes = 1 << 20
)

// Config is what a cache is made with. The zero Config has all defaults.
type Config struct {
	// ItemBytes is the largest item: 24 bytes, the line, the value and \r\n. The
	// default is 1 MiB; it cannot be above half of the region.
	ItemBytes int
	// Growth is the factor between chunk sizes, 1.125 by default.
	Growth float64
	// Keep refuses new items when memory is full, instead of evicting old ones.
	Keep bool
	// Seed is of the hash; random where keys come from outside.
	Seed uint64
	// Grace waits for readers that are no goroutines; nil if there are none.
	Grace Grace
}

// Grace waits for readers of the region that the cache does not know of.
type Grace interface {
	// Wait returns when all of them that were running when it was called are done.
	// While it returns an error nothing that was retired is used again.
	Wait() error
}

// Cache is the cache.
//
// Readers, which are goroutines in a read section and a kernel program, take no lock.
// Writers lock the shard of their key, then, for a moment each, the class of a chunk, then
// the pool of pages. One goroutine, the recycler, makes chunks free ahead of need.
type Cache struct {
	index
	slabs    *slabs
	epochs   epochs
	hashKeys hashKeys
	config   Config
	shape    shape
	shards   []shard
	unique   atomic.Uint64 // the last CAS unique given out
	flushing flushing
	sweeping sweeping
	hot      hotKeys
	recycler recycler
}

// shard is a lock over the entries of the index whose hashes begin alike.
type shard struct {
	sync.Mutex
	items int64 // entries of the index
	_     [48]byte
}

// New makes a cache in a region of zeroed words, which it keeps and the caller must not
// touch. More than MinBytes, a multiple of PageBytes, aligned to 64 bytes. Close ends it.
func New(memory []uint64, config Config) (*Cache, error) {
	r, err := newRegion(memory)
	if err != nil {
		return nil, err
	}
	if config.ItemBytes == 0 {
		config.ItemBytes = min(DefaultItemBytes, len(r.bytes)/2)
	}
	if config.Growth == 0 {
		config.Growth = DefaultGrowth
	}
	if config.ItemBytes < minItemBytes || config.ItemBytes > min(len(r.bytes)/2, maxItemBytes) {
		return nil, fmt.Errorf("%w: largest item of %d bytes is not %d to half of the region of %d", ErrConfig, config.ItemBytes, minItemBytes, len(r.bytes))
	}
	c := &Cache{config: config, shape: shapeOf(len(r.bytes)), hashKeys: newHashKeys(config.Seed)}
	c.index = index{region: &r, shift: 64 - uint64(c.shape.dirBits), shardBits: c.shape.shardBits}
	if c.slabs, err = newSlabs(&r, c.shape, config.Growth); err != nil {
		return nil, err
	}
	c.shards = make([]shard, 1<<c.shape.shardBits)
	c.hot.init()
	c.format()
	c.recycler.start(c)
	return c, nil
}

// format writes the control words, and an empty index with a page a shard.
func (c *Cache) format() {
	c.words[wordRegion] = uint64(len(c.bytes))
	c.words[wordDirectory] = wordEntries * 8
	c.words[wordShift] = c.shift
	copy(c.words[wordHashKeys:], c.hashKeys[:])
	for i := range uint64(1) << c.shape.dirBits {
		shardEntries := uint64(1) << (c.shape.dirBits - c.shape.shardBits)
		if i%shardEntries == 0 {
			c.words[wordEntries+i] = c.indexPage()
		} else {
			c.words[wordEntries+i] = c.words[wordEntries+i-1]
		}
	}
	c.store(wordAuthoritative, 1)
	c.store(wordMagic, magic)
}

// indexPage is a clear page for the index, 0 if there is none.
func (c *Cache) indexPage() uint64 {
	number, ok := c.slabs.pool.take(true)
	if !ok {
		return 0
	}
	at := uint64(number) * PageBytes
	clear(c.words[at/8 : at/8+pageWords])
	return at
}

// Close stops the recycler, and tells readers in the kernel that what they do not find may
// still be elsewhere. What is stored afterwards may find no room.
func (c *Cache) Close() {
	c.store(wordAuthoritative, 0)
	c.recycler.stop()
}

// Tick tells the time, in Unix seconds, which should be called once a second and never
// go back. It removes a share of what has expired.
func (c *Cache) Tick(now uint32) {
	c.store(wordClock, uint64(now))
	c.flushing.tick(c, now)
	c.sweeping.tick(c)
	c.hot.tick()
}

// Now is the time that Tick told last.
func (c *Cache) Now() uint32 { return uint32(c.load(wordClock)) }

// Config is the configuration, with the defaults filled in.
func (c *Cache) Config() Config { return c.config }

func (c *Cache) generation() uint64 { return c.load(wordGeneration) }

func (c *Cache) shard(hash uint64) *shard {
	return &c.shards[hash>>(64-c.shape.shardBits)&uint64(len(c.shards)-1)]
}
