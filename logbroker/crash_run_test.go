package logbroker

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// lostProducer are the errors that tell a producer it was cut off.
var lostProducer = []*kerr.Error{kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.ProducerFenced}

// deafFS loses the syncs of logs while deaf is set.
type deafFS struct {
	vfs.FS
	deaf atomic.Bool // read from Pebble's goroutines too
}

func (d *deafFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || !d.deaf.Load() || !strings.Contains(name, logsDir+"/") {
		return f, err
	}
	return &deafFile{File: f, fs: d}, nil
}

func (d *deafFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return d.wrap(name, f, err)
}

func (d *deafFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, opts...)
	return d.wrap(name, f, err)
}

func (d *deafFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(name, opts...)
	return d.wrap(name, f, err)
}

type deafFile struct {
	vfs.File
	fs *deafFS
}

func (f *deafFile) Sync() error {
	if f.fs.deaf.Load() {
		return nil
	}
	return f.File.Sync()
}

func (f *deafFile) SyncData() error {
	if f.fs.deaf.Load() {
		return nil
	}
	return f.File.SyncData()
}

// simBatch is a batch of a producer, for one partition.
type simBatch struct {
	partition int32
	batch     recordbatch.Batch
	values    []string
}

func (s *sim) produceRequest(p *simProducer, b simBatch) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks = 12, -1
	if p.old {
		req.Version = 11
	}
	if p.id != "" {
		req.TransactionID = &p.id
	}
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "t"
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = b.partition, slices.Clone(b.batch) // the broker writes its offset into what it is given
	topic.Partitions = append(topic.Partitions, rp)
	req.Topics = append(req.Topics, topic)
	return req
}

// send sends a batch, for the first time or again because its answer was lost.
func (s *sim) send(p *simProducer, b simBatch) {
	p.lost, p.ready = nil, false
	resp := simCall[*kmsg.ProduceResponse](s, s.produceRequest(p, b))
	if resp == nil {
		p.lost = &b
		return
	}
	r := resp.Topics[0].Partitions[0]
	if r.ErrorCode != 0 {
		s.expect(r.ErrorCode, lostProducer...)
		return
	}
	p.ready = true
	p.seq[b.partition] += int32(len(b.values))
	for i, v := range b.values {
		if p.id == "" {
			s.fates[v] = committed
		}
		s.see(place{b.partition, r.BaseOffset + int64(i)}, v)
	}
}

// wake lets a producer go on that does not know yet that it is fenced.
func (s *sim) wake(p *simProducer) {
	s.values++
	v := fmt.Sprint("v", s.values)
	s.fates[v] = aborted
	part := int32(s.rng.IntN(simPartitions))
	var b recordbatch.Builder
	b.Append(s.now.UnixMilli(), nil, []byte(v), nil)
	batch := b.Batch()
	batch.SetProducer(p.pid, p.epoch, p.seq[part], true)
	batch.SetCRC()
	if resp := simCall[*kmsg.ProduceResponse](s, s.produceRequest(p, simBatch{part, batch, nil})); resp != nil {
		s.refused("produce", resp.Topics[0].Partitions[0].ErrorCode)
	}
	if resp := simCall[*kmsg.EndTxnResponse](s, s.endRequest(p, true)); resp != nil {
		s.refused("end", resp.ErrorCode)
	}
}

func (s *sim) refused(what string, code int16) {
	if code == 0 {
		s.fail("a fenced producer was let in: %s", what)
		return
	}
	s.expect(code, append(lostProducer, kerr.InvalidTxnState)...) // its transaction was aborted
}

// addPartition registers a partition in the older protocol.
func (s *sim) addPartition(p *simProducer, part int32) bool {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, p.id, p.pid, p.epoch
	topic := kmsg.NewAddPartitionsToTxnRequestTopic()
	topic.Topic, topic.Partitions = "t", []int32{part}
	req.Topics = append(req.Topics, topic)
	resp := simCall[*kmsg.AddPartitionsToTxnResponse](s, req)
	if resp == nil {
		p.ready = false
		return false
	}
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		s.expect(code, lostProducer...)
		p.ready = false
		return false
	}
	p.added[part] = true
	return true
}

// sendOffset commits an offset of the producer's own group in its transaction:
// a larger one each time. It shares the fate of the transaction's values, as
// one more of them.
func (s *sim) sendOffset(p *simProducer) {
	if p.old && !p.grouped {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = 3, p.id, p.pid, p.epoch, p.id
		resp := simCall[*kmsg.AddOffsetsToTxnResponse](s, req)
		if resp == nil || resp.ErrorCode != 0 {
			p.ready = false
			if resp != nil {
				s.expect(resp.ErrorCode, lostProducer...)
			}
			return
		}
		p.grouped = true
	}
	for _, v := range p.values { // one offset to a transaction: a second would hide the first
		if v[0] == 'o' {
			return
		}
	}
	name := fmt.Sprintf("o%s/%d", p.id, len(p.offsets))
	p.offsets, p.values = append(p.offsets, name), append(p.values, name)
	s.fates[name], s.groups[name] = open, p.txn
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = 5, p.id, p.id, p.pid, p.epoch, -1
	if p.old {
		req.Version = 3
	}
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = "t"
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Offset = int64(len(p.offsets) - 1)
	topic.Partitions = append(topic.Partitions, rp)
	req.Topics = append(req.Topics, topic)
	resp := simCall[*kmsg.TxnOffsetCommitResponse](s, req)
	if resp == nil {
		p.ready = false
		return
	}
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		s.expect(code, lostProducer...)
		p.ready = false
	}
}

// checkOffsets compares the groups' committed offsets with the fates of the
// transactions that set them, and learns the fates it did not know.
func (s *sim) checkOffsets() {
	for _, p := range s.producers {
		if p.id == "" {
			continue
		}
		at := int64(-1)
		o, ok, err := s.broker.meta.Offset(p.id, "t", 0)
		if err != nil {
			s.fail("offset of %s: %v", p.id, err)
		}
		if ok {
			at = o.Offset
		}
		for n, name := range p.offsets {
			f := s.fates[name]
			switch {
			case int64(n) == at && f == unknown:
				s.learn(name)
			case int64(n) == at && f != committed:
				s.fail("offset %s is not committed and is seen", name)
			case int64(n) > at && f == committed:
				s.fail("offset %s was committed and is lost: the group is at %d", name, at)
			case int64(n) > at && f == unknown:
				s.unlearn(name)
			}
		}
	}
}

// unlearn: the decision of a transaction whose end was not answered is not
// there, so it never will be.
func (s *sim) unlearn(name string) {
	for other, g := range s.groups {
		if g == s.groups[name] && s.fates[other] == unknown {
			s.fates[other] = aborted
		}
	}
}

// TestNothingAcknowledgedIsLost lives through SIGKILLs and power losses in the
// middle of file system calls, with many seeds (LEVADA_SEEDS).
func TestNothingAcknowledgedIsLost(t *testing.T) {
	for seed := range seeds(t, 60) {
		if failure := newSim(t, uint64(seed), nil).run(); failure != "" {
			t.Fatalf("seed %d: %s", seed, failure)
		}
	}
}
