package brokerload

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// keyBytes of every record are its key.
const keyBytes = 16

// recordOverhead is about what a record takes in a batch beside key and value, and
// maxRecordOverhead the most; batchOverhead is what the batch takes beside its records.
const (
	recordOverhead    = 8
	maxRecordOverhead = 16
	batchOverhead     = 61
	maxBatchBytes     = 1 << 20
)

// maxRate bounds the records a second of a latency run: each one's time is kept.
const maxRate = 5_000_000

// Load is what is driven into a broker. The zero value of a field means its
// default.
type Load struct {
	// Client drives the brokers. Default Encoded.
	Client  Client
	Brokers []string
	// Topic is made for the run and deleted after it. Default levada-bench.
	Topic string
	// Configs are those of the topic, by Kafka's names.
	Configs    map[string]string
	Partitions int32 // default 1
	// RecordBytes are of key and value together. Default 100.
	RecordBytes int
	// BatchRecords bounds a batch by records, if it is set; 1 MiB bounds it always.
	BatchRecords int
	// Records are written, or read. Default 1,000,000.
	Records int64
	// PID is the process of the broker, whose CPU and memory are read from /proc;
	// 0: neither is known.
	PID int
}

func (l Load) withDefaults() (Load, error) {
	if l.Topic == "" {
		l.Topic = "levada-bench"
	}
	if l.Partitions == 0 {
		l.Partitions = 1
	}
	if l.RecordBytes == 0 {
		l.RecordBytes = 100
	}
	if l.Records == 0 {
		l.Records = 1_000_000
	}
	if l.Client == "" {
		l.Client = Encoded
	}
	var faults []error
	if !slices.Contains(Clients, l.Client) {
		faults = append(faults, fmt.Errorf("client %q: use one of %v", l.Client, Clients))
	}
	if len(l.Brokers) == 0 {
		faults = append(faults, errors.New("no brokers"))
	}
	if l.Partitions < 1 || l.Partitions > 10_000 {
		faults = append(faults, fmt.Errorf("%d partitions: use 1 to 10000", l.Partitions))
	}
	if l.RecordBytes < keyBytes || l.RecordBytes > 900_000 {
		faults = append(faults, fmt.Errorf("records of %d bytes: use %d to 900000", l.RecordBytes, keyBytes))
	}
	if l.BatchRecords < 0 || l.BatchRecords > 100_000 {
		faults = append(faults, fmt.Errorf("batches of %d records: use 1 to 100000, or 0 for as many as fit in 1 MiB", l.BatchRecords))
	}
	if l.Records < 1 {
		faults = append(faults, fmt.Errorf("%d records: use at least 1", l.Records))
	}
	return l, errors.Join(faults...)
}

// batchBytes bounds a batch by bytes.
func (l Load) batchBytes() int {
	if l.BatchRecords == 0 {
		return maxBatchBytes
	}
	return min(maxBatchBytes, batchOverhead+l.BatchRecords*(l.RecordBytes+recordOverhead)+recordOverhead)
}

// Result is what a run measured.
type Result struct {
	Records          int64   `json:"records"`
	RecordBytes      int     `json:"record_bytes"`
	Partitions       int32   `json:"partitions"`
	RecordsPerSecond float64 `json:"records_per_second"`
	RecordsPerBatch  float64 `json:"records_per_batch"`
	// BrokerCPUMicros and ClientCPUMicros are user and system time of a record;
	// the broker's is 0 if its process is not known.
	BrokerCPUMicros float64 `json:"broker_cpu_us_per_record,omitzero"`
	ClientCPUMicros float64 `json:"client_cpu_us_per_record"`
	// BrokerRSSMiB is what the broker's process held in memory at the end.
	BrokerRSSMiB float64 `json:"broker_rss_mib,omitzero"`
}

// meter measures a run from its making to result.
type meter struct {
	pid          int
	began        time.Time
	broker, self Usage
}

func newMeter(pid int) (*meter, error) {
	m := &meter{pid: pid, began: time.Now()}
	var err, err2 error
	m.broker, err = UsageOf(pid)
	m.self, err2 = UsageOf(-1)
	return m, errors.Join(err, err2)
}

func (m *meter) result(l Load, batches int64) (Result, error) {
	took := time.Since(m.began)
	broker, err := UsageOf(m.pid)
	self, err2 := UsageOf(-1)
	micros := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(l.Records) }
	return Result{
		Records: l.Records, RecordBytes: l.RecordBytes, Partitions: l.Partitions,
		RecordsPerSecond: float64(l.Records) / took.Seconds(),
		RecordsPerBatch:  float64(l.Records) / float64(max(batches, 1)),
		BrokerCPUMicros:  micros(broker.CPU - m.broker.CPU),
		ClientCPUMicros:  micros(self.CPU - m.self.CPU),
		BrokerRSSMiB:     float64(broker.RSS) / (1 << 20),
	}, errors.Join(err, err2)
}

// MakeTopic makes the topic of the load anew; the function that it returns
// deletes it.
func (l Load) MakeTopic(ctx context.Context) (drop func(context.Context) error, err error) {
	if l, err = l.withDefaults(); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Brokers...))
	if err != nil {
		return nil, err
	}
	admin := kadm.NewClient(client)
	configs := map[string]*string{"retention.ms": kadm.StringPtr("-1")}
	for name, value := range l.Configs {
		configs[name] = &value
	}
	_, err = admin.CreateTopic(ctx, l.Partitions, 1, configs, l.Topic)
	if err == nil {
		err = l.awaitLeaders(ctx, admin)
	}
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("make topic %s: %w", l.Topic, err)
	}
	return func(ctx context.Context) error {
		defer client.Close()
		_, err := admin.DeleteTopic(ctx, l.Topic)
		return err
	}, nil
}

// awaitLeaders waits until every partition has a leader: Apache Kafka answers before
// it knows of all.
func (l Load) awaitLeaders(ctx context.Context, admin *kadm.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		ends, err := admin.ListEndOffsets(ctx, l.Topic)
		if err == nil && ends.Error() == nil && len(ends[l.Topic]) == int(l.Partitions) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("not every partition has a leader"), err, ends.Error())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// payload is where records take their bytes from: no two in a row are the same.
type payload struct {
	random []byte
	at     int
}

func newPayload(recordBytes int) *payload {
	p := &payload{random: make([]byte, max(1<<20, 2*recordBytes))}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range p.random {
		p.random[i] = byte(rng.Uint32())
	}
	return p
}

// next are key and value of the next record.
func (p *payload) next(recordBytes int) (key, value []byte) {
	if p.at+recordBytes > len(p.random) {
		p.at = p.at%97 + 1
	}
	b := p.random[p.at : p.at+recordBytes]
	p.at += recordBytes
	return b[:keyBytes], b[keyBytes:]
}

// quantile of sorted values, in milliseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return float64(sorted[min(max(i, 0), len(sorted)-1)].Microseconds()) / 1000
}

// describe names a load in errors.
func (l Load) describe() string {
	return fmt.Sprintf("%d records of %d B on %d partitions of %s", l.Records, l.RecordBytes, l.Partitions, strings.Join(l.Brokers, ","))
}
