package differential

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// rawTalk is one broker that is sent requests as they stand in a script:
//
//	NAME VERSION {"Field": value}
//
// 3-7 are all these versions, one after another: what they are answered follows them,
// once for those that are answered alike. "#MemberID", "#Generation", "#ProducerID", "#ProducerEpoch",
// "#ClientInstanceID" and "#SubscriptionID" are what the last answer with such a field said. $ begins a name of the script's own, @name is the id of a topic, and %one, %two, %tx
// and so on are batches of records; &name is what a classic consumer says of itself that subscribes to a topic; ^0 is the leader
// epoch of a new partition, ^1 the next. What is not given is as clients give it by default.
//
//	known TOPIC PARTITIONS
//
// waits until groups know a topic.
//
//	epoch GROUP N
//
// waits until a group whose server assigns is at an epoch, for what Kafka does in the background.
//
// A line that begins with "first" is not sent again where the answer is to do so.
type rawTalk struct {
	*broker
	prefix  string
	last    map[string]any // by field
	behind  bool           // what was changed may not have reached who answers
	steps   int            // of catchUp
	epoch   int32          // the leader epoch of a new partition
	settles []string       // the errors after which a request is sent again
	batches map[string][]byte
}

func newRawTalk(t *testing.T, name, addr string) *rawTalk {
	return &rawTalk{
		broker: dialBroker(t, name, addr), prefix: fmt.Sprintf("%d-", time.Now().UnixNano()), last: map[string]any{}, batches: rawBatches(),
		settles: []string{`"NOT_COORDINATOR"`, `"COORDINATOR_NOT_AVAILABLE"`, `"COORDINATOR_LOAD_IN_PROGRESS"`, `"CONCURRENT_TRANSACTIONS"`, `"State":"Prepare`},
	}
}

// madeID is the id of a member that was made by a broker.
var madeID = regexp.MustCompile(`(differential|i|)-[0-9a-f]{8}[0-9a-f-]{24,28}`)

// bareID is one that Kafka made for a member of a group whose server assigns.
var bareID = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)

var topicID = regexp.MustCompile(`"@([a-z]+)"`)

var subscriptionTo = regexp.MustCompile(`"&([a-z]+)"`)

var leaderEpoch = regexp.MustCompile(`"\^-?[0-9]+"`)

func (a *rawTalk) do(line string) string {
	if rest, ok := strings.CutPrefix(line, "first "); ok {
		settles := a.settles
		defer func() { a.settles = settles }()
		a.settles, line = nil, rest
	}
	f := strings.SplitN(line, " ", 3)
	if f[0] == "known" {
		partitions, err := strconv.Atoi(f[2])
		if err != nil {
			a.t.Fatalf("%q: %v", line, err)
		}
		a.known(strings.ReplaceAll(f[1], "$", a.prefix), partitions)
		return ""
	}
	if f[0] == "epoch" {
		a.reaches(strings.ReplaceAll(f[1], "$", a.prefix), f[2])
		return ""
	}
	var from, to int16
	if n, err := fmt.Sscanf(f[1], "%d-%d", &from, &to); n == 0 {
		a.t.Fatalf("%q: %v", line, err)
	}
	if !strings.Contains(f[1], "-") {
		return a.send(f[0], from, f[2]) + "\n"
	}
	out := ""
	for first, version := from, from; version <= to; version++ {
		got := a.send(f[0], version, f[2])
		if last := fmt.Sprintf(": %s\n", got); version > from && strings.HasSuffix(out, last) {
			out = strings.TrimSuffix(out, spell(first, version-1)+last) + spell(first, version) + last
		} else {
			first, out = version, out+spell(version, version)+last
		}
	}
	return out
}

// spell is how versions are written.
func spell(from, to int16) string {
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d-%d", from, to)
}

