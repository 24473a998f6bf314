package logbroker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxElements is the number of array elements and tags in one request.
const maxElements = 100_000

// shape is the wire form of a request, as far as it takes to walk over it:
// enough to count its elements before any of them is allocated. The decoder
// allocates an array whole from its count, which may be as large as the rest of
// the request in bytes, and believes a count of tags of four thousand million.
//
// In fields a letter is a type: b 1 byte, h 2, i 4, l 8, u 16, s or S a string
// that may be null, y or Y bytes that may be null; [ ] is an array of one type,
// { } one of structs, ( ) a struct that may be null. Versions follow: 3+ or 0-12; none are all.
type shape struct {
	flexible int16 // the first version with compact lengths and tags
	fields   string
}

// requestShapes are the requests of the table, whose test holds them against
// the decoder.
func requestShapes() map[int16]shape {
	return map[int16]shape{
		int16(kmsg.Produce):                 {9, "S3+ h i {s0-12 u13+ {i Y}}"},
		int16(kmsg.Fetch):                   {12, "i0-14 i i i3+ b4+ i7+ i7+ {s0-12 u13+ {i i9+ l i12+ l5+ i}} {s7-12 u13+ [i]}7+ s11+"},
		int16(kmsg.ListOffsets):             {6, "i b2+ {s {i i4+ l i0-0}} i10+"},
		int16(kmsg.Metadata):                {9, "{u10+ S} b4+ b8-10 b8+"},
		int16(kmsg.OffsetCommit):            {8, "s i1+ s1+ S7+ l2-4 {s0-9 u10+ {i l l1-1 i6+ S}}"},
		int16(kmsg.OffsetFetch):             {6, "s0-7 {s [i]}0-7 {s S9+ i9+ {s8-9 u10+ [i]}}8+ b7+"},
		int16(kmsg.FindCoordinator):         {3, "s0-3 b1+ [s]4+"},
		int16(kmsg.JoinGroup):               {6, "s i i1+ s S5+ s {s y} S8+"},
		int16(kmsg.Heartbeat):               {4, "s i s S3+"},
		int16(kmsg.LeaveGroup):              {4, "s s0-2 {s S S5+}3+"},
		int16(kmsg.SyncGroup):               {4, "s i s S3+ S5+ S5+ {s y}"},
		int16(kmsg.DescribeGroups):          {5, "[s] b3+"},
		int16(kmsg.ListGroups):              {3, "[s]4+ [s]5+"},
		int16(kmsg.ApiVersions):             {3, "s3+ s3+ S5+ i5+"},
		int16(kmsg.CreateTopics):            {5, "{s i h {i [i]} {s S}} i b1+"},
		int16(kmsg.DeleteTopics):            {4, "[s]0-5 {S u}6+ i"},
		int16(kmsg.DeleteRecords):           {2, "{s {i l}} i"},
		int16(kmsg.InitProducerID):          {2, "S i l3+ h3+"},
		int16(kmsg.OffsetForLeaderEpoch):    {4, "i3+ {s {i i2+ i}}"},
		int16(kmsg.AddPartitionsToTxn):      {3, "s0-3 l0-3 h0-3 {s [i]}0-3 {s l h b {s [i]}}4+"},
		int16(kmsg.AddOffsetsToTxn):         {3, "s l h s"},
		int16(kmsg.EndTxn):                  {3, "s l h b"},
		int16(kmsg.TxnOffsetCommit):         {3, "s s l h i3+ s3+ S3+ {s0-5 u6+ {i l i2+ S}}"},
		int16(kmsg.DescribeConfigs):         {4, "{b s [s]} b1+ b3+"},
		int16(kmsg.AlterConfigs):            {2, "{b s {s S}} b"},
		int16(kmsg.DeleteGroups):            {2, "[s]"},
		int16(kmsg.IncrementalAlterConfigs): {1, "{b s {s b S}} b"},
		int16(kmsg.DescribeLogDirs):         {2, "{s [i]}"},
		int16(kmsg.AlterReplicaLogDirs):     {2, "{s {s [i]}}"},
		int16(kmsg.OffsetDelete):            {math.MaxInt16, "s {s {i}}"},
		int16(kmsg.DescribeProducers):       {0, "{s [i]}"},
		int16(kmsg.DescribeTransactions):    {0, "[s]"},
		int16(kmsg.ListTransactions):        {0, "[s] [l] l1+ S2+"},
		int16(kmsg.DescribeCluster):         {0, "b b1+ b2+"},
		int16(kmsg.WriteTxnMarkers):         {1, "{l h b {s [i]} i b2+}"},
		int16(kmsg.CreatePartitions):        {2, "{s i {[i]}} i b"},
		int16(kmsg.ElectLeaders):            {2, "b1+ {s [i]} i"},

		int16(kmsg.AlterPartitionAssignments):  {0, "i b1+ {s {i [i]}}"},
		int16(kmsg.ListPartitionReassignments): {0, "i {s [i]}"},
		int16(kmsg.DescribeQuorum):             {0, "{s {i}}"},
		int16(kmsg.UpdateFeatures):             {0, "i {s h b0-0 b1+} b1+"},
		int16(kmsg.GetTelemetrySubscriptions):  {0, "u"},
		int16(kmsg.PushTelemetry):              {0, "u i b b y"},
		int16(kmsg.ListConfigResources):        {0, "[b]1+"},
		int16(kmsg.ConsumerGroupHeartbeat):     {0, "s s i S S i [s] S1+ S {u [i]}"},
		int16(kmsg.ConsumerGroupDescribe):      {0, "[s] b"},
		int16(kmsg.SASLHandshake):              {math.MaxInt16, "s"},
		int16(kmsg.SASLAuthenticate):           {2, "y"},
		int16(kmsg.CreateDelegationToken):      {2, "S3+ S3+ {s s} l"},
		int16(kmsg.RenewDelegationToken):       {2, "y l"},
		int16(kmsg.ExpireDelegationToken):      {2, "y l"},
		int16(kmsg.DescribeDelegationToken):    {2, "{s s}"},
		int16(kmsg.DescribeACLs):               {2, "b S b1+ S S b b"},
		int16(kmsg.CreateACLs):                 {2, "{b s b1+ s s b b}"},
		int16(kmsg.DeleteACLs):                 {2, "{b S b1+ S S b b}"},
		int16(kmsg.DescribeClientQuotas):       {1, "{s b S} b"},
		int16(kmsg.AlterClientQuotas):          {1, "{{s S} {s l b}} b"},

		int16(kmsg.DescribeUserSCRAMCredentials): {0, "{s}"},
		int16(kmsg.AlterUserSCRAMCredentials):    {0, "{s b} {s b i y y}"},
		int16(kmsg.DescribeTopicPartitions):      {0, "{s} i (s i)"},
	}
}

