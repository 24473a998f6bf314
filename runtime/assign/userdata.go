package assign

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of what is decoded. A topic name of Kafka has at most 249 bytes.
const (
	maxIDBytes        = 1024
	maxTopicBytes     = 249
	maxSubtopologies  = 10_000
	maxTopicsPerSub   = 10_000
	maxLiveMembers    = 100_000
	userDataVersion   = 1
	liveVersion       = 1
	preallocateAtMost = 1024
)

// ErrCorrupt is wrapped by every error of a decoder.
var ErrCorrupt = errors.New("assign: corrupt")

// UserData is what a member tells the assignor about itself. Form (uvarint
// lengths before strings and lists):
//
//	uint8  version = 1
//	string process id
//	string transactional id, "" without one
//	list   of sub-topologies, each a list of topic names
type UserData struct {
	// ProcessID names the process of the member.
	ProcessID string
	// TransactionalID is that of the member's producer; "" at least once.
	TransactionalID string
	// Subtopologies lists the topics that are read together, by partition. If
	// there are none, every topic of the member is one by itself.
	Subtopologies [][]string
}

// Encode returns the wire form.
func (d UserData) Encode() []byte {
	b := []byte{userDataVersion}
	b = appendString(b, d.ProcessID)
	b = appendString(b, d.TransactionalID)
	b = binary.AppendUvarint(b, uint64(len(d.Subtopologies)))
	for _, topics := range d.Subtopologies {
		b = binary.AppendUvarint(b, uint64(len(topics)))
		for _, t := range topics {
			b = appendString(b, t)
		}
	}
	return b
}

// DecodeUserData reads the wire form. No bytes are a member that tells
// nothing of itself. It takes no more memory than a small multiple of b.
func DecodeUserData(b []byte) (UserData, error) {
	if len(b) == 0 {
		return UserData{}, nil
	}
	d := decoder{what: "user data of a member", rest: b}
	d.version(userDataVersion)
	var u UserData
	u.ProcessID = d.string(maxIDBytes)
	u.TransactionalID = d.string(maxIDBytes)
	subs := d.count(maxSubtopologies)
	for i := 0; i < subs && d.err == nil; i++ {
		n := d.count(maxTopicsPerSub)
		topics := make([]string, 0, min(n, preallocateAtMost))
		for j := 0; j < n && d.err == nil; j++ {
			topics = append(topics, d.string(maxTopicBytes))
		}
		u.Subtopologies = append(u.Subtopologies, topics)
	}
	if err := d.end(); err != nil {
		return UserData{}, err
	}
	return u, nil
}

// EncodeLive returns the wire form of the list of transactional ids that an
// Assignment carries: uint8 version = 1, then a list of strings.
func EncodeLive(transactionalIDs []string) []byte {
	b := []byte{liveVersion}
	b = binary.AppendUvarint(b, uint64(len(transactionalIDs)))
	for _, id := range transactionalIDs {
		b = appendString(b, id)
	}
	return b
}

// DecodeLive reads what EncodeLive wrote; no bytes are an empty list.
func DecodeLive(b []byte) ([]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	d := decoder{what: "live members of an assignment", rest: b}
	d.version(liveVersion)
	n := d.count(maxLiveMembers)
	ids := make([]string, 0, min(n, preallocateAtMost))
	for i := 0; i < n && d.err == nil; i++ {
		ids = append(ids, d.string(maxIDBytes))
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return ids, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder reads fields until the first error.
type decoder struct {
	what string
	rest []byte
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s: %s", ErrCorrupt, d.what, fmt.Sprintf(format, args...))
	}
}

func (d *decoder) version(want byte) {
	if d.rest[0] != want {
		d.fail("version %d, this program knows version %d; run one version of the program in all members", d.rest[0], want)
		return
	}
	d.rest = d.rest[1:]
}

// count reads the length of a list; each entry takes at least one byte.
func (d *decoder) count(limit int) int {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > uint64(len(d.rest)-n) || v > uint64(limit) {
		d.fail("%d entries in %d bytes, at most %d are allowed", v, len(d.rest), limit)
		return 0
	}
	d.rest = d.rest[n:]
	return int(v)
}

func (d *decoder) string(limit int) string {
	n := d.count(limit)
	if d.err != nil {
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes after the end", len(d.rest))
	}
	return d.err
}