// send sends one request; what it gives back is what the answer says.
func (a *rawTalk) send(name string, version int16, text string) string {
	text = topicID.ReplaceAllStringFunc(strings.ReplaceAll(text, "$", a.prefix), func(s string) string {
		id, _ := json.Marshal(a.id(a.prefix + s[2:len(s)-1])) // of numbers
		return string(id)
	})
	text = leaderEpoch.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(s[2 : len(s)-1]) // of digits
		return strconv.Itoa(int(a.epoch) + n)
	})
	text = subscriptionTo.ReplaceAllStringFunc(text, func(s string) string {
		md := kmsg.NewConsumerMemberMetadata()
		md.Version, md.Topics = 1, []string{a.prefix + s[2:len(s)-1]}
		return `"` + base64.StdEncoding.EncodeToString(md.AppendTo(nil)) + `"`
	})
	if strings.Contains(text, `"%`) {
		a.batches["txn"], a.batches["next"] = a.ofTransaction(0), a.ofTransaction(1)
		for of, batch := range a.batches {
			text = strings.ReplaceAll(text, `"%`+of+`"`, `"`+base64.StdEncoding.EncodeToString(batch)+`"`)
		}
	}
	for field, of := range a.last {
		value, _ := json.Marshal(of) // it was read of JSON
		text = strings.ReplaceAll(text, `"#`+field+`"`, string(value))
	}
	line := fmt.Sprint(name, " ", version, " ", text)
	changes := changing.MatchString(name)
	if a.behind && (!changes || strings.HasSuffix(name, "AlterConfigs")) { // which is checked by what there is
		a.catchUp()
	}
	a.behind = a.name == kafkaName && (a.behind || changes)
	send := func() (kmsg.Response, error) {
		req := rawRequest(a.t, name)
		req.SetVersion(version)
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var fields map[string]any
		err := d.Decode(&fields)
		if err == nil {
			err = fill(reflect.ValueOf(req).Elem(), fields)
		}
		if err != nil {
			a.t.Fatalf("%s: %v", line, err)
		}
		return a.try(req)
	}
	var resp kmsg.Response
	out := settle(func() string {
		var err error
		if resp, err = send(); errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			a.broker = dialBroker(a.t, a.name, a.conn.RemoteAddr().String())
			return "the connection ends"
		} else if err != nil {
			a.t.Fatalf("%s: %s: %v", a.name, line, err)
		}
		if made, ok := resp.(*kmsg.CreateTopicsResponse); ok {
			for i := range made.Topics {
				made.Topics[i].Configs = nil // brokers are configured for their tests
			}
		}
		return a.told(resp, text)
	}, a.settles...)
	if !strings.Contains(text, `"ValidateOnly":true`) {
		a.settleTopics(resp)
	}
	return out
}

// changing are the requests that Kafka's controller carries out, whose effect its broker
// sees some time after the answer.
var changing = regexp.MustCompile("^(Alter|Incremental|Update|CreateACLs|DeleteACLs|CreatePartitions)")

// catchUp waits until Kafka's broker has seen all that was changed: it takes changes one
// after another, and shows the name of a topic before it has taken the rest of a change.
func (a *rawTalk) catchUp() {
	for range 2 {
		a.steps++
		topic := fmt.Sprintf("%sstep-%d", a.prefix, a.steps)
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = 7
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = topic, 1, 1
		req.Topics = append(req.Topics, t)
		if code := a.ask(req).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
			a.t.Fatalf("topic %s: %s", topic, codeName(code))
		}
		a.await(topic, true)
	}
	a.behind = false
}

// fill sets a part of a request to what JSON says. Unlike package json it takes numbers for
// what has names: there are none for what is unknown.
func fill(v reflect.Value, from any) error {
	if v.Kind() == reflect.Pointer && from != nil {
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem(), from)
	}
	switch from := from.(type) {
	case map[string]any:
		for name, of := range from {
			field := v.FieldByName(name)
			if !field.IsValid() {
				return fmt.Errorf("there is no field %q in a %s", name, v.Type())
			}
			if err := fill(field, of); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	case []any:
		if v.Kind() == reflect.Slice {
			v.Set(reflect.MakeSlice(v.Type(), len(from), len(from)))
		}
		for i := range from {
			if err := fill(v.Index(i), from[i]); err != nil {
				return err
			}
		}
		return nil
	case json.Number:
		if v.CanInt() {
			n, err := from.Int64()
			v.SetInt(n)
			return err
		}
	}
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v.Addr().Interface())
}

