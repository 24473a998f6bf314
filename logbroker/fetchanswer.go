package logbroker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/commitlog"
)

// minSent is the least that is sent from a file as it is. What is less is copied,
// which takes fewer calls.
const minSent = 32 << 10

// fetchAnswer is the answer to a fetch of a TCP client: some of the records are
// still in files, from where they are sent.
type fetchAnswer struct {
	*kmsg.FetchResponse
	// ranges are those of the partitions, in the order of the response; one with
	// RecordBatches has an empty range.
	ranges []commitlog.Range
	buf    []byte // where RecordBatches lie, or most of them
}

// cut is a place in an encoded answer into which records go.
type cut struct {
	at      int
	records []byte
	section *commitlog.Section // of size bytes, if records is nil
	size    int
}

// size is what the answer to a fetch takes in all, of a session with what is news only, as
// Kafka counts it: with the length of a frame, and without a header.
func (f *fetch) size() int {
	v, flexible := f.resp.Version, f.resp.Version >= 12
	if s := f.session; s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	n, topics, size := 0, 0, 4
	var dst []byte
	for i := range f.resp.Topics {
		t := &f.resp.Topics[i]
		told := 0
		for j := range t.Partitions {
			rp := &t.Partitions[j]
			records := len(rp.RecordBatches) + f.found[n].Size()
			if f.tellsAll() || f.parts[n].isNews(rp, records > 0) {
				told++
				dst = appendFetched(dst[:0], v, rp, records)
				if flexible {
					dst = appendDiverging(dst, &rp.DivergingEpoch)
				}
				size += len(dst) + records
			}
			n++
		}
		if told > 0 || f.tellsAll() {
			topics++
			dst = appendTopic(dst[:0], v, t, told)
			size += len(dst)
		}
	}
	if flexible {
		size += topics + 1 // the tags of each topic, and of the answer: none
	}
	return size + len(appendHead(dst[:0], f.resp, topics))
}

// appendHead encodes what comes before the topics.
func appendHead(dst []byte, f *kmsg.FetchResponse, topics int) []byte {
	dst = kbin.AppendInt32(dst, f.ThrottleMillis)
	if f.Version >= 7 {
		dst = kbin.AppendInt16(dst, f.ErrorCode)
		dst = kbin.AppendInt32(dst, f.SessionID)
	}
	return appendCount(dst, f.Version >= 12, topics)
}

// appendTopic encodes what comes before the partitions of a topic.
func appendTopic(dst []byte, version int16, t *kmsg.FetchResponseTopic, partitions int) []byte {
	switch {
	case version >= 13:
		dst = kbin.AppendUuid(dst, t.TopicID)
	case version >= 12:
		dst = kbin.AppendCompactString(dst, t.Topic)
	default:
		dst = kbin.AppendString(dst, t.Topic)
	}
	return appendCount(dst, version >= 12, partitions)
}

// appendTo encodes the answer without its records, and says where they go. It
// writes what FetchResponse.AppendTo would, of the fields that a broker sets.
func (f *fetchAnswer) appendTo(dst []byte) ([]byte, []cut) {
	v, flexible := f.Version, f.Version >= 12
	dst = appendHead(dst, f.FetchResponse, len(f.Topics))
	cuts := make([]cut, 0, len(f.ranges))
	n := 0
	for i := range f.Topics {
		t := &f.Topics[i]
		dst = appendTopic(dst, v, t, len(t.Partitions))
		for j := range t.Partitions {
			c := cut{records: t.Partitions[j].RecordBatches, size: len(t.Partitions[j].RecordBatches)}
			if r := f.ranges[n]; r.Size() > 0 {
				// One that is gone by now is empty: the client asks again, and is told.
				if section, err := r.Open(); err == nil {
					c = cut{section: section, size: r.Size()}
				}
			}
			n++
			dst = appendFetched(dst, v, &t.Partitions[j], c.size)
			c.at = len(dst)
			cuts = append(cuts, c)
			if flexible {
				dst = appendDiverging(dst, &t.Partitions[j].DivergingEpoch)
			}
		}
		if flexible {
			dst = append(dst, 0) // no tags
		}
	}
	if flexible {
		dst = append(dst, 0)
	}
	return dst, cuts
}

