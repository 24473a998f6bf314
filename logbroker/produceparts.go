package logbroker

import (
	"bufio"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partBytes is about how much of a produce request is held in memory.
const partBytes = 2 << 20

// produceParts takes a produce request apart while it comes. A request may be 100 MiB;
// what it holds for each partition is written to its log, and answered, by itself, so
// that of a large one no more is in memory than a part: some partitions whole. It
// reads what kmsg would, of all versions:
//
//	transactional id (3+) | acks | timeout | topics: name or (13+) id |
//	  partitions: index | records
//
// with compact lengths and tags from version 9 on.
type produceParts struct {
	r    *bufio.Reader
	pool *frames
	left int    // bytes of the request that have not been read
	buf  []byte // what has been read; rest is the end of it that no part holds
	rest []byte
	size int // of a part, about

	flexible   bool
	head       kmsg.ProduceRequest // what all parts share
	topic      kmsg.ProduceRequestTopic
	topics     int  // that begin after this one
	partitions int  // of this topic, that are to come
	inTopic    bool // its end has not been read
	elements   int  // that may still come
	begun      bool
	done       bool
}

// newProduceParts takes a request apart of which buf has been read, whose end is body,
// and left bytes are to come.
func newProduceParts(r *bufio.Reader, pool *frames, buf, body []byte, left int, version, flexible int16, size int) *produceParts {
	p := &produceParts{r: r, pool: pool, left: left, buf: buf, rest: body, size: size, flexible: version >= flexible, elements: maxElements}
	p.head.Version = version
	return p
}

// next returns the next part, which is valid until the next call.
func (p *produceParts) next() (*kmsg.ProduceRequest, error) {
	part := p.head
	for {
		p.parse(&part)
		switch {
		case p.elements < 0:
			return nil, refusef("Produce version %d: %v", part.Version, errElements)
		case p.done:
			_, err := p.r.Discard(p.left)
			return &part, err
		case len(part.Topics) > 0:
			return &part, nil
		case p.left == 0:
			return nil, refusef("Produce version %d: %v", part.Version, errShort)
		}
		if err := p.readOn(); err != nil {
			return nil, err
		}
	}
}

// readOn moves the rest to the front and reads as much behind it as a part takes, or
// as much again where the rest alone is that much.
func (p *produceParts) readOn() error {
	p.buf = append(p.buf[:0], p.rest...)
	have := len(p.buf)
	want := p.size
	if have >= want {
		want = 2 * have
	}
	n := min(p.left, want-have)
	var err error
	p.buf, err = p.pool.readOn(p.r, p.buf, have+n)
	p.left -= n
	p.rest = p.buf
	return err
}

// parse moves what rest holds whole into a part.
func (p *produceParts) parse(part *kmsg.ProduceRequest) {
	for p.elements >= 0 && !p.done {
		rd := kbin.Reader{Src: p.rest}
		done := false
		switch {
		case !p.begun:
			p.begin(&rd, part)
		case p.inTopic && p.partitions > 0:
			p.partition(&rd, part)
		case p.inTopic:
			p.tags(&rd)
			p.inTopic = !rd.Ok()
		case p.topics > 0:
			p.beginTopic(&rd)
		default:
			p.tags(&rd)
			done = true
		}
		if !rd.Ok() {
			return // the rest of it is to come, or never does
		}
		p.rest, p.done = rd.Src, done
	}
}

// begin reads what comes before the topics.
func (p *produceParts) begin(rd *kbin.Reader, part *kmsg.ProduceRequest) {
	h := part
	if p.flexible {
		h.TransactionID = rd.CompactNullableString()
	} else if h.Version >= 3 {
		h.TransactionID = rd.NullableString()
	}
	h.Acks, h.TimeoutMillis = rd.Int16(), rd.Int32()
	n := p.length(rd)
	if rd.Ok() {
		p.begun, p.head, p.topics = true, *h, n
		p.elements -= n
	}
}

func (p *produceParts) beginTopic(rd *kbin.Reader) {
	t := kmsg.NewProduceRequestTopic()
	switch {
	case p.head.Version >= 13:
		t.TopicID = rd.Uuid()
	case p.flexible:
		t.Topic = rd.CompactString()
	default:
		t.Topic = rd.String()
	}
	n := p.length(rd)
	if rd.Ok() {
		p.topic, p.partitions, p.inTopic = t, n, true
		p.topics--
		p.elements -= n
	}
}

func (p *produceParts) partition(rd *kbin.Reader, part *kmsg.ProduceRequest) {
	x := kmsg.NewProduceRequestTopicPartition()
	x.Partition = rd.Int32()
	if p.flexible {
		x.Records = rd.CompactNullableBytes()
	} else {
		x.Records = rd.NullableBytes()
	}
	p.tags(rd)
	if !rd.Ok() {
		return
	}
	p.partitions--
	if n := len(part.Topics); n == 0 || !sameTopic(part.Topics[n-1].Topic, part.Topics[n-1].TopicID, p.topic.Topic, p.topic.TopicID) {
		part.Topics = append(part.Topics, p.topic)
	}
	t := &part.Topics[len(part.Topics)-1]
	t.Partitions = append(t.Partitions, x)
}

func sameTopic(name string, id [16]byte, name2 string, id2 [16]byte) bool {
	return name == name2 && id == id2
}

// length reads the count of an array; null is none.
func (p *produceParts) length(rd *kbin.Reader) int {
	n := int32(0)
	if p.flexible {
		n = int32(min(rd.Uvarint(), maxElements+2)) - 1
	} else {
		n = min(rd.Int32(), maxElements+1)
	}
	return int(max(n, 0))
}

// tags passes over tagged fields.
func (p *produceParts) tags(rd *kbin.Reader) {
	if !p.flexible {
		return
	}
	for n := rd.Uvarint(); n > 0 && rd.Ok(); n-- {
		rd.Uvarint()
		size := rd.Uvarint()
		rd.Span(int(min(size, 1<<31-1)))
	}
}

// partAnswers makes one answer of those to the parts of a request.
type partAnswers struct {
	mu      sync.Mutex
	answers []*kmsg.ProduceResponse // by part; nil: none is due, or not yet
	left    int                     // that are to come
	respond func(kmsg.Response)
}

// add expects one more answer, which the function it returns takes.
func (a *partAnswers) add() func(kmsg.Response) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := len(a.answers)
	a.answers = append(a.answers, nil)
	a.left++
	return func(r kmsg.Response) {
		a.mu.Lock()
		a.answers[at], _ = r.(*kmsg.ProduceResponse)
		a.mu.Unlock()
		a.finish()
	}
}

// finish responds if nothing is to come any more.
func (a *partAnswers) finish() {
	a.mu.Lock()
	a.left--
	last := a.left == 0
	a.mu.Unlock()
	if !last {
		return
	}
	whole := a.answers[0]
	for _, next := range a.answers[1:] {
		if whole == nil || next == nil {
			break // none is due to any part
		}
		for _, t := range next.Topics {
			if n := len(whole.Topics); n > 0 && sameTopic(whole.Topics[n-1].Topic, whole.Topics[n-1].TopicID, t.Topic, t.TopicID) {
				whole.Topics[n-1].Partitions = append(whole.Topics[n-1].Partitions, t.Partitions...)
				continue
			}
			whole.Topics = append(whole.Topics, t)
		}
	}
	if whole == nil {
		a.respond(nil)
		return
	}
	a.respond(whole)
}