// settleTopics waits until what was made or deleted is so for everybody.
func (a *rawTalk) settleTopics(resp kmsg.Response) {
	switch resp := resp.(type) {
	case *kmsg.CreateTopicsResponse:
		for _, t := range resp.Topics {
			if t.ErrorCode == 0 && t.TopicID != [16]byte{} {
				a.await(t.Topic, true)
				a.lead(t.Topic, t.NumPartitions)
			}
		}
	case *kmsg.DeleteTopicsResponse:
		for _, t := range resp.Topics {
			if t.ErrorCode == 0 {
				a.await(*t.Topic, false)
			}
		}
	}
}

// lead waits until all partitions of a topic are served, which is new.
func (a *rawTalk) lead(topic string, partitions int32) {
	for _, p := range a.metadata(topic).Partitions {
		a.epoch = p.LeaderEpoch
	}
	settle(func() string {
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version, req.ReplicaID = 7, -1
		t := kmsg.ListOffsetsRequestTopic{Topic: topic}
		for i := range partitions {
			t.Partitions = append(t.Partitions, kmsg.ListOffsetsRequestTopicPartition{Partition: i, CurrentLeaderEpoch: -1, Timestamp: -1})
		}
		req.Topics = append(req.Topics, t)
		for _, p := range a.ask(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
			if p.ErrorCode != 0 {
				return "busy"
			}
		}
		return "done"
	}, "busy")
}

func rawRequest(t *testing.T, name string) kmsg.Request {
	for key := int16(0); key < 100; key++ {
		if kmsg.NameForKey(key) == name {
			return kmsg.RequestForKey(key)
		}
	}
	t.Fatalf("there is no request %q", name)
	return nil
}

// id is that of a topic; another than any has of one that is not there.
func (a *rawTalk) id(topic string) [16]byte {
	if got := a.metadata(topic); got.ErrorCode == 0 {
		return got.TopicID
	}
	return [16]byte{9, 9, 9}
}

func (a *rawTalk) metadata(topic string) kmsg.MetadataResponseTopic {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	return a.ask(req).(*kmsg.MetadataResponse).Topics[0]
}

func rawBatches() map[string][]byte {
	batch := func(n int, change func(recordbatch.Batch)) []byte {
		var build recordbatch.Builder
		for range n {
			build.Append(1_700_000_000_000, []byte("k"), []byte("v"), nil)
		}
		b := build.Batch()
		if change != nil {
			change(b)
		}
		b.SetCRC()
		return b
	}
	one := batch(1, nil)
	bad := slices.Clone(one)
	bad[len(bad)-1]++
	old := slices.Clone(one)
	old[16] = 1
	return map[string][]byte{
		"one": one, "two": slices.Concat(one, one), "bad": bad, "old": old, "short": one[:len(one)-1], "long": append(slices.Clone(one), 0), "empty": {},
		"tx":   batch(1, func(b recordbatch.Batch) { b.SetProducer(1, 0, 0, true) }),
		"most": make([]byte, 1<<20), "more": make([]byte, 1<<20+1), // than there may be of metrics
		"control": recordbatch.ControlBatch(1, 0, true, 0, 1_700_000_000_000),
	}
}

// ofTransaction is a batch of the producer that the broker named last.
func (a *rawTalk) ofTransaction(sequence int32) []byte {
	id, _ := a.last["ProducerID"].(float64)
	batch := batchOf("k")
	batch.SetProducer(int64(id), 0, sequence, true)
	batch.SetCRC()
	return batch
}

// unlike are the fields that two brokers need not have alike.
var unlike = map[string]bool{
	"ThrottleMillis": true, "ErrorMessage": true, "UnknownTags": true, "Version": true, "ClusterID": true, "Host": true, "Port": true, "Rack": true,
	"NodeID": true, "CoordinatorEpoch": true, "LastTimestamp": true, "ControllerID": true, "LeaderEpoch": true, "CurrentLeader": true, "Brokers": true, "Leader": true, "LeaderID": true, "Replicas": true, "ISR": true, "ClientInstanceID": true, "SubscriptionID": true, "RecordBatches": true, "Dir": true, "TotalBytes": true, "UsableBytes": true,
}