// replicaState is the one tag of a request that holds a struct with tags of its
// own (Fetch, KIP-903).
const (
	replicaStateTag    = 1
	replicaStateFields = "i l"
)

// field is one parsed field of a shape.
type field struct {
	kind     byte // of a type, or '[', '{' or '('
	min, max int16
	elem     []field
}

// parseShape reads the fields of a shape; a mistake in the table is a
// programmer's and panics when the broker opens.
func parseShape(text string) []field {
	fields, rest := parseFields(text)
	if rest != "" {
		panic(fmt.Sprintf("shape %q: %q is left over", text, rest))
	}
	return fields
}

func parseFields(s string) (fields []field, rest string) {
	for s != "" && s[0] != ']' && s[0] != '}' && s[0] != ')' {
		if s[0] == ' ' {
			s = s[1:]
			continue
		}
		f := field{kind: s[0], max: math.MaxInt16}
		s = s[1:]
		if f.kind == '[' || f.kind == '{' || f.kind == '(' {
			f.elem, s = parseFields(s)
			s = s[1:] // the bracket that closes
		}
		f.min, s = parseVersion(s, 0)
		if s != "" && s[0] == '+' {
			s = s[1:]
		} else if s != "" && s[0] == '-' {
			f.max, s = parseVersion(s[1:], math.MaxInt16)
		}
		fields = append(fields, f)
	}
	return fields, s
}

