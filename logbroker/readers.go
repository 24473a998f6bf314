package logbroker

import (
	"runtime"
	"sync"

	"github.com/levada/levada/internal/recordbatch"
)

// maxInflating is how many batches may be decompressed at once: it costs CPU, and up
// to recordbatch.MaxDecompressed bytes each, whatever the clients are.
const maxInflating = 8

// keptInflated is the largest memory that a reader of batches keeps, in bytes.
const keptInflated = 2 << 20

// readers of the batches that clients send.
type readers struct {
	idle      sync.Pool
	inflating chan struct{}
}

// batchReader is taken for one batch.
type batchReader struct {
	recordbatch.Reader
	inflates bool // it holds one of the places for decompression
}

func newReaders() *readers {
	return &readers{inflating: make(chan struct{}, min(maxInflating, runtime.GOMAXPROCS(0)))}
}

// get waits for a place if the batch is to be decompressed.
func (r *readers) get(inflates bool) *batchReader {
	if inflates {
		r.inflating <- struct{}{}
	}
	reader, _ := r.idle.Get().(*batchReader)
	if reader == nil {
		reader = new(batchReader)
	}
	reader.inflates = inflates
	return reader
}

func (r *readers) put(reader *batchReader) {
	if reader.inflates {
		<-r.inflating
	}
	if reader.Inflated() <= keptInflated {
		r.idle.Put(reader)
	}
}
