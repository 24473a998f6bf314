package peers

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// dump is what DumpLogSegments says of the segments of a partition: the fields of each
// line of a batch, and of each of a record.
type dump struct {
	t                *testing.T
	batches, records []map[string]string
}

var dumpField = regexp.MustCompile(`([A-Za-z]+): (\S+)`)

// segments are the files of a partition's only directory, by offset.
func segments(t *testing.T, data, partition, suffix string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(data, "logs", partition+"*", "*."+suffix))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s of %s: %v, %v", suffix, partition, paths, err)
	}
	return paths
}

// dump has Kafka's tool read the segments of a partition, and check what is true of
// those of any: the batches are whole, with all their records, each after the one before.
func (b *toolbox) dump(data, partition string) *dump {
	b.t.Helper()
	d := &dump{t: b.t}
	out := b.tool("", tools+"DumpLogSegments", "--print-data-log", "--deep-iteration", "--files", strings.Join(segments(b.t, data, partition, "log"), ","))
	for line := range strings.Lines(out) {
		fields := map[string]string{}
		for _, f := range dumpField.FindAllStringSubmatch(line, -1) {
			fields[f[1]] = f[2]
		}
		switch {
		case strings.HasPrefix(line, "baseOffset: "):
			d.batches = append(d.batches, fields)
		case strings.HasPrefix(line, "| offset: "):
			d.records = append(d.records, fields)
		case strings.HasPrefix(line, "Non-consecutive offsets in ") || strings.Contains(line, " is followed by "):
			// Of Kafka's segments too, where the first offset is not 0; dense looks at them.
		case !strings.HasPrefix(line, "Dumping ") && !strings.HasPrefix(line, "Log starting offset: ") && !strings.HasPrefix(line, "SLF4J"):
			b.t.Errorf("%s: %s", partition, line)
		}
	}
	next, records := int64(0), 0
	for _, batch := range d.batches {
		if base := d.number(batch, "baseOffset"); batch["isvalid"] != "true" || batch["magic"] != "2" || base < next {
			b.t.Errorf("%s: after offset %d: %v", partition, next-1, batch)
		}
		next = d.number(batch, "lastOffset") + 1
		records += int(d.number(batch, "count"))
	}
	if len(d.batches) == 0 || len(d.records) != records {
		b.t.Errorf("%s: %d batches say that they have %d records; %d are printed", partition, len(d.batches), records, len(d.records))
	}
	return d
}

func (d *dump) number(fields map[string]string, name string) int64 {
	d.t.Helper()
	n, err := strconv.ParseInt(fields[name], 10, 64)
	if err != nil {
		d.t.Fatalf("%s of %v: %v", name, fields, err)
	}
	return n
}

// dense wants the offsets of the records to be all from 0 on.
func (d *dump) dense() *dump {
	d.t.Helper()
	for i, r := range d.records {
		if r["offset"] != strconv.Itoa(i) {
			d.t.Fatalf("record %d of the segments is %v", i, r)
		}
	}
	return d
}

// before are the records before an offset that have a key.
func (d *dump) before(offset string) (records []map[string]string) {
	d.t.Helper()
	for _, r := range d.records {
		if _, keyed := r["key"]; keyed && d.number(r, "offset") < d.number(map[string]string{"N": offset}, "N") {
			records = append(records, r)
		}
	}
	return records
}