func appendCount(dst []byte, flexible bool, n int) []byte {
	if flexible {
		return kbin.AppendCompactArrayLen(dst, n)
	}
	return kbin.AppendArrayLen(dst, n)
}

// appendFetched encodes a partition up to its records, of which there are size
// bytes.
func appendFetched(dst []byte, version int16, p *kmsg.FetchResponseTopicPartition, size int) []byte {
	flexible := version >= 12
	dst = kbin.AppendInt32(dst, p.Partition)
	dst = kbin.AppendInt16(dst, p.ErrorCode)
	dst = kbin.AppendInt64(dst, p.HighWatermark)
	dst = kbin.AppendInt64(dst, p.LastStableOffset)
	if version >= 5 {
		dst = kbin.AppendInt64(dst, p.LogStartOffset)
	}
	if flexible {
		dst = kbin.AppendCompactNullableArrayLen(dst, len(p.AbortedTransactions), p.AbortedTransactions == nil)
	} else {
		dst = kbin.AppendNullableArrayLen(dst, len(p.AbortedTransactions), p.AbortedTransactions == nil)
	}
	for _, a := range p.AbortedTransactions {
		dst = kbin.AppendInt64(dst, a.ProducerID)
		dst = kbin.AppendInt64(dst, a.FirstOffset)
		if flexible {
			dst = append(dst, 0)
		}
	}
	if version >= 11 {
		dst = kbin.AppendInt32(dst, p.PreferredReadReplica)
	}
	if flexible {
		return kbin.AppendUvarint(dst, uint32(size)+1)
	}
	return kbin.AppendInt32(dst, int32(size))
}

// appendDiverging encodes the tags of a partition: where its log diverges from the
// client's (KIP-595), if it does.
func appendDiverging(dst []byte, d *kmsg.FetchResponseTopicPartitionDivergingEpoch) []byte {
	if d.Epoch == -1 && d.EndOffset == -1 {
		return append(dst, 0)
	}
	dst = append(dst, 1, 0, 4+8+1) // one tag, the first, and its length
	dst = kbin.AppendInt32(dst, d.Epoch)
	dst = kbin.AppendInt64(dst, d.EndOffset)
	return append(dst, 0)
}

// write sends the answer, for which the client has a time that goes by its size. head
// has place for the length of the frame, and holds its header; it is returned to be
// used again. step is called after each piece of it.
func (f *fetchAnswer) write(c net.Conn, w *bufio.Writer, head []byte, p *patience, step func()) ([]byte, error) {
	frame, cuts := f.appendTo(head)
	defer func() {
		for _, cut := range cuts {
			if cut.section != nil {
				_ = cut.section.Close() // of a file that was read
			}
		}
	}()
	size := len(frame) - 4
	for _, cut := range cuts {
		size += cut.size
	}
	binary.BigEndian.PutUint32(frame, uint32(size))
	_ = c.SetWriteDeadline(time.Now().Add(p.writing(size)))
	sends := slices.ContainsFunc(cuts, func(c cut) bool { return c.section != nil })
	if sends {
		cork(c, 1)
	}
	from := 0
	for _, cut := range cuts {
		if cut.size == 0 {
			continue
		}
		if _, err := w.Write(frame[from:cut.at]); err != nil {
			return frame, err
		}
		from = cut.at
		if err := cut.write(c, w); err != nil {
			return frame, err
		}
		step()
	}
	_, err := w.Write(frame[from:])
	if err == nil && sends {
		err = w.Flush()
		cork(c, 0)
	}
	return frame, err
}

func (u *cut) write(c net.Conn, w *bufio.Writer) error {
	if u.section == nil {
		_, err := w.Write(u.records)
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	err := sendFile(c, u.section, u.size)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	n, err := io.Copy(c, u.section.Reader())
	if err == nil && n < int64(u.size) {
		return io.ErrUnexpectedEOF // the file was cut, which Copy takes for its end
	}
	return err
}