func parseVersion(s string, none int16) (int16, string) {
	n, digits := int16(0), 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		n = 10*n + int16(s[digits]-'0')
		digits++
	}
	if digits == 0 {
		return none, s
	}
	return n, s[digits:]
}

var (
	errShort    = errors.New("the request ends inside a field")
	errElements = fmt.Errorf("more than %d elements", maxElements)
)

// walker goes over the body of a request by its shape. The first fault sticks.
type walker struct {
	rest     []byte
	version  int16
	flexible bool
	left     int // elements that may still come
	err      error
}

// checkShape walks over the body of a request and refuses what the decoder must
// not see: a body that is too short, and too many elements.
func checkShape(h served, version int16, body []byte) error {
	w := walker{rest: body, version: version, flexible: version >= h.flexible, left: maxElements}
	w.walk(h.fields)
	if w.flexible {
		w.tags(h.key == kmsg.Fetch)
	}
	return w.err
}

func (w *walker) walk(fields []field) {
	for i := range fields {
		f := &fields[i]
		if w.version < f.min || w.version > f.max {
			continue
		}
		switch f.kind {
		case 'b':
			w.skip(1)
		case 'h':
			w.skip(2)
		case 'i':
			w.skip(4)
		case 'l':
			w.skip(8)
		case 'u':
			w.skip(16)
		case 's', 'S':
			w.skip(w.length(2))
		case 'y', 'Y':
			w.skip(w.length(4))
		case '[':
			for n := w.count(); n > 0 && w.err == nil; n-- {
				w.walk(f.elem)
			}
		case '{':
			for n := w.count(); n > 0 && w.err == nil; n-- {
				w.walk(f.elem)
				if w.flexible {
					w.tags(false)
				}
			}
		case '(':
			w.optional(f.elem)
		}
		if w.err != nil {
			return
		}
	}
}

// optional walks over a struct behind a byte that is negative where it is null.
func (w *walker) optional(fields []field) {
	if len(w.rest) == 0 {
		w.fail(errShort)
		return
	}
	null := int8(w.rest[0]) < 0
	w.skip(1)
	if null {
		return
	}
	w.walk(fields)
	if w.flexible {
		w.tags(false)
	}
}

func (w *walker) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.rest = nil
}

func (w *walker) skip(n int) {
	if n < 0 || n > len(w.rest) {
		w.fail(errShort)
		return
	}
	w.rest = w.rest[n:]
}

// length reads a length: null is none.
func (w *walker) length(width int) int {
	if w.flexible {
		return max(0, w.uvarint()-1)
	}
	if len(w.rest) < width {
		w.fail(errShort)
		return 0
	}
	n := int(int16(binary.BigEndian.Uint16(w.rest)))
	if width == 4 {
		n = int(int32(binary.BigEndian.Uint32(w.rest)))
	}
	w.rest = w.rest[width:]
	return max(0, n)
}

// count reads the count of an array, and takes it from those that are left.
func (w *walker) count() int { return w.take(w.length(4)) }

func (w *walker) take(n int) int {
	if n > w.left {
		w.fail(errElements)
		return 0
	}
	w.left -= n
	return n
}

func (w *walker) uvarint() int {
	v, n := binary.Uvarint(w.rest)
	if n <= 0 || v > math.MaxUint32 {
		w.fail(errShort)
		return 0
	}
	w.rest = w.rest[n:]
	return int(v)
}

// tags walks over tagged fields.
func (w *walker) tags(fetch bool) {
	for n := w.take(w.uvarint()); n > 0 && w.err == nil; n-- {
		tag, size := w.uvarint(), w.uvarint()
		if size > len(w.rest) {
			w.fail(errShort)
			return
		}
		if fetch && tag == replicaStateTag {
			inner := walker{rest: w.rest[:size], version: w.version, flexible: true, left: w.left}
			inner.walk(parseShape(replicaStateFields))
			inner.tags(false)
			if inner.err != nil {
				w.fail(inner.err)
			}
		}
		w.skip(size)
	}
}