// all are the different values of a field, sorted.
func all(lines []map[string]string, field string) []string {
	var values []string
	for _, l := range lines {
		if v, ok := l[field]; ok {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// indexes has Kafka's tool compare the indexes of a partition with the segments.
func (b *toolbox) indexes(data, partition string) {
	b.t.Helper()
	offsets, times := segments(b.t, data, partition, "index"), segments(b.t, data, partition, "timeindex")
	both := strings.Join(append(slices.Clone(offsets), times...), ",")
	checked := b.tool("", tools+"DumpLogSegments", "--index-sanity-check", "--files", both)
	if got := strings.Count(checked, " passed sanity check.\n") + strings.Count(checked, " is empty.\n"); got != len(offsets)+len(times) {
		b.t.Errorf("%s: %d of %d indexes are sane:\n%s", partition, got, len(offsets)+len(times), checked)
	}
	out := b.tool("", tools+"DumpLogSegments", "--files", both)
	for line := range strings.Lines(out) {
		switch first, _, _ := strings.Cut(line, " "); first {
		case "Dumping", "offset:", "timestamp:", "SLF4J:":
			continue
		}
		if !strings.HasSuffix(line, " is empty.\n") { // of a segment with one batch
			b.t.Errorf("%s: of its indexes: %s", partition, line)
		}
	}
	if !strings.Contains(out, "\noffset: ") || !strings.Contains(out, "\ntimestamp: ") {
		b.t.Errorf("%s: an index has no entries:\n%s", partition, out)
	}
}

// writer writes records that are acknowledged before it goes on.
type writer struct {
	t *testing.T
	*kgo.Client
}

func newWriter(t *testing.T, addr string, opts ...kgo.Opt) writer {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return writer{t, client}
}

// write writes a batch of n records, of the keys k0, k1 and so on.
func (w writer) write(topic string, n int, value string) {
	w.t.Helper()
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: topic, Key: fmt.Append(nil, "k", i), Value: []byte(value)})
	}
	if err := w.ProduceSync(w.t.Context(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// transaction writes in a transaction, and ends it.
func (w writer) transaction(commit bool, topic string, n int, value string) {
	w.t.Helper()
	if err := w.BeginTransaction(); err != nil {
		w.t.Fatal(err)
	}
	w.write(topic, n, value)
	if err := w.EndTransaction(w.t.Context(), kgo.TransactionEndTry(commit)); err != nil {
		w.t.Fatal(err)
	}
}

func createTopic(t *testing.T, addr, topic string, configs map[string]string) {
	t.Helper()
	pointers := map[string]*string{}
	for name, value := range configs {
		pointers[name] = &value
	}
	if _, err := kadm.NewClient(newWriter(t, addr).Client).CreateTopic(t.Context(), 1, 1, pointers, topic); err != nil {
		t.Fatal(err)
	}
}

const pageBytes = 4096

// page is a value as long as index entries are apart, which no codec makes shorter than half.
func page(begin string) string {
	var b strings.Builder
	for b.WriteString(begin); b.Len() < pageBytes; {
		b.WriteString(rand.Text())
	}
	return b.String()
}

// TestDumpOfCodecs has Kafka's tool read batches of each codec.
func TestDumpOfCodecs(t *testing.T) {
	addr, data := server(t, "java", "mvn")
	b := newToolbox(t, addr)
	createTopic(t, addr, "codecs", map[string]string{"internal.segment.bytes": "200000"})
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		w := newWriter(t, addr, kgo.ProducerBatchCompression(codec))
		value := page(name)
		for range 3 {
			w.write("codecs", 20, value)
		}
	}
	d := b.dump(data, "codecs-0").dense()
	if got := all(d.batches, "compresscodec"); !slices.Equal(got, []string{"gzip", "lz4", "none", "snappy", "zstd"}) {
		t.Errorf("codecs %v", got)
	}
	if got := all(d.records, "payload"); len(d.records) != 300 || len(got) != 5 {
		t.Errorf("%d records of %d values", len(d.records), len(got))
	}
	b.indexes(data, "codecs-0")
}

// TestDumpOfTransactions has Kafka's tool read the markers of transactions, in several
// segments.
func TestDumpOfTransactions(t *testing.T) {
	addr, data := server(t, "java", "mvn")
	b := newToolbox(t, addr)
	createTopic(t, addr, "txns", map[string]string{"internal.segment.bytes": "100000"})
	w := newWriter(t, addr, kgo.TransactionalID("txns"))
	var want []string
	for i := range 20 {
		commit := i%3 != 0
		w.transaction(commit, "txns", 3, page("v"))
		want = append(want, map[bool]string{true: "COMMIT", false: "ABORT"}[commit])
	}
	d := b.dump(data, "txns-0").dense()
	var got []string
	for _, batch := range d.batches {
		if batch["isTransactional"] != "true" {
			t.Errorf("not transactional: %v", batch)
		}
		if batch["isControl"] == "true" {
			marker := d.records[d.number(batch, "baseOffset")]
			got = append(got, marker["endTxnMarker"])
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("markers %v, want %v", got, want)
	}
	if n := len(segments(t, data, "txns-0", "log")); n < 2 {
		t.Errorf("%d segments", n)
	}
	b.indexes(data, "txns-0")
}

// TestDumpOfCompacted has Kafka's tool read what compaction has left.
func TestDumpOfCompacted(t *testing.T) {
	_, dir := server(t, "java", "mvn")
	data := filepath.Join(dir, "of-another")
	first, end := launch(t, data)
	often := []kadm.AlterConfig{{Name: "log.cleaner.backoff.ms", Value: new("10")}}
	if altered, err := kadm.NewClient(newWriter(t, first).Client).AlterBrokerConfigs(t.Context(), often); err != nil || altered[0].Err != nil {
		t.Fatal(altered, err)
	}
	end(syscall.SIGTERM)
	addr, end := launch(t, data)
	b := newToolbox(t, addr)
	createTopic(t, addr, "compacted", map[string]string{"cleanup.policy": "compact", "internal.segment.bytes": "200000", "min.cleanable.dirty.ratio": "0"})
	plain, txns := newWriter(t, addr), newWriter(t, addr, kgo.TransactionalID("compacted"))
	const rounds, keys = 40, 10
	for i := range rounds {
		plain.write("compacted", keys, page("plain"))
		txns.transaction(i%2 == 0, "compacted", keys, page(map[bool]string{true: "committed", false: "aborted"}[i%2 == 0]))
	}
	awaitSmaller(t, data, "compacted-0", 300_000) // the last segment, and less than another
	end(syscall.SIGTERM)
	d := b.dump(data, "compacted-0")
	if last := d.number(d.batches[len(d.batches)-1], "lastOffset"); last != rounds*(2*keys+1)-1 {
		t.Errorf("the last offset is %d", last)
	}
	logs := segments(t, data, "compacted-0", "log")
	sealed := d.before(strings.TrimSuffix(filepath.Base(logs[len(logs)-1]), ".log"))
	if values := all(sealed, "payload"); len(sealed) != keys || len(all(sealed, "key")) != keys || len(values) != 1 || !strings.HasPrefix(values[0], "plain") {
		t.Errorf("%d records of keys %v and values %.20q", len(sealed), all(sealed, "key"), values)
	}
	b.indexes(data, "compacted-0")
}

// awaitSmaller returns when the segments of a partition have fewer bytes.
func awaitSmaller(t *testing.T, data, partition string, bytes int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		sum := int64(0)
		for _, p := range segments(t, data, partition, "log") {
			if info, err := os.Stat(p); err == nil { // it may be replaced
				sum += info.Size()
			}
		}
		if sum < bytes {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s still has %d bytes", partition, sum)
		}
	}
}

// TestDumpAfterSIGKILL has Kafka's tool read the segments that a killed server left, and
// again when the next one has opened them.
func TestDumpAfterSIGKILL(t *testing.T) {
	_, data := server(t, "java", "mvn")
	data = filepath.Join(data, "killed")
	addr, end := launch(t, data)
	b := newToolbox(t, addr)
	createTopic(t, addr, "killed", map[string]string{"internal.segment.bytes": "100000"})
	w := newWriter(t, addr, kgo.TransactionalID("killed"))
	w.transaction(true, "killed", 20, page("v"))
	if err := w.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	const batches = 30
	for range batches {
		w.write("killed", 5, page("v"))
	}
	end(os.Kill)
	const written = 21 + batches*5
	if d := b.dump(data, "killed-0").dense(); len(d.records) != written {
		t.Errorf("%d records after the kill, %d were acknowledged", len(d.records), written)
	}
	next, _ := launch(t, data)
	newWriter(t, next, kgo.TransactionalID("killed")).transaction(true, "killed", 1, "after")
	d := b.dump(data, "killed-0").dense()
	if got := d.records[written]["endTxnMarker"]; got != "ABORT" || len(d.records) != written+3 {
		t.Errorf("%d records, the one after the kill has marker %q", len(d.records), got)
	}
	b.indexes(data, "killed-0")
}