// told is what was answered, in an order of its own: Kafka keeps some of it in sets.
func (a *rawTalk) told(resp kmsg.Response, request string) string {
	ends, isEnds := resp.(*kmsg.OffsetForLeaderEpochResponse)
	if isEnds {
		a.countEpochs(ends)
	}
	text, err := json.Marshal(resp)
	if err != nil {
		a.t.Fatal(err)
	}
	if isEnds {
		text = bytes.ReplaceAll(text, []byte(`"LeaderEpoch"`), []byte(`"EpochSinceNew"`)) // which is compared
	}
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		a.t.Fatal(err)
	}
	a.remember(all, request)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(a.plain("", all)); err != nil {
		a.t.Fatal(err)
	}
	told := madeID.ReplaceAllString(strings.ReplaceAll(out.String(), a.prefix, "$"), "a member")
	return strings.TrimSpace(told)
}

// countEpochs counts leader epochs from that of a new partition.
func (a *rawTalk) countEpochs(resp *kmsg.OffsetForLeaderEpochResponse) {
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			if p := &t.Partitions[i]; p.LeaderEpoch >= 0 {
				p.LeaderEpoch -= a.epoch
			}
		}
	}
}

// remember keeps what the broker chose itself, for requests to come.
func (a *rawTalk) remember(answer any, request string) {
	fields, _ := answer.(map[string]any)
	for _, name := range []string{"MemberID", "Generation", "ProducerID", "ProducerEpoch", "ClientInstanceID", "SubscriptionID"} {
		if v := fields[name]; v != nil && v != "" && v != -1.0 && !strings.Contains(request, fmt.Sprintf(`"MemberID":"%v"`, v)) {
			a.last[name] = v
		}
	}
}

func (a *rawTalk) plain(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for field, of := range v {
			if !unlike[field] && of != nil && of != "" {
				out[field] = a.plain(field, of)
			}
		}
		return out
	case []any:
		if name == "TopicID" {
			return slices.ContainsFunc(v, func(b any) bool { return b != 0.0 })
		}
		out := make([]any, len(v))
		for i := range v {
			out[i] = a.plain("", v[i])
		}
		slices.SortFunc(out, func(x, y any) int {
			one, _ := json.Marshal(x)
			two, _ := json.Marshal(y)
			return bytes.Compare(one, two)
		})
		return out
	case float64:
		switch {
		case strings.HasSuffix(name, "ErrorCode"):
			return codeName(int16(v))
		case name == "ProducerID" && v >= 0:
			return "an id"
		case name == "StartTimestamp" && v > 0:
			return "a time"
		}
	case string:
		raw, err := base64.StdEncoding.DecodeString(v)
		switch {
		case name == "MemberID" && bareID.MatchString(v):
			return "a member"
		case err == nil && bytes.Contains(raw, []byte(a.prefix)):
			return string(bytes.ReplaceAll(raw, []byte(a.prefix), []byte("$")))
		}
	}
	return v
}

// rawScripts has a broker answer a file of requests.
func rawScripts(t *testing.T, file, name, addr string) {
	datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
		a := newRawTalk(t, name, addr)
		out := ""
		for line := range strings.SplitSeq(d.Input, "\n") {
			out += a.do(line)
		}
		return out
	})
}

func TestRequests(t *testing.T) {
	eachFile(t, func(t *testing.T, file string) { rawScripts(t, file, "Levada", startLevada(t)) })
}

// TestRequestsOfApacheKafka: what the files say is what Apache Kafka answers.
func TestRequestsOfApacheKafka(t *testing.T) {
	addr := kafkaAddress(t)
	eachFile(t, func(t *testing.T, file string) { rawScripts(t, file, kafkaName, addr) })
}

// eachFile is for requests that are wrong, for those of all versions, and for those of
// groups whose server assigns.
func eachFile(t *testing.T, do func(t *testing.T, file string)) {
	for _, file := range []string{"requests", "versions", "consumers"} {
		t.Run(file, func(t *testing.T) { do(t, "testdata/"+file) })
	}
}

// TestRights: of brokers with access rules, whose clients may do everything.
func TestRights(t *testing.T) {
	rawScripts(t, "testdata/rights", "Levada", startLevadaWith(t, authorizing))
}

// TestRightsOfApacheKafka: what testdata/rights says is what Apache Kafka answers that was
// started with an authorizer.
func TestRightsOfApacheKafka(t *testing.T) {
	rawScripts(t, "testdata/rights", kafkaName, authorizingKafka(t))
}
