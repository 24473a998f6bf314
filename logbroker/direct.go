package logbroker

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/levada/levada/internal/recordbatch"
)

// Append appends a batch of a transaction for a caller in this process, who has built
// it, with records that can be read: its
// producer fields and CRC are set, the partition joins the transaction. On
// return it is in the page cache; the bytes are the caller's again. Errors wrap
// a *kerr.Error. It is safe for concurrent use.
func (b *Broker) Append(topic string, partition int32, batch recordbatch.Batch) (baseOffset int64, err error) {
	p, err := b.topics.partition(b.topics.byName(topic), partition)
	if err != nil {
		return -1, err
	}
	if batch, err = b.accept(p.topic, batch, true); err != nil {
		return -1, withCode(err)
	}
	result, err := b.append(p, batch, nil, true)
	if err != nil {
		return -1, withCode(err)
	}
	p.syncLater()
	return result.BaseOffset, nil
}

// withCode gives an error the code that a client would be answered with.
func withCode(err error) error {
	if code := (*kerr.Error)(nil); errors.As(err, &code) {
		return err
	}
	return fmt.Errorf("%w: %w", kerr.ErrorForCode(errorCode(err)), err)
}

// Fetch reads whole batches from the one that holds the offset on, up to the
// high watermark, or with readCommitted up to the last stable offset; at most
// maxBytes of them, but at least one. They are appended to dst. It never waits.
// Errors wrap a *kerr.Error. It is safe for concurrent use.
func (b *Broker) Fetch(topic string, partition int32, offset int64, readCommitted bool, maxBytes int, dst []byte) (FetchResult, error) {
	p, err := b.topics.partition(b.topics.byName(topic), partition)
	if err != nil {
		return FetchResult{}, err
	}
	res, end, err := b.readable(p, offset, readCommitted)
	if err == nil && offset < end {
		res.Batches, err = p.log.Read(offset, end, maxBytes, true, dst)
	}
	if err != nil {
		b.log.Debug("fetch failed", "topic", topic, "partition", partition, "offset", offset, "error", err)
		return res, withCode(err)
	}
	if readCommitted && len(res.Batches) > len(dst) {
		for _, a := range p.log.Aborted(offset, endOf(res.Batches[len(dst):])) {
			res.Aborted = append(res.Aborted, AbortedTxn{a.ProducerID, a.FirstOffset})
		}
	}
	return res, nil
}

// Watch calls fn, which must not block, whenever the high watermark or the last
// stable offset of a partition may have advanced, until cancel is called. A
// partition that does not exist is never heard of. It is safe for concurrent
// use.
func (b *Broker) Watch(topic string, partition int32, readCommitted bool, fn func()) (cancel func()) {
	p, err := b.topics.partition(b.topics.byName(topic), partition)
	if err != nil {
		return func() {}
	}
	return p.watch(readCommitted, fn)
}
